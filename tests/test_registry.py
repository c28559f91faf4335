"""Who becomes champion, what is written down about it, the way back, and the champion's bundle for predict."""

import contextlib
import hashlib
import math
import multiprocessing
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from threading import BrokenBarrierError

import mlflow
import pytest
from conftest import ROOT, SENTENCES, run, tiny_config, write_corpus

from allegedly import corpus, registry
from allegedly.config import GateConfig, TrackingConfig, check, gate_metrics
from allegedly.errors import InputError
from allegedly.labels import LABELS, STANCE
from allegedly.tracking import Run

GATE_METRICS = gate_metrics(STANCE)
SCORES = dict.fromkeys(GATE_METRICS, 0.9)
GATE = GateConfig(metric="macro_f1", margin=0.005, max_label_loss=0.02)


# ---- the decision


def test_the_first_model_is_champion():
    assert registry.decide(GATE, SCORES, None).champion


@pytest.mark.parametrize(
    ("score", "champion"), [(0.95, True), (0.905, True), (0.9049, False), (0.9, False), (0.5, False)]
)
def test_a_new_model_must_reach_the_margin(score, champion):
    assert registry.decide(GATE, SCORES | {"macro_f1": score}, SCORES).champion is champion


def test_without_a_margin_an_equal_model_is_champion():
    assert registry.decide(GateConfig(margin=0.0), SCORES, SCORES).champion


@pytest.mark.parametrize(("score", "champion"), [(0.88, True), (0.8799, False)])
def test_no_label_may_lose_more_than_is_allowed(score, champion):
    decision = registry.decide(GATE, SCORES | {"macro_f1": 0.95, "f1_denial": score}, SCORES)
    assert decision.champion is champion
    assert champion or "f1_denial fell by 0.020" in decision.reason


def test_the_label_that_lost_most_is_named():
    worse = SCORES | {"macro_f1": 0.95, "f1_denial": 0.8, "f1_warning": 0.7}
    assert "f1_warning fell by 0.200" in registry.decide(GATE, worse, SCORES).reason


def test_the_metric_is_the_one_of_the_config():
    gate = GateConfig(metric="f1_denial")
    assert registry.decide(gate, SCORES | {"f1_denial": 0.95}, SCORES).champion
    assert not registry.decide(gate, SCORES | {"macro_f1": 0.95}, SCORES).champion


@pytest.mark.parametrize("key", ["macro_f1", "f1_background"])
@pytest.mark.parametrize("broken", ["nan", "missing"])
@pytest.mark.parametrize("whose", ["new", "champion", "first"])
def test_what_is_no_number_beats_nothing_and_is_not_beaten(key, broken, whose):
    lame = {name: value for name, value in SCORES.items() if name != key} | ({key: math.nan} if broken == "nan" else {})
    better = dict.fromkeys(GATE_METRICS, 0.99)
    new, champion = {"new": (lame, SCORES), "champion": (better, lame), "first": (lame, None)}[whose]
    decision = registry.decide(GATE, new, champion)
    assert not decision.champion
    assert key in decision.reason


def test_only_the_sentences_and_labels_of_the_test_split_tell_whether_scores_compare(tmp_path):
    test = corpus.read(write_corpus(tmp_path))["test"]
    same = [corpus.Example(e.id + "x", "other", e.text, e.label, kind="contrast", doubt=1) for e in test]
    assert corpus.test_digest(same, LABELS) == corpus.test_digest(test, LABELS)
    relabelled = [corpus.Example(e.id, e.article, e.text, "background") for e in test]
    assert len({corpus.test_digest(variant, LABELS) for variant in (test, test[1:], relabelled)}) == 3


# ---- the store


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    """The URI of an MLflow store with an experiment."""
    folder = tmp_path_factory.mktemp("store")
    uri = f"sqlite:///{folder}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    mlflow.create_experiment("stance", artifact_location=(folder / "artifacts").as_uri())
    return uri


@pytest.fixture
def train(store, request, tmp_path):
    """Register a model with these scores on a test split, as a training does; returns its version."""
    mlflow.set_tracking_uri(store)
    mlflow.set_experiment("stance")
    name = request.node.name

    def register(macro_f1: float, *, split="a", score=None, **scores) -> object:
        (tmp_path / "stance").mkdir(exist_ok=True)
        (tmp_path / "stance" / "bundle.json").write_text("{}")
        model = mlflow.initialize_logged_model(name="stance")
        client = mlflow.MlflowClient()
        client.log_model_artifacts(model.model_id, str(tmp_path / "stance"))
        (Path(model.artifact_location.removeprefix("file://")) / "artifacts" / "stance").mkdir(parents=True)
        made = Path(model.artifact_location.removeprefix("file://"))
        (made / "bundle.json").rename(made / "artifacts" / "stance" / "bundle.json")
        mlflow.finalize_logged_model(model.model_id, "READY")
        training = Run(TrackingConfig(uri=store, registered_model=name, gate=GATE))
        training.model_id = model.model_id
        numbers = {f"test/{key}": value for key, value in (SCORES | {"macro_f1": macro_f1} | scores).items()}
        registry.register(training, numbers, test_digest=split, score=score or pytest.fail)
        assert not training.failed
        return max(client.search_model_versions(f"name='{name}'"), key=lambda version: int(version.version))

    register.name = name
    return register


def aliases(name: str) -> dict[str, int]:
    found = mlflow.MlflowClient().get_registered_model(name).aliases
    return {alias: int(version) for alias, version in found.items()}


def test_the_better_model_takes_over_and_the_champion_before_it_is_kept_as_previous(train):
    train(0.8)
    train(0.9)
    assert aliases(train.name) == {"champion": 2, "previous": 1}


def test_a_model_that_does_not_pass_becomes_challenger(train):
    train(0.9)
    train(0.902)
    train(0.95, f1_warning=0.7)
    assert aliases(train.name) == {"champion": 1, "challenger": 3}


def test_the_decision_and_its_numbers_stand_on_the_version(train):
    train(0.9)
    version = train(0.95, f1_denial=0.89)
    assert version.tags["gate"] == "champion"
    assert version.tags["gate_against"] == "1"
    assert version.tags["test_macro_f1"] == "0.950000"
    assert version.tags["test_digest"] == "a"
    assert version.tags["gate_margin"] == "0.005"
    assert "macro_f1 0.950 against 0.900 of version 1: +0.050" in version.tags["gate_reason"]
    assert version.description.startswith("Registered as **@champion**: macro_f1 0.950 against 0.900 of version 1")
    assert "| f1_denial&emsp; | 0.8900 | 0.9000 | -0.0100 |" in version.description


@pytest.mark.parametrize(("rescored", "champion"), [(0.95, 1), (0.6, 2)])
def test_a_champion_of_another_test_split_is_scored_on_this_one(train, rescored, champion):
    train(0.99, split="easy")
    folders = []

    def score(folder):
        folders.append(folder)
        return {f"test/{key}": value for key, value in (SCORES | {"macro_f1": rescored}).items()}

    version = train(0.9, split="hard", score=score)
    assert [(folder / "bundle.json").is_file() for folder in folders] == [True]
    assert aliases(train.name)["champion"] == champion
    assert f"{rescored:.3f} of version 1" in version.tags["gate_reason"]


def test_a_champion_without_numbers_is_scored(train):
    first = train(0.8)
    mlflow.MlflowClient().delete_model_version_tag(train.name, first.version, "test_macro_f1")
    train(0.9, score=lambda _: {f"test/{key}": value for key, value in (SCORES | {"macro_f1": 0.95}).items()})
    assert aliases(train.name) == {"champion": 1, "challenger": 2}


def test_a_champion_that_cannot_be_scored_is_not_beaten_and_that_is_said(train):
    train(0.8, split="old")

    def score(folder):
        raise InputError("weights altered")

    version = train(0.99, score=score)
    assert aliases(train.name) == {"champion": 1, "challenger": 2}
    assert "version 1 could not be scored on this test split (weights altered)" in version.description


def test_a_server_that_fails_is_not_taken_for_a_store_without_a_champion(train, store, monkeypatch, caplog):
    train(0.8)

    def down(*_):
        raise mlflow.exceptions.MlflowException("the database is locked")

    training = Run(TrackingConfig(uri=store, registered_model=train.name))
    training.model_id = "m-1"
    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "get_registered_model", down)
        registry.register(training, {}, test_digest="a", score=pytest.fail)
    assert training.failed
    assert "could not register the model" in caplog.text
    assert aliases(train.name) == {"champion": 1}


def test_the_gate_of_a_config_that_cannot_work_is_refused(tiny_encoder, tiny_corpus, tmp_path):
    for gate in (GateConfig(metric="f1_rumour"), GateConfig(margin=-1.0), GateConfig(max_label_loss=math.nan)):
        config = tiny_config(tiny_encoder, tiny_corpus, tmp_path)
        config.tracking.gate = gate
        with pytest.raises(InputError, match=r"^tracking\.gate\."):
            check(config)


def test_a_training_on_another_test_split_meets_the_champion_itself(tiny_encoder, tiny_corpus, tmp_path, monkeypatch):
    """The bundle of the champion is loaded from the store and scored on the newcomer's test split."""
    from allegedly.training import train

    monkeypatch.chdir(tmp_path)
    good = tiny_config(tiny_encoder, tiny_corpus, tmp_path)
    bad = tiny_config(tiny_encoder, write_corpus(tmp_path / "corpus", copies=2), tmp_path, max_steps=1)
    bad.trainer.learning_rate = 1e-6
    for config in (good, bad):
        config.tracking.registered_model = "race"
        train(config)
    client = mlflow.MlflowClient(good.tracking.uri)
    champion, challenger = (client.get_model_version_by_alias("race", alias) for alias in ("champion", "challenger"))
    assert (int(champion.version), int(challenger.version)) == (1, 2)
    assert champion.tags["test_digest"] != challenger.tags["test_digest"]
    assert "against 1.000 of version 1" in challenger.tags["gate_reason"]


# Children are forked from a process that has imported all and computed nothing: quick, and no thread is lost.
children = multiprocessing.get_context("forkserver")
children.set_forkserver_preload(["mlflow", "allegedly.registry"])


def register_beside(other, both_read, better_is_in, store: str, name: str, model_id: str, macro_f1: float) -> None:
    """In a child: register a model, the worse one last if both see the same champion."""
    champion = registry._champion

    def read(client, name):
        found = champion(client, name)
        with contextlib.suppress(BrokenBarrierError):  # the other is kept from reading until this one is done
            both_read.wait(5)
            if macro_f1 < other:
                better_is_in.wait(60)
        return found

    registry._champion = read
    mlflow.set_tracking_uri(store)
    training = Run(TrackingConfig(uri=store, registered_model=name, gate=GATE))
    training.model_id = model_id
    numbers = {f"test/{key}": value for key, value in (SCORES | {"macro_f1": macro_f1}).items()}
    registry.register(training, numbers, test_digest="a", score=pytest.fail)
    assert not training.failed
    if macro_f1 > other:
        better_is_in.set()


def test_of_two_that_register_at_once_the_better_is_champion(train, store):
    """Were both compared with the champion that they found, the last one to be written down would win."""
    train(0.8)
    both_read, better_is_in = children.Barrier(2), children.Event()
    pair = []
    for macro_f1, other in ((0.9, 0.95), (0.95, 0.9)):
        model = mlflow.initialize_logged_model(name="stance")
        mlflow.finalize_logged_model(model.model_id, "READY")
        arguments = (other, both_read, better_is_in, store, train.name, model.model_id, macro_f1)
        pair.append(children.Process(target=register_beside, args=arguments))
    for child in pair:
        child.start()
    for child in pair:
        child.join(200)
    assert [child.exitcode for child in pair] == [0, 0]
    champion = mlflow.MlflowClient().get_model_version_by_alias(train.name, "champion")
    assert champion.tags["test_macro_f1"] == "0.950000"
    found = mlflow.MlflowClient().search_model_versions(f"name='{train.name}'")
    won = {version.version: version.tags.get("gate_against") for version in found if version.tags["gate"] == "champion"}
    assert len(set(won.values())) == len(won)  # no champion is beaten twice


# ---- the way back


def test_one_goes_back_and_forth_between_two_champions(train, store):
    train(0.8)
    train(0.9)
    assert registry.make_champion(train.name, "previous", tracking_uri=store) == "1"
    assert aliases(train.name) == {"champion": 1, "previous": 2}
    registry.make_champion(train.name, "previous", tracking_uri=store)
    assert aliases(train.name) == {"champion": 2, "previous": 1}


def test_a_challenger_can_be_made_champion_by_hand(train, store):
    train(0.9)
    train(0.8)
    registry.make_champion(train.name, "2", tracking_uri=store)
    assert aliases(train.name) == {"champion": 2, "previous": 1}
    assert mlflow.MlflowClient().get_model_version(train.name, "2").tags["champion_by"] == "hand"


def test_the_gate_compares_with_the_champion_that_a_hand_made(train, store):
    train(0.8)
    train(0.95)
    registry.make_champion(train.name, "1", tracking_uri=store)
    train(0.9)
    assert aliases(train.name) == {"champion": 3, "previous": 1}


def test_making_the_champion_champion_changes_no_alias(train, store):
    train(0.8)
    train(0.9)
    registry.make_champion(train.name, "2", tracking_uri=store)
    assert aliases(train.name) == {"champion": 2, "previous": 1}


def test_the_command_lists_the_versions_and_goes_back(train, store, tmp_path):
    train(0.8)
    train(0.9)
    (tmp_path / "mlflow.db").symlink_to(store.removeprefix("sqlite:///"))
    command = re.search(r"^python -m champion ([^#\n]*)", (ROOT / "README.md").read_text(), re.M)[1].split()
    done = run("champion", *command, "--name", train.name, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == f"{train.name} version 1 is champion\n"
    listed = run("champion", "--name", train.name, cwd=tmp_path).stdout.decode().splitlines()
    assert [line.split()[0] for line in listed] == ["version", "2", "1"]
    assert listed[1].endswith("@previous")
    assert "0.8000" in listed[2]
    assert listed[2].endswith("@champion")
    wrong = run("champion", "7", "--name", train.name, cwd=tmp_path)
    assert (wrong.returncode, wrong.stderr.count(b"\n")) == (2, 1)
    assert wrong.stderr.decode().startswith(f"champion: {train.name}: has no version or alias '7'")


# ---- the champion's bundle


def digests(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()
    }


def test_predict_takes_the_champion_without_network_torch_or_a_trace_in_the_store(trained, tmp_path):
    """From another directory than the store's, which is named by a relative path."""
    text = "\n".join(text for texts in SENTENCES.values() for text in texts)
    (tmp_path / "a.txt").write_text(text)
    workplace = Path(trained[0].tracking.uri.removeprefix("sqlite:///")).parent
    (tmp_path / "elsewhere").symlink_to(workplace)
    program = """
import os, socket, sys
def cut(*_): raise AssertionError("the network was asked")
socket.socket.connect = socket.getaddrinfo = cut
os.environ["MLFLOW_TRACKING_URI"] = "sqlite:///elsewhere/mlflow.db"
import predict
status = predict.main(["a.txt", "--lines", "--device", "cpu", "--model", "models:/stance@champion"])
assert not {"torch", "transformers"} & set(sys.modules)
sys.exit(status)
"""
    before = digests(workplace)
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, timeout=300)
    assert (done.returncode, done.stderr.count(b"\n")) == (0, 1), done.stderr.decode()
    expected = run("predict", "a.txt", "--lines", "--device", "cpu", "--model", trained[0].output, cwd=tmp_path)
    assert done.stdout == expected.stdout
    assert digests(workplace) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "elsewhere"]


@pytest.mark.parametrize("model", ["models:/nobody@champion", "models:/stance@nobody", "models:/stance/99"])
def test_a_name_that_is_not_registered_gets_one_line(trained, model):
    with pytest.raises(InputError) as error:
        registry.fetch(model, tracking_uri=trained[0].tracking.uri)
    assert str(error.value).startswith(f"{model}: not to be had from sqlite:///")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "model", ["models:/", "models:/stance", "models:/stance@", "models:/stance/new", "models:/a/b@c"]
)
def test_a_name_that_cannot_be_one_gets_one_line(model, tmp_path):
    with pytest.raises(InputError, match=r"write models:/NAME@ALIAS or models:/NAME/VERSION"):
        registry.fetch(model, tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")


def test_a_version_is_fetched_by_its_number(trained):
    folder = registry.fetch("models:/stance/1", tracking_uri=trained[0].tracking.uri)
    assert (folder / "model.onnx").is_file()


def test_predict_without_a_store_says_so_and_makes_none(tmp_path):
    (tmp_path / "a.txt").write_text("The mayor denied it.")
    found = run("predict", "a.txt", "--model", "models:/stance@champion", cwd=tmp_path)
    assert (found.returncode, found.stderr.count(b"\n")) == (2, 1)
    assert b"no MLflow store" in found.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_another_database_is_left_as_it_is(tmp_path):
    file = tmp_path / "other.db"
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE t (x)")
    before = file.read_bytes()
    with pytest.raises(InputError, match="no MLflow store"):
        registry.fetch("models:/stance@champion", tracking_uri=f"sqlite:///{file}")
    assert file.read_bytes() == before


def test_a_model_of_another_program_is_refused(store):
    mlflow.set_tracking_uri(store)
    model = mlflow.initialize_logged_model(name="foreign")
    mlflow.MlflowClient().create_registered_model("foreign")
    mlflow.MlflowClient().create_model_version("foreign", source=f"models:/{model.model_id}", model_id=model.model_id)
    Path(model.artifact_location.removeprefix("file://")).mkdir(parents=True, exist_ok=True)
    with pytest.raises(InputError, match="holds no bundle of this program"):
        registry.fetch("models:/foreign/1", tracking_uri=store)
