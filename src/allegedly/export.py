"""A saved classifier in, `model.onnx` and its weights beside it out, with a measurement of how far the two differ.

The graph takes int64 ``input_ids`` and ``attention_mask`` of any batch and length, and gives float32 ``logits``. Its
large matrices can be stored in eight bits.
"""

import contextlib
import io
import logging
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from transformers import AutoModelForSequenceClassification

from allegedly import bundle, first_token

TOLERANCE = 1e-3  # largest difference of a logit that is put down to rounding
AGREEMENT = 0.99  # share of sentences on which eight-bit weights must give the label of the full ones


class _Logits(torch.nn.Module):
    """The model with the two inputs and the one output that every encoder family shares."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits


def export(folder: Path) -> None:
    """Write ``model.onnx`` and ``model.onnx.data`` into the folder that holds ``model.safetensors``."""
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False
    ).eval()
    with tempfile.TemporaryDirectory() as draft, first_token.only(model):
        write(model, Path(draft) / "model.onnx")
        graph = onnx.load(Path(draft) / "model.onnx")
    save(graph, folder)


def quantize(folder: Path) -> None:
    """Store the matrices of the exported model in ``folder`` in eight bits; see `to_eight_bits`."""
    graph = onnx.load(folder / bundle.CPU_MODEL[0])
    to_eight_bits(graph)
    save(graph, folder)


def save(graph: onnx.ModelProto, folder: Path) -> None:
    """Write a graph as ``model.onnx`` and its weights as ``model.onnx.data`` into a folder."""
    name, weights = bundle.CPU_MODEL
    (folder / weights).unlink(missing_ok=True)  # onnx appends to it
    onnx.save(graph, folder / name, save_as_external_data=True, location=weights, size_threshold=1024)
    (folder / weights).chmod((folder / name).stat().st_mode)


def to_eight_bits(graph: onnx.ModelProto) -> None:
    """Store the matrices of a graph, in place, as uint8 with a scale and a zero point for each row or column.

    Asymmetric min-max quantisation by channel (Jacob et al. 2018, arXiv:1712.05877, section 2.1): by column where a
    matrix is multiplied, by row where rows of it are looked up. Other tensors stay as they are.
    """
    tensors = {tensor.name: tensor for tensor in graph.graph.initializer}
    uses: dict[str, set[tuple[str, int]]] = {}
    for node in graph.graph.node:
        for place, name in enumerate(node.input):
            uses.setdefault(name, set()).add((node.op_type, place))
    nodes = []
    for name, tensor in tensors.items():
        axis = {("MatMul", 1): 1, ("Gather", 0): 0}.get(
            next(iter(uses[name])) if len(uses.get(name, ())) == 1 else None
        )
        if axis is None or len(tensor.dims) != 2 or tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        matrix = numpy_helper.to_array(tensor)
        low, high = np.minimum(matrix.min(1 - axis), 0), np.maximum(matrix.max(1 - axis), 0)
        scale = np.where(high > low, (high - low) / 255, 1).astype(np.float32)
        zero = np.rint(-low / scale)
        levels = np.rint(matrix / np.expand_dims(scale, 1 - axis)) + np.expand_dims(zero, 1 - axis)
        parts = {"levels": levels.clip(0, 255).astype(np.uint8), "scale": scale, "zero_point": zero.astype(np.uint8)}
        graph.graph.initializer.remove(tensor)
        graph.graph.initializer.extend(numpy_helper.from_array(part, f"{name}_{key}") for key, part in parts.items())
        inputs = [f"{name}_{key}" for key in parts]
        nodes.append(helper.make_node("DequantizeLinear", inputs, [name], name=f"{name}_dequantize", axis=axis))
    nodes += graph.graph.node
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)


def write(model: torch.nn.Module, path: Path) -> None:
    """Write a classifier, as it is, as one ONNX file."""
    write_graph(_Logits(model), path)


def write_graph(module: torch.nn.Module, path: Path) -> None:
    """Write a module that takes (input_ids, attention_mask) as one ONNX file, whose output is named ``logits``."""
    ids = torch.ones((2, 8), dtype=torch.int64)
    batch, length = torch.export.Dim("batch", min=1, max=4096), torch.export.Dim("length", min=2, max=512)
    shape = {0: batch, 1: length}
    # The exporter prints its progress and warns of what its authors may change; neither helps a user.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
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
    assert torch_logits.shape == onnx_logits.shape
    same = torch_logits.argmax(axis=1) == onnx_logits.argmax(axis=1)
    return {
        "max_difference": float(np.abs(torch_logits - onnx_logits).max()),
        "label_agreement": float(same.mean()),
    }
