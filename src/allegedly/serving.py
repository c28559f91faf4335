"""A table of sentences (`text`) or whole articles (`article`) in, the records of `predict` out: the model in MLflow.

    mlflow models serve -m models:/stance@champion --env-manager local -p 5001

MLflow stores this file as source and runs it when the model is loaded (models from code): nothing is pickled. The
package travels beside it, so a server needs openvino and tokenizers but not an installed `allegedly`.
"""

from collections.abc import Iterator
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model

from allegedly.classifier import Classifier, Prediction
from allegedly.report import Labelled, record
from allegedly.sentences import Sentence, split

COLUMNS = ("text", "article")


class StanceModel(mlflow.pyfunc.PythonModel):
    """Labels a row's `text` as one sentence, or every sentence of its `article`, on the CPU."""

    def load_context(self, context):
        self.classifier = Classifier.load(context.artifacts["bundle"], device="cpu")

    def predict(self, context, model_input: pd.DataFrame, params=None) -> pd.DataFrame:
        """Return one row a sentence: `row` counts those of the input from 0; the others are as `predict` writes them.

        Each row of the DataFrame ``model_input`` fills one of its columns `text` and `article`; `start` and `end` are
        offsets into that cell. Raises MlflowException, which a server answers with status 400, for any other table.
        """
        found = list(_sentences(model_input))
        predictions = self.classifier.predict([sentence.text for _, _, sentence in found])
        return pd.DataFrame([_record(*place, prediction) for place, prediction in zip(found, predictions, strict=True)])


def _sentences(table: pd.DataFrame) -> Iterator[tuple[int, int, Sentence]]:
    """(row, index, sentence) of every sentence; the signature leaves it to us to refuse what is no text."""
    cells = {name: list(table[name]) for name in COLUMNS if name in table}
    if len(table) == 1 and all(isinstance(column[0], list | np.ndarray) for column in cells.values()):
        cells = {name: list(column[0]) for name, column in cells.items()}  # a request's {"inputs": {"text": [...]}}
    lengths = {len(column) for column in cells.values()}
    if len(lengths) > 1:
        raise _refused("'text' and 'article' differ in length; give both one entry a row, null where there is none")
    if not any(lengths):
        raise _refused("holds no rows with a column 'text' (one sentence a row) or 'article' (a whole text a row)")
    absent = [None] * lengths.pop()
    texts, articles = (cells.get(name, absent) for name in COLUMNS)
    for row, (text, article) in enumerate(zip(texts, articles, strict=True)):
        name, cell = ("text", text) if _absent(article) else ("article", article)
        if _absent(text) == _absent(article):
            raise _refused(f"row {row}: needs either 'text' (one sentence) or 'article' (a whole text)")
        if not isinstance(cell, str):
            raise _refused(f"row {row}: '{name}' holds {type(cell).__name__}, not a string")
        if not cell.strip():
            raise _refused(f"row {row}: '{name}' is blank")
        sentences = split(cell) if name == "article" else [Sentence(cell, 0, len(cell))]
        for index, sentence in enumerate(sentences):
            yield row, index, sentence


def _record(row: int, index: int, sentence: Sentence, prediction: Prediction) -> dict[str, Any]:
    fields = record(Labelled.of("", index, sentence, prediction))
    del fields["file"]  # a request has rows instead
    return {"row": row, **fields}


def _absent(cell: Any) -> bool:
    return cell is None or cell is pd.NA or (isinstance(cell, float) and cell != cell)  # nan


def _refused(why: str) -> MlflowException:
    return MlflowException.invalid_parameter_value(f"input: {why}")


set_model(StanceModel())
