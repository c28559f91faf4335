"""A table with a column `text` in, a table with the label and calibrated probabilities out: the model that MLflow logs.

MLflow stores this file as source and runs it when the model is loaded (models from code): nothing is pickled. The
package travels beside it, so a server needs onnxruntime and tokenizers but not an installed `allegedly`.
"""

import mlflow.pyfunc
import pandas as pd
from mlflow.models import set_model

from allegedly.classifier import Classifier


class StanceModel(mlflow.pyfunc.PythonModel):
    """Labels every row's `text` as one sentence, on the CPU."""

    def load_context(self, context):
        self.classifier = Classifier.load(context.artifacts["bundle"], device="cpu")

    def predict(self, context, model_input: pd.DataFrame, params=None) -> pd.DataFrame:
        """Return a DataFrame: label, probability, and one column a label with its probability; same row order."""
        predictions = self.classifier.predict(list(model_input["text"]))
        return pd.DataFrame(
            [{"label": p.label, "probability": p.probability, **p.probabilities} for p in predictions],
            index=model_input.index,
        )


set_model(StanceModel())
