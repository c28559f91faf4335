"""What a reviewer finds on a run: every item that explains it, and nothing about who started it."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest
import yaml
from conftest import write_corpus

from allegedly import corpus, evaluation, run_page, tracking
from allegedly.config import TrackingConfig, plain
from allegedly.labels import LABELS


def tracking_in(folder: Path) -> TrackingConfig:
    return TrackingConfig(uri=f"sqlite:///{folder}/mlflow.db", run_name="some")


@pytest.fixture(scope="module")
def logged(trained):
    """The finished run of the session's training."""
    mlflow.set_tracking_uri(trained[0].tracking.uri)
    (run,) = mlflow.search_runs(experiment_names=["stance"], output_format="list")
    return run


@pytest.fixture(autouse=True)
def store(trained):
    """Every test begins at that run's store, wherever the one before it has been."""
    mlflow.set_tracking_uri(trained[0].tracking.uri)


@pytest.fixture(scope="module")
def text_of(logged, tmp_path_factory):
    """Reads a text artifact of the run."""
    folder = tmp_path_factory.mktemp("artifacts")

    def read(path: str) -> str:
        found = mlflow.artifacts.download_artifacts(run_id=logged.info.run_id, artifact_path=path, dst_path=str(folder))
        return Path(found).read_text(encoding="utf-8")

    return read


def test_tags_tell_code_data_encoder_and_machine(logged):
    tags = logged.data.tags
    assert {"git_commit", "git_dirty", "corpus_digest", "encoder", "encoder_sha256", "device", "host_class"} <= set(
        tags
    )
    assert tags["git_dirty"] in ("true", "false", "unknown")
    assert "dirty" not in tags["git_commit"]
    assert (tags["encoder"], tags["device"]) == ("tiny", "cpu")
    assert "cores" in tags["host_class"]
    assert "GiB" in tags["host_class"]


def test_the_description_names_model_corpus_and_sizes_in_few_words(logged):
    description = logged.data.tags["mlflow.note.content"]
    assert "**tiny** on the corpus `tiny` (16 train, 16 validation, 16 test sentences)" in description
    assert len(description) < 500


def test_the_description_begins_with_the_scores_that_count(logged):
    first, *_ = logged.data.tags["mlflow.note.content"].split("\n\n")
    scores = {key: f"{value:.3f}" for key, value in logged.data.metrics.items()}
    interval = f"(95 % interval {scores['test/macro_f1_low']} to {scores['test/macro_f1_high']})"
    assert first.startswith(f"Test macro-F1 **{scores['test/macro_f1']}** {interval}. F1: warning ")
    assert f"denial {scores['test/f1_denial']}" in first


def test_a_yardstick_is_not_said_to_have_learnt_in_steps(tmp_path, trained):
    config = replace(trained[0], tracking=tracking_in(tmp_path))
    splits = corpus.read(config.corpus.path)
    facts = {"encoder": {"name": "some", "sha256": ""}, "corpus": {"name": "tiny", "digest": ""}, "git_commit": None}
    probabilities = np.eye(4)[corpus.label_ids(splits["test"])]
    scores = evaluation.score_with_intervals(corpus.label_ids(splits["test"]), probabilities)
    with tracking.start(config.tracking) as run:
        run_page.begin(run, config, splits, facts, device="cpu")
        run_page.results(run, splits["test"], probabilities, scores={f"test/{k}": v for k, v in scores.items()})
    assert "errors.html" in run.description
    assert "learning_curve" not in run.description


def test_the_experiment_says_what_it_holds_unless_somebody_else_did(tmp_path):
    config = tracking_in(tmp_path)
    with tracking.start(config):
        experiment = mlflow.get_experiment_by_name("stance")
    assert "test/macro_f1" in experiment.tags["mlflow.note.content"]
    mlflow.set_experiment_tag("mlflow.note.content", "ours")
    with tracking.start(config):
        experiment = mlflow.get_experiment_by_name("stance")
    assert experiment.tags["mlflow.note.content"] == "ours"


def test_mlflow_reports_to_nobody_that_it_is_used():
    command = "import allegedly.tracking; from mlflow.telemetry import get_telemetry_client as c; print(c())"
    env = {key: value for key, value in os.environ.items() if key not in ("MLFLOW_DISABLE_TELEMETRY", "CI")}
    del env["PYTEST_CURRENT_TEST"]
    found = subprocess.run([sys.executable, "-c", command], env=env, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "None"


def test_datasets_have_digest_schema_and_class_counts(logged):
    inputs = {item.tags[0].value: item.dataset for item in logged.inputs.dataset_inputs}
    assert set(inputs) == {"training", "validation", "testing"}
    for context, dataset in inputs.items():
        assert len(dataset.digest) == 16, context
        assert json.loads(dataset.profile) == {"sentences": 16} | dict.fromkeys(LABELS, 4)
        columns = {column["name"] for column in json.loads(dataset.schema)["mlflow_colspec"]}
        assert {"id", "article", "text", "label"} <= columns
        assert "The mayor denied" not in json.dumps(vars(dataset))


def test_the_digest_of_a_dataset_sees_every_sentence(tmp_path):
    """MLflow's own digest would stop after 10,000 lines."""
    config = tracking_in(tmp_path)
    (first,) = corpus.read(write_corpus(tmp_path / "corpus"))["train"][:1]
    many = [replace(first, id=str(n)) for n in range(10_002)]
    changed = [*many[:-1], replace(many[-1], text="Another sentence")]
    digests = []
    for examples in (many, changed):
        with tracking.start(config) as run:
            run.dataset(examples, name="many", source="many.jsonl", context="training")
            digests.append(run.datasets["training"].digest)
    assert digests[0] != digests[1]


def test_validation_scores_of_epochs_and_test_scores_have_the_same_names(logged):
    names = {}
    for key in logged.data.metrics:
        split, _, name = key.rpartition("/")
        names.setdefault(split, set()).add(name)
    assert names["validation"] - {"loss"} == names["final_validation"]
    assert names["final_validation"] < names["test"]
    assert {f"f1_{label}" for label in LABELS} < names["validation"]


def test_test_scores_have_intervals_and_training_has_steps(logged):
    metrics = logged.data.metrics
    for name in ("macro_f1", *(f"f1_{label}" for label in LABELS)):
        assert metrics[f"test/{name}_low"] <= metrics[f"test/{name}"] <= metrics[f"test/{name}_high"]
    client = mlflow.MlflowClient()
    for key in ("train/loss", "train/learning_rate", "validation/f1_denial"):
        assert len(client.get_metric_history(logged.info.run_id, key)) > 1, key


def test_final_scores_are_linked_to_model_and_dataset(logged):
    (output,) = logged.outputs.model_outputs
    model = mlflow.get_logged_model(output.model_id)
    datasets = {item.dataset.name: item.dataset.digest for item in logged.inputs.dataset_inputs}
    linked = {metric.key: (metric.dataset_name, metric.dataset_digest) for metric in model.metrics}
    assert linked["test/f1_denial"] == ("tiny-test", datasets["tiny-test"])
    assert linked["final_validation/macro_f1"] == ("tiny-validation", datasets["tiny-validation"])
    history = mlflow.MlflowClient().get_metric_history(logged.info.run_id, "test/macro_f1")
    assert len(history) == 1


def test_the_model_has_signature_example_and_its_card(logged):
    (output,) = logged.outputs.model_outputs
    info = mlflow.models.get_model_info(f"models:/{output.model_id}")
    assert info.signature.inputs
    assert info.signature.outputs
    assert info.saved_input_example_info
    assert "who warns, who denies" in mlflow.get_logged_model(output.model_id).tags["mlflow.note.content"]


def test_system_metrics_are_sampled(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    with tracking.start(tracking_in(tmp_path)) as run:
        for _ in range(200):
            if run.history("system/cpu_utilization_percentage"):
                break
            time.sleep(0.1)
        assert run.history("system/system_memory_usage_megabytes")[0][1] > 0


def test_all_files_are_there_and_figures_are_pictures(logged, tmp_path):
    folder = Path(mlflow.artifacts.download_artifacts(run_id=logged.info.run_id, dst_path=str(tmp_path)))
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    figures = {"f1", "confusion_matrix", "precision_recall", "reliability", "risk_coverage", "learning_curve"}
    texts = {
        "errors.html",
        "test_predictions.json",
        "config.yaml",
        "environment.txt",
        "model_card.md",
        "test_report.txt",
    }
    assert texts | {f"figures/{name}.png" for name in figures} <= found
    for name in figures:
        assert (folder / f"figures/{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_resolved_config_is_read_back_as_it_was(text_of, trained):
    assert yaml.safe_load(text_of("config.yaml")) == tracking.neutral(plain(trained[0]))


def test_behaviour_is_logged_by_test_and_by_capability(logged, text_of):
    for test in ("minimum_functionality", "invariance", "direction"):
        assert 0 <= logged.data.metrics[f"behaviour/{test}"] <= 1
    assert "denied to alleged" in text_of("behaviour.txt")


def test_label_sets_are_scored_on_the_test_split(logged):
    assert 0 <= logged.data.metrics["test/label_set_coverage"] <= 1


def test_the_environment_pins_what_is_installed(text_of):
    import torch

    lines = text_of("environment.txt").splitlines()
    assert lines[0].startswith("# Python 3.")
    assert f"torch=={torch.__version__}" in lines
    names = [line.partition("==")[0] for line in lines[1:]]
    assert names == sorted(names, key=str.casefold)


def example(n: int, text: str, label: str) -> corpus.Example:
    return corpus.Example(id=f"id-{n}", article=f"article-{n}", text=text, label=label)


def test_errors_come_surest_first_with_their_article_and_nothing_else():
    examples = [
        example(0, "Right as it is", "denial"),
        example(1, "Wrong and unsure", "denial"),
        example(2, "Wrong and sure", "background"),
    ]
    probabilities = np.array([[0.0, 0.9, 0.1, 0.0], [0.0, 0.4, 0.6, 0.0], [0.8, 0.1, 0.0, 0.1]])
    page = run_page.errors(examples, probabilities)
    assert "2 of 3 sentences" in page
    assert "Right as it is" not in page
    assert page.index("Wrong and sure") < page.index("article-2") < page.index("Wrong and unsure")
    for shown in ("warning<br>0.800", "background<br>0.100", "article-1", "id-1"):
        assert shown in page


def test_the_table_of_predictions_is_read_back_through_mlflow(logged, trained):
    client = mlflow.MlflowClient()
    table = client.load_table(logged.info.experiment_id, "test_predictions.json", [logged.info.run_id])
    examples = corpus.read(trained[0].corpus.path)["test"]
    assert list(table.columns[:2]) == ["text", "predicted"]  # what the UI compares two runs by
    assert list(table["id"]) == [e.id for e in examples]
    assert list(table["text"]) == [e.text for e in examples]
    p = table[[f"p_{label}" for label in LABELS]]
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-3)
    np.testing.assert_allclose(p.max(axis=1), table["probability"])
    assert (table["label"] == table["predicted"]).mean() == logged.data.metrics["test/accuracy"]


def test_a_table_that_a_resumed_run_has_already_is_not_doubled(tmp_path):
    config = tracking_in(tmp_path)
    with tracking.start(config) as run:
        run.table([{"id": 1}], "some.json")
    with tracking.start(config, run_id=run.run_id) as resumed:
        resumed.table([{"id": 1}], "some.json")
        resumed.table([{"id": 2}], "other.json")
    client = mlflow.MlflowClient()
    for name in ("some.json", "other.json"):
        assert len(client.load_table(client.get_run(run.run_id).info.experiment_id, name, [run.run_id])) == 1


def test_text_of_a_corpus_cannot_run_in_the_page_of_errors():
    page = run_page.errors([example(0, "<script>alert(1)</script>", "denial")], np.array([[1.0, 0, 0, 0]]))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "default-src 'none'" in page


def test_without_errors_the_page_says_so():
    page = run_page.errors([example(0, "Right", "denial")], np.array([[0.0, 1, 0, 0]]))
    assert "0 of 1 sentences" in page
    assert page.count("<table") == 0


def test_home_folder_and_passwords_are_left_out_of_what_is_logged(monkeypatch):
    monkeypatch.setenv("HOME", "/home/zaphod")
    config = {"path": "/home/zaphod/data", "beside": "/home/zaphod2", "uri": "https://ford:pw@host/db", "seeds": [1]}
    expected = {"path": "~/data", "beside": "/home/zaphod2", "uri": "https://host/db", "seeds": [1]}
    assert tracking.neutral(config) == expected


def test_nobody_learns_from_a_run_who_started_it(tiny_encoder, tmp_path):
    """Whole trainings, in the home folder of one Zaphod: neither store nor artifacts name him."""
    home = tmp_path / "zaphod"
    write_corpus(home / "corpus")
    overrides = [
        "encoder=hub", f"encoder.path={tiny_encoder}", "encoder.max_length=32", "corpus=own",
        f"corpus.path={home}/corpus", f"output={tmp_path}/models/stance", "trainer.max_steps=2", "trainer.device=cpu",
        "trainer.progress_bar=false", f"hydra.run.dir={tmp_path}/outputs",
    ]  # fmt: skip
    names = {"HOME": str(home), "USER": "zaphod", "LOGNAME": "zaphod", "USERNAME": "zaphod"}
    env = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")} | names
    done = subprocess.run(
        [sys.executable, "-m", "train", *overrides], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "tracking:" not in done.stderr
    files = [path for path in (tmp_path / "mlruns").rglob("*") if path.is_file()]
    assert [path for path in files if path.name == "errors.html"]
    assert [path for path in files if b"zaphod" in path.read_bytes()] == []
    with sqlite3.connect(tmp_path / "mlflow.db") as store:
        rows = list(store.iterdump())
        (command,) = store.execute("select value from tags where key = 'command'").fetchone()
    assert [row for row in rows if "zaphod" in row] == []
    assert "corpus.path=~/corpus" in command
    assert command.startswith("python -m train encoder=hub")
