"""The CPU model: eight-bit weights that keep the labels, logits that depend on the sentence alone."""

import numpy as np
import onnx
import onnx.reference
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from allegedly import backends, bundle, export
from allegedly.labels import LABELS


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A BERT wide enough for the quantised kernels: 2 layers of 128 units, random weights."""
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=500, hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=256,
        id2label=dict(enumerate(LABELS)), label2id={label: i for i, label in enumerate(LABELS)}, initializer_range=0.2,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def batch(count: int, length: int) -> dict[str, np.ndarray]:
    ids = np.random.default_rng(length).integers(5, 500, (count, length))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def test_full_weights_give_the_logits_of_torch(saved):
    export.export(saved)
    batches = [batch(3, 7), batch(2, 20)]
    torch_logits = backends.torch_backend(saved, device="cpu")(batches)
    for ours, theirs in zip(backends.cpu_backend(saved, threads=2)(batches), torch_logits, strict=True):
        assert np.abs(ours - theirs).max() < export.TOLERANCE


def test_eight_bit_weights_are_a_quarter_as_large_and_keep_nearly_all_labels(saved):
    batches = [batch(50, length) for length in (6, 12, 24)]
    torch_logits = np.concatenate(backends.torch_backend(saved, device="cpu")(batches))
    export.export(saved)
    full = (saved / bundle.CPU_MODEL[1]).stat().st_size
    export.quantize(saved)
    logits = np.concatenate(backends.cpu_backend(saved, threads=2)(batches))
    assert (saved / bundle.CPU_MODEL[1]).stat().st_size < 0.35 * full
    assert np.mean(logits.argmax(axis=1) == torch_logits.argmax(axis=1)) >= 0.95
    assert np.corrcoef(logits.ravel(), torch_logits.ravel())[0, 1] > 0.99


def test_logits_depend_on_the_sentence_alone(saved):
    export.export(saved)
    export.quantize(saved)
    backend = backends.cpu_backend(saved, threads=2)
    together = batch(16, 12)
    alone = [{name: array[i : i + 1] for name, array in together.items()} for i in range(16)]
    np.testing.assert_allclose(np.concatenate(backend(alone)), backend([together])[0], atol=1e-5)


def test_to_eight_bits_rounds_each_column_to_half_a_step():
    matrix = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32) * np.logspace(
        -3, 3, 30, dtype=np.float32
    )
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "one",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 40])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 30])],
        [onnx.numpy_helper.from_array(matrix, "w")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)])
    export.to_eight_bits(model)
    onnx.checker.check_model(model)
    found = onnx.reference.ReferenceEvaluator(model).run(None, {"x": np.eye(40, dtype=np.float32)})[0]
    steps = (matrix.max(axis=0) - matrix.min(axis=0)) / 255
    assert (np.abs(found - matrix) <= 0.51 * steps + 1e-7).all()
