"""What a training leaves in MLflow, and that a dead server does not stop it."""

import logging

import mlflow
import pytest
from conftest import SENTENCES, tiny_config

from allegedly.classifier import Classifier
from allegedly.config import plain
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


def test_the_config_is_logged_as_params_but_for_what_only_yardsticks_read(logged, trained):
    assert logged.data.params | {"model.C": "1.0"} == {k: str(v) for k, v in flat(plain(trained[0])).items()}
    assert "model.C" not in logged.data.params


def test_epoch_and_final_metrics_are_logged(logged, trained):
    for key, value in trained[1].items():
        assert logged.data.metrics[key] == pytest.approx(value)
    history = mlflow.MlflowClient().get_metric_history(logged.info.run_id, "train/loss")
    assert history[0].value > history[-1].value


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
