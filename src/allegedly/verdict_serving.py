"""A table of claims (`claim`) with their `evidence` in, verdicts and what decides out: the verifier in MLflow.

    mlflow models serve -m models:/verifier@champion --env-manager local -p 5001

Like `allegedly.serving` it is stored as source and run when the model is loaded; nothing is pickled.
"""

from collections.abc import Iterator
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model

from allegedly import verdict_report
from allegedly.claim_reading import Claim
from allegedly.classifier import Classifier
from allegedly.labels import VERIFICATION
from allegedly.sentences import split
from allegedly.verification import Finding, verify

COLUMNS = ("verdict", "probability", "probabilities", "rationale")
EVIDENCE = ("index", "text", "score")  # of a sentence in the rationale


class VerdictModel(mlflow.pyfunc.PythonModel):
    """Says of each row's `claim` whether its `evidence`, a text or a list of sentences, settles it, on the CPU."""

    def load_context(self, context):
        self.classifier = Classifier.load(context.artifacts["bundle"], device="cpu", task=VERIFICATION)

    def predict(self, context, model_input: pd.DataFrame, params=None) -> pd.DataFrame:
        """Return one row a claim, in order, with the `COLUMNS` that `python -m verify` writes.

        `rationale` is a list of `index`, `text`, `score`, best first; the index counts the list of sentences, or the
        sentences of the text, from 0. Evidence is read in chunks if it is long. Raises MlflowException, which a server
        answers with status 400, for a row that lacks a claim or evidence.
        """
        claims = list(_claims(model_input))
        return pd.DataFrame([_record(finding) for finding in verify(claims, self.classifier)], columns=COLUMNS)


def _claims(table: pd.DataFrame) -> Iterator[Claim]:
    for number, row in enumerate(table.to_dict("records")):
        yield Claim(str(number), _claim(row, number), _evidence(row, number))


def _record(finding: Finding) -> dict[str, Any]:
    fields = verdict_report.record(finding)
    fields["rationale"] = [{name: sentence[name] for name in EVIDENCE} for sentence in fields["rationale"]]
    return {name: fields[name] for name in COLUMNS}


def _claim(row: dict[str, Any], number: int) -> str:
    claim = row.get("claim")
    if not isinstance(claim, str) or not claim.strip():
        raise _refused(f"row {number}: 'claim' must be a text that is not blank")
    return claim


def _evidence(row: dict[str, Any], number: int) -> tuple[str, ...]:
    evidence = row.get("evidence")
    sentences = list(evidence) if isinstance(evidence, list | tuple | np.ndarray) else [evidence]
    if not sentences or not all(isinstance(sentence, str) and sentence.strip() for sentence in sentences):
        raise _refused(f"row {number}: 'evidence' must be a text or a list of sentences, none of them blank")
    return tuple(sentence.text for sentence in split(evidence)) if isinstance(evidence, str) else tuple(sentences)


def _refused(why: str) -> MlflowException:
    return MlflowException.invalid_parameter_value(f"input: {why}")


set_model(VerdictModel())
