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
from allegedly.backends import cpu_backend, torch_backend
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


def test_torch_and_onnx_give_nearly_the_same_logits(tiny_bundle):
    classifier = Classifier.load(tiny_bundle, device="cpu")
    found = []
    for backend in (cpu_backend(tiny_bundle), torch_backend(tiny_bundle, device="cpu")):
        one = Classifier(classifier.tokenizer, backend, 1.0, classifier.manifest)
        found.append(one.logits([*TEXTS, "the", "The dam " * 40]))
    np.testing.assert_allclose(found[0], found[1], atol=0.02)  # eight-bit weights; tests/test_export.py has full ones


def test_parity_and_calibration_are_recorded_in_the_bundle(tiny_bundle):
    manifest = json.loads((tiny_bundle / "bundle.json").read_text())
    assert manifest["onnx"]["label_agreement"] == 1.0
    assert manifest["onnx"]["max_difference"] < 0.02
    assert manifest["onnx"]["eight_bit"] is True
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


class Notes:
    """Stands in for an MLflow run: keeps the validation scores."""

    def __init__(self):
        self.validated = []

    def metrics(self, numbers, step=None):
        if "validation/macro_f1" in numbers:
            self.validated.append(numbers["validation/macro_f1"])


@pytest.mark.parametrize("patience", [0, 9])
def test_the_best_epoch_is_kept_with_early_stopping_and_the_last_without(
    patience, tiny_encoder, tiny_corpus, tmp_path, monkeypatch
):
    from allegedly import training

    told = iter([0.1, 0.9, 0.2])  # what validation is made to say of three epochs
    kept = []
    monkeypatch.setattr(training, "_epoch_scores", lambda _, names: {"macro_f1": next(told)})
    keep = training._Report.on_evaluate

    def on_evaluate(self, args, state, control, model=None, **kwargs):
        kept.append({name: value.clone() for name, value in model.state_dict().items() if "classifier" in name})
        keep(self, args, state, control, **kwargs)

    monkeypatch.setattr(training._Report, "on_evaluate", on_evaluate)
    config = tiny_config(
        tiny_encoder, tiny_corpus, tmp_path, max_steps=-1, num_train_epochs=3, early_stopping_patience=patience
    )
    splits = corpus.read(tiny_corpus)
    folder = tmp_path / "model"
    folder.mkdir()
    model = training.fit(
        config, splits["train"], splits["validation"], encoder=tiny_encoder, folder=folder, run=Notes()
    )  # fmt: skip
    expected = kept[1 if patience else 2]
    for name, value in expected.items():
        np.testing.assert_array_equal(model.state_dict()[name].numpy(), value.numpy())


def test_a_look_at_some_validation_sentences_leaves_the_final_scores_to_all(tiny_encoder, tiny_corpus, tmp_path):
    from allegedly.training import fit, train

    config = tiny_config(tiny_encoder, tiny_corpus, tmp_path, max_steps=40, max_eval_sentences=2)
    config.tracking.enabled = False
    splits, run, folder = corpus.read(tiny_corpus), Notes(), tmp_path / "model"
    folder.mkdir()
    fit(config, splits["train"], splits["validation"], encoder=tiny_encoder, folder=folder, run=run)
    assert run.validated
    assert all(score <= 0.5 for score in run.validated)  # two sentences have at most two of four labels
    assert train(config)["final_validation/macro_f1"] > 0.9


def test_a_choice_of_sentences_that_leaves_out_a_label_is_refused(tiny_encoder, tiny_corpus, tmp_path):
    from allegedly.training import train

    config = tiny_config(tiny_encoder, tiny_corpus, tmp_path, max_train_sentences=4)
    with pytest.raises(InputError, match=r"trainer\.max_train_sentences: leaves none labelled .*; take more"):
        train(config)


def test_the_temperature_is_fitted_on_borderline_sentences(trained, tiny_corpus, tmp_path):
    """Of 200 validation sentences half are doubted, and half of those mislabelled: only their temperature is high."""
    import shutil
    from dataclasses import replace

    from allegedly.training import finish

    config, _ = trained
    clear = (corpus.read(tiny_corpus)["validation"] * 100)[:100]
    doubted = [
        replace(e, doubt=1, label=LABELS[(LABELS.index(e.label) + i % 2) % 4]) for i, e in enumerate(clear)
    ]  # fmt: skip
    temperatures = {}
    for name, examples in {"clear": clear, "both": clear + doubted, "doubted": doubted}.items():
        folder = tmp_path / name
        shutil.copytree(config.output, folder)
        facts = json.loads((folder / "bundle.json").read_text())
        temperatures[name] = finish(config, folder, examples, facts)["temperature"]
    assert temperatures["both"] == pytest.approx(temperatures["doubted"])
    assert temperatures["both"] > 2 * temperatures["clear"]


def test_two_processes_train_one_model(tiny_encoder, tiny_corpus, tmp_path):
    """Started by torchrun (gloo, on the CPU): twice eight sentences a step are sixteen, and one bundle comes out."""
    from allegedly.training import train

    alone = tiny_config(tiny_encoder, tiny_corpus, tmp_path / "alone", max_steps=5)
    alone.tracking.enabled = False
    expected = train(alone)["final_validation/log_loss"]
    output = tmp_path / "models" / "stance"
    overrides = [
        "encoder=hub", f"encoder.path={tiny_encoder}", "encoder.max_length=32", "corpus=own",
        f"corpus.path={tiny_corpus}", f"output={output}", "tracking.registered_model=null",
        "trainer.max_steps=5", "trainer.per_device_train_batch_size=8", "trainer.learning_rate=5e-3",
        "trainer.warmup_ratio=0", "trainer.device=cpu", "trainer.progress_bar=false", "trainer.precision=fp32",
        "trainer.early_stopping_patience=0", f"hydra.run.dir={tmp_path}/outputs",
    ]  # fmt: skip
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "train"]
    done = subprocess.run(
        [*command, *overrides],
        cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("bundle: ") == 1
    assert done.stdout.count("Next: ") == 1
    manifest = json.loads((output / "bundle.json").read_text())
    assert manifest["validation"]["log_loss"] == pytest.approx(expected, abs=0.15)  # dropout draws differ
    import sqlite3

    with sqlite3.connect(tmp_path / "mlflow.db") as store:
        assert store.execute("select count(*) from runs").fetchone() == (1,)
        query = "select value from metrics where key = 'train/loss' and step = 1"
        ((loss,),) = store.execute(query).fetchall()
    assert loss == pytest.approx(np.log(4), abs=0.4)  # guessing; of both processes together, not half of it


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
