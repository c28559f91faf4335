"""What a training leaves in MLflow, and that a dead server does not stop it."""

import logging
import os
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from conftest import SENTENCES, run, tiny_config

from allegedly.classifier import Classifier
from allegedly.config import plain
from allegedly.labels import LABELS
from allegedly.run_page import flat
from allegedly.training import train

TEXTS = [text for texts in SENTENCES.values() for text in texts]


@pytest.fixture(scope="module")
def logged(trained):
    """The finished run of the session's training."""
    mlflow.set_tracking_uri(trained[0].tracking.uri)
    runs = mlflow.search_runs(experiment_names=["stance"], output_format="list")
    assert len(runs) == 1
    return runs[0]


def test_one_training_is_one_finished_run(logged):
    assert logged.info.status == "FINISHED"


def test_the_whole_config_is_logged_as_params(logged, trained):
    assert logged.data.params == {key: str(value) for key, value in flat(plain(trained[0])).items()}


def test_epoch_and_final_metrics_are_logged(logged, trained):
    for key, value in trained[1].items():
        assert logged.data.metrics[key] == pytest.approx(value)
    history = mlflow.MlflowClient().get_metric_history(logged.info.run_id, "train/loss")
    assert history[0].value > history[-1].value


def test_the_logged_model_gives_what_the_classifier_gives(trained):
    model = mlflow.pyfunc.load_model("models:/stance@champion")
    table = model.predict(pd.DataFrame({"text": TEXTS}))
    expected = Classifier.load(trained[0].output, device="cpu").predict(TEXTS)
    assert list(table["label"]) == [p.label for p in expected]
    for label in LABELS:
        assert list(table[label]) == pytest.approx([p.probabilities[label] for p in expected], abs=1e-6)


def test_predict_takes_the_champion_by_name(trained, tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(TEXTS))
    uri = trained[0].tracking.uri
    (tmp_path / "mlflow.db").symlink_to(uri.removeprefix("sqlite:///"))
    found = run("predict", "a.txt", "--lines", "--model", "models:/stance@champion", cwd=tmp_path)
    assert (found.returncode, found.stderr.count(b"\n")) == (0, 1)
    assert found.stdout == run("predict", "a.txt", "--lines", "--model", trained[0].output, cwd=tmp_path).stdout


def test_a_name_that_is_not_registered_gets_one_line(trained, tmp_path):
    (tmp_path / "a.txt").write_text("The mayor denied it.")
    (tmp_path / "mlflow.db").symlink_to(trained[0].tracking.uri.removeprefix("sqlite:///"))
    for model in ("models:/nobody@champion", "models:/stance@nobody"):
        found = run("predict", "a.txt", "--model", model, cwd=tmp_path)
        assert found.returncode == 2
        assert found.stderr.decode().startswith(f"predict: {model}: not to be had")
        assert found.stderr.count(b"\n") == 1


def test_predict_without_a_store_says_so(tmp_path):
    (tmp_path / "a.txt").write_text("The mayor denied it.")
    found = run("predict", "a.txt", "--model", "models:/stance@champion", cwd=tmp_path)
    assert (found.returncode, found.stderr.count(b"\n")) == (2, 1)
    assert b"no MLflow store" in found.stderr
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "sqlite:////proc/no/such/place.db"])
def test_a_dead_server_is_said_once_and_the_bundle_is_kept(
    uri, tiny_encoder, tiny_corpus, tmp_path, caplog, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    config = tiny_config(tiny_encoder, tiny_corpus, tmp_path, max_steps=2)
    config.tracking.uri, config.tracking.timeout = uri, 1
    with caplog.at_level(logging.WARNING, logger="allegedly"):
        train(config)
    said = [record.message for record in caplog.records if record.message.startswith("tracking:")]
    assert len(said) == 1
    assert "goes on without tracking" in said[0]
    Classifier.load(config.output, device="cpu")


def test_a_server_that_fails_midway_does_not_stop_the_training(
    tiny_encoder, tiny_corpus, tmp_path, caplog, monkeypatch
):
    monkeypatch.chdir(tmp_path)

    def full(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr(mlflow, "log_figure", full)
    config = tiny_config(tiny_encoder, tiny_corpus, tmp_path, max_steps=2)
    with caplog.at_level(logging.WARNING, logger="allegedly"):
        train(config)
    said = [record.message for record in caplog.records if record.message.startswith("tracking:")]
    assert len(said) == 1
    assert "No space left on device" in said[0]
    Classifier.load(config.output, device="cpu")
    mlflow.set_tracking_uri(config.tracking.uri)
    assert mlflow.search_runs(experiment_names=["stance"], output_format="list")[0].info.status == "FINISHED"


def test_a_worse_model_becomes_challenger(trained, tiny_encoder, tmp_path):
    """On the same corpus the champion stays the one with the better test macro-F1, however much was trained on."""
    config = tiny_config(
        tiny_encoder, Path(trained[0].corpus.path), tmp_path, max_steps=1, learning_rate=1e-6, max_train_sentences=12
    )
    config.tracking.uri, config.tracking.registered_model = f"sqlite:///{tmp_path}/mlflow.db", "race"
    good = tiny_config(tiny_encoder, Path(trained[0].corpus.path), tmp_path / "good")
    good.tracking = config.tracking
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        train(good)
        train(config)
    finally:
        os.chdir(here)
    client = mlflow.MlflowClient(config.tracking.uri)
    assert client.get_model_version_by_alias("race", "champion").tags["test_macro_f1"] == "1.0000"
    assert client.get_model_version_by_alias("race", "challenger").tags["test_macro_f1"] != "1.0000"
