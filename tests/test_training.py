"""Training: it can learn, it repeats itself, and what it saves is what was measured."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, SENTENCES, tiny_config

from allegedly import corpus
from allegedly.backends import onnx_backend, torch_backend
from allegedly.classifier import Classifier
from allegedly.errors import InputError
from allegedly.labels import LABELS

TEXTS = [f"{text} test0" for texts in SENTENCES.values() for text in texts]


def test_sixteen_sentences_are_learnt_by_heart(trained):
    assert trained[1]["test/macro_f1"] == 1.0
    assert trained[1]["test/log_loss"] < 0.1  # guessing gives 1.39


def test_the_same_seed_gives_the_same_weights(tiny_encoder, tiny_corpus, tmp_path):
    from allegedly.training import train

    digests = []
    for name in "ab":
        config = tiny_config(tiny_encoder, tiny_corpus, tmp_path / name, max_steps=4)
        config.tracking.enabled = False
        train(config)
        manifest = json.loads((Path(config.output) / "bundle.json").read_text())
        digests.append(manifest["files"]["model.safetensors"])
    assert digests[0] == digests[1]


def test_torch_and_onnx_give_the_same_logits(tiny_bundle):
    classifier = Classifier.load(tiny_bundle, device="cpu")
    found = []
    for backend in (onnx_backend(tiny_bundle), torch_backend(tiny_bundle, device="cpu")):
        one = Classifier(classifier.tokenizer, backend, 1.0, classifier.manifest)
        found.append(one.logits([*TEXTS, "the", "The dam " * 40]))
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)


def test_parity_and_calibration_are_recorded_in_the_bundle(tiny_bundle):
    manifest = json.loads((tiny_bundle / "bundle.json").read_text())
    assert manifest["onnx"]["label_agreement"] == 1.0
    assert manifest["onnx"]["max_difference"] < 1e-3
    assert 0.05 <= manifest["temperature"] <= 20
    assert manifest["labels"] == list(LABELS)
    assert manifest["scores"]["test/macro_f1"] == 1.0


def test_the_scores_are_those_of_the_saved_bundle(trained, tiny_corpus):
    config, scores = trained
    examples = corpus.read(tiny_corpus)["test"]
    predictions = Classifier.load(config.output, device="cpu").predict([example.text for example in examples])
    right = np.mean([p.label == e.label for p, e in zip(predictions, examples, strict=True)])
    assert right == scores["test/accuracy"]
    loss = -np.mean([np.log(p.probabilities[e.label]) for p, e in zip(predictions, examples, strict=True)])
    assert loss == pytest.approx(scores["test/log_loss"], abs=1e-6)


def test_transformers_pipeline_prints_our_labels(tiny_bundle):
    from transformers import pipeline

    classify = pipeline("text-classification", model=str(tiny_bundle), device="cpu")
    assert [found["label"] for found in classify(TEXTS)] == [label for label, texts in SENTENCES.items() for _ in texts]


def test_a_batch_of_one_gives_what_a_batch_of_32_gives(tiny_bundle):
    classifier = Classifier.load(tiny_bundle, device="cpu")
    texts = [text + " the dam" * (n % 5) for n, text in enumerate(TEXTS * 3)]
    one, many = (classifier.logits(texts, batch_size=size) for size in (1, 32))
    np.testing.assert_allclose(one, many, atol=1e-5)


def test_no_pickle_stays_in_the_bundle(tiny_bundle):
    assert not [path for path in tiny_bundle.rglob("*") if path.suffix in (".bin", ".pt", ".pkl", ".pth")]


def test_nothing_is_left_beside_the_bundle(tiny_bundle):
    assert [path.name for path in tiny_bundle.parent.iterdir()] == ["stance"]


def test_a_failing_training_keeps_the_old_bundle(tiny_bundle, tiny_encoder, tiny_corpus, tmp_path, monkeypatch):
    import shutil

    from allegedly import export, training

    config = tiny_config(tiny_encoder, tiny_corpus, tmp_path, max_steps=2)
    config.tracking.enabled = False
    shutil.copytree(tiny_bundle, config.output)
    monkeypatch.setattr(export, "parity", lambda *_: {"max_difference": 1.0, "label_agreement": 0.5})
    with pytest.raises(RuntimeError, match="differs from torch"):
        training.train(config)
    assert Classifier.load(config.output, device="cpu").predict(TEXTS[:1])[0].label == "warning"
    assert [path.name for path in Path(config.output).parent.iterdir()] == ["stance"]


def test_a_killed_training_keeps_the_old_bundle(tiny_bundle, tiny_encoder, tiny_corpus, tmp_path):
    import shutil

    output = tmp_path / "models" / "stance"
    shutil.copytree(tiny_bundle, output)
    overrides = [
        "encoder=hub", f"encoder.path={tiny_encoder}", f"corpus.path={tiny_corpus}", f"output={output}",
        "tracking=off", "trainer.max_steps=100000", "trainer.device=cpu", "trainer.progress_bar=false",
        "encoder.max_length=32", "trainer.precision=fp32", f"hydra.run.dir={tmp_path}/outputs",
    ]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "train", *overrides],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for line in process.stdout:
        if line.startswith("epoch"):  # it is in the midst of training: a first checkpoint is written
            break
    process.kill()
    process.wait()
    assert Classifier.load(output, device="cpu").predict(TEXTS[:1])[0].label == "warning"


def test_accumulation_over_two_batches_equals_one_batch_of_twice_the_size(tiny_encoder, tiny_corpus, tmp_path):
    from allegedly.training import train

    losses = []
    for name, size, steps in (("a", 16, 1), ("b", 8, 2)):
        config = tiny_config(
            tiny_encoder, tiny_corpus, tmp_path / name, max_steps=5, per_device_train_batch_size=size,
            gradient_accumulation_steps=steps,
        )  # fmt: skip
        config.tracking.enabled = False
        losses.append(train(config)["final_validation/log_loss"])
    assert losses[0] == pytest.approx(losses[1], abs=0.15)  # dropout draws differ


def test_an_unknown_device_is_refused_before_training(tiny_encoder, tiny_corpus, tmp_path):
    from allegedly.training import train

    with pytest.raises(InputError, match=r"trainer\.device: 'warp' is not available"):
        train(tiny_config(tiny_encoder, tiny_corpus, tmp_path, device="warp"))


def test_a_foreign_output_folder_is_refused_before_training(tiny_encoder, tiny_corpus, tmp_path):
    from allegedly.training import train

    config = tiny_config(tiny_encoder, tiny_corpus, tmp_path)
    os.makedirs(config.output)
    (Path(config.output) / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="something other than a bundle"):
        train(config)
    assert (Path(config.output) / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["encoder.max_lenght=64"], "max_lenght"),
        (["trainer.learning_rate=fast"], "learning_rate"),
        (["corpus.path=nowhere"], "nowhere"),
        (["trainer.max_steps=0"], "max_steps"),
        (["+trainer.beta=1"], "trainer.beta"),
    ],
)
def test_a_wrong_override_gets_a_clear_word_and_no_bundle(tmp_path, overrides, message):
    command = [sys.executable, "-m", "train", *overrides, "output=out", f"hydra.run.dir={tmp_path}/outputs"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (ROOT / "out").exists()
