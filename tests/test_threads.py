"""--threads bounds the threads that compute: of OpenVINO for every model that is opened, and of torch."""

import json

import openvino
import psutil
import pytest
import torch
from test_nli import checkpoint, described

import predict
import verify
from allegedly import backends

ARTICLE = "The spokesman claims the bank hid its losses. Rain fell. " * 3


@pytest.fixture(params=[1, 2])
def threads(request):
    """How many are asked for."""
    return request.param


@pytest.fixture
def opened(threads, monkeypatch):
    """Every model that OpenVINO opens from now on; without --threads each would have another number of them."""
    if psutil.cpu_count() < 2:
        pytest.skip("OpenVINO takes no more threads than there are cores")
    found = []
    compile_model = openvino.Core.compile_model

    def kept(*arguments):
        found.append(compile_model(*arguments))
        return found[-1]

    monkeypatch.setattr(openvino.Core, "compile_model", kept)
    monkeypatch.setattr(backends, "available_cores", lambda: 3 - threads)
    return found


def threads_of(models) -> list[int]:
    return [model.get_property("INFERENCE_NUM_THREADS") for model in models]


def test_predict(threads, opened, tiny_bundle, tmp_path):
    (tmp_path / "a.txt").write_text(ARTICLE)
    options = [str(tmp_path / "a.txt"), "--model", str(tiny_bundle), "--device", "cpu", "--output", str(tmp_path / "o")]
    assert predict.main([*options, "--threads", str(threads)]) == 0
    assert threads_of(opened) == [threads]


def test_verify(threads, opened, tiny_bundle, word_verifier, embedder_cache, tmp_path, monkeypatch):
    """Who finds the claims in an article, who judges them, and who looks for evidence."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(embedder_cache))
    (tmp_path / "a.txt").write_text(ARTICLE)
    (tmp_path / "b.txt").write_text("Auditors confirmed the losses of the bank.")
    options = ["--claims", str(tmp_path / "a.txt"), "--from-article", "--evidence", str(tmp_path / "b.txt")]
    options += ["--stance-model", str(tiny_bundle), "--model", str(word_verifier), "--output", str(tmp_path / "o")]
    assert verify.main([*options, "--device", "cpu", "--threads", str(threads)]) == 0
    assert threads_of(opened) == [threads] * 3


def test_verify_with_a_checkpoint_that_runs_in_torch(threads, tmp_path):
    model = described(tmp_path / "model.yaml", checkpoint(tmp_path / "model", "Bert"))
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"claim": "The dam held.", "evidence": ["The dam burst."]}))
    options = ["--claims", str(tmp_path / "pairs.jsonl"), "--model", str(model), "--output", str(tmp_path / "o")]
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert verify.main([*options, "--device", "cpu", "--threads", str(threads)]) == 0
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
