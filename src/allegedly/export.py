"""A saved classifier in, `model.onnx` beside it out, with a measurement of how far the two differ.

The graph takes int64 ``input_ids`` and ``attention_mask`` of any batch and length, and gives float32 ``logits``.
"""

import contextlib
import io
import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification

from allegedly import first_token
from allegedly.labels import LABELS

TOLERANCE = 1e-3  # largest difference of a logit that is put down to rounding


class _Logits(torch.nn.Module):
    """The model with the two inputs and the one output that every encoder family shares."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits


def export(folder: Path) -> None:
    """Write ``model.onnx`` into the folder that holds ``config.json`` and ``model.safetensors``."""
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False
    ).eval()
    with first_token.only(model):
        write(model, folder / "model.onnx")


def write(model: torch.nn.Module, path: Path) -> None:
    """Write a classifier, as it is, as one ONNX file."""
    ids = torch.ones((2, 8), dtype=torch.int64)
    batch, length = torch.export.Dim("batch", min=1, max=4096), torch.export.Dim("length", min=2, max=512)
    shape = {0: batch, 1: length}
    # The exporter prints its progress and warns of what its authors may change; neither helps a user.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Logits(model),
            (ids, torch.ones_like(ids)),
            path,
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            dynamic_shapes={"input_ids": shape, "attention_mask": shape},
            external_data=False,
            dynamo=True,
            verbose=False,
        )


def parity(torch_logits: np.ndarray, onnx_logits: np.ndarray) -> dict[str, float]:
    """Compare logits of shape (n_sentences, n_labels) that the two models gave for the same sentences.

    Returns max_difference (of a logit) and label_agreement (share of sentences with the same label).
    """
    assert torch_logits.shape == onnx_logits.shape == (len(torch_logits), len(LABELS))
    same = torch_logits.argmax(axis=1) == onnx_logits.argmax(axis=1)
    return {
        "max_difference": float(np.abs(torch_logits - onnx_logits).max()),
        "label_agreement": float(same.mean()),
    }
