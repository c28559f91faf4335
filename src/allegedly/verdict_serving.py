"""A table of claims (`claim`) with their evidence (`evidence`) in, verdicts out: the verifier in MLflow.

    mlflow models serve -m models:/verifier@champion --env-manager local -p 5001

Like `allegedly.serving` it is stored as source and run when the model is loaded; nothing is pickled.
"""

from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model

from allegedly.classifier import Classifier
from allegedly.labels import VERIFICATION


class VerdictModel(mlflow.pyfunc.PythonModel):
    """Says of each row's `claim` whether its `evidence`, a text or a list of sentences, settles it, on the CPU."""

    def load_context(self, context):
        self.classifier = Classifier.load(context.artifacts["bundle"], device="cpu", task=VERIFICATION)

    def predict(self, context, model_input: pd.DataFrame, params=None) -> pd.DataFrame:
        """Return one row a claim, in order: `verdict`, `probability`, `probabilities`.

        Raises MlflowException, which a server answers with status 400, for a row that lacks a claim or evidence.
        """
        texts = [(_claim(row, i), _evidence(row, i)) for i, row in enumerate(model_input.to_dict("records"))]
        return pd.DataFrame(
            [
                {"verdict": found.label, "probability": found.probability, "probabilities": found.probabilities}
                for found in self.classifier.predict(texts)
            ]
        )


def _claim(row: dict[str, Any], number: int) -> str:
    claim = row.get("claim")
    if not isinstance(claim, str) or not claim.strip():
        raise _refused(f"row {number}: 'claim' must be a text that is not blank")
    return claim


def _evidence(row: dict[str, Any], number: int) -> str:
    evidence = row.get("evidence")
    sentences = list(evidence) if isinstance(evidence, list | tuple | np.ndarray) else [evidence]
    if not sentences or not all(isinstance(sentence, str) and sentence.strip() for sentence in sentences):
        raise _refused(f"row {number}: 'evidence' must be a text or a list of sentences, none of them blank")
    return " ".join(sentences)


def _refused(why: str) -> MlflowException:
    return MlflowException.invalid_parameter_value(f"input: {why}")


set_model(VerdictModel())
