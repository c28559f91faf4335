"""Killed at any moment, what was there stays whole: the bundle, the MLflow store, an output; and the work can go on."""

import contextlib
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from conftest import tiny_config, write_corpus

from allegedly import bundle, command_line, registry
from allegedly.classifier import Classifier
from allegedly.errors import InputError

# Children are forked from a process that has imported all and computed nothing: quick, and no thread is lost.
children = multiprocessing.get_context("forkserver")
children.set_forkserver_preload(["allegedly.training", "mlflow.pyfunc"])
SEED = int(os.environ.get("FAULTS_SEED", random.randrange(10**6)))  # said where a test fails; the same moments again
PHASES = ("training", "exporting", "logging", "registering")
PATIENCE = 200  # seconds for what takes a few: a busy machine is slow, not wrong


def train(workplace: Path, config, phases: Path) -> None:
    """In a child: a whole training, which writes down in ``phases`` what it begins."""
    import torch

    from allegedly import export, tracking, training

    os.chdir(workplace)  # MLflow puts artifacts beside its database
    torch.set_num_threads(1)

    def announced(phase, function):
        def call(*arguments, **named):
            with phases.open("a") as file:
                file.write(phase + "\n")
            return function(*arguments, **named)

        return call

    training.fit = announced("training", training.fit)
    export.export = announced("exporting", export.export)
    tracking.Run.model = announced("logging", tracking.Run.model)
    registry.register = announced("registering", registry.register)
    training.train(config)


@pytest.fixture
def moments():
    return random.Random(SEED)


def settings_of(encoder: Path, corpus: Path, workplace: Path):
    config = tiny_config(encoder, corpus, workplace, save_minutes=0, per_device_train_batch_size=8, max_steps=24)
    config.trainer.resume = True
    return config


def kill_in(phase: str, workplace: Path, config, delay: float) -> str:
    """Begin a training, kill it ``delay`` seconds into a phase; returns what it had begun last."""
    phases = workplace / "phases.txt"
    phases.write_text("")
    child = children.Process(target=train, args=(workplace, config, phases))
    child.start()
    end = time.monotonic() + PATIENCE
    while child.is_alive() and phase not in phases.read_text():
        assert time.monotonic() < end
        time.sleep(0.002)
    child.join(delay)
    child.kill()
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL)
    return (phases.read_text().split() or ["nothing"])[-1]


def assert_store_opens(workplace: Path) -> None:
    import mlflow

    with closing(sqlite3.connect(workplace / "mlflow.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    client = mlflow.MlflowClient(f"sqlite:///{workplace}/mlflow.db")
    for run in client.search_runs([client.get_experiment_by_name("stance").experiment_id]):
        assert run.info.status in ("RUNNING", "FINISHED", "FAILED")


def sealed(folder: Path) -> str:
    """What tells a bundle from another; InputError if it is not whole."""
    bundle.open_folder(folder)
    return bundle.digest(folder / bundle.MANIFEST)


@pytest.mark.parametrize("kills", [2, pytest.param(16, marks=pytest.mark.slow)])
def test_a_training_killed_again_and_again(kills, tiny_bundle, tiny_encoder, tmp_path, moments):
    """In phases drawn at random. Each training goes on where the one before was killed, and anew when it was done."""
    corpus = write_corpus(tmp_path / "corpus")
    output = tmp_path / "models" / "stance"
    shutil.copytree(tiny_bundle, output)
    config = settings_of(tiny_encoder, corpus, tmp_path)
    for phase in (moments.sample(PHASES, 4) * 4)[:kills]:
        before = sealed(output)
        last = kill_in(phase, tmp_path, config, moments.random())
        assert sealed(output) == before or last in PHASES[1:], SEED
        assert_store_opens(tmp_path)
        assert Classifier.load(output).predict(["The mayor denied it"])
    before = sealed(output)
    child = children.Process(target=train, args=(tmp_path, config, tmp_path / "last.txt"))
    child.start()
    child.join(PATIENCE)
    assert child.exitcode == 0
    assert sealed(output) != before
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["stance"]  # nothing half done is left
    champion = registry.fetch("models:/stance@champion", tracking_uri=config.tracking.uri)
    assert Classifier.load(champion).predict(["The mayor denied it"])


def test_two_trainings_at_once_share_a_new_store(tiny_encoder, tmp_path):
    import mlflow

    corpus = write_corpus(tmp_path / "corpus")
    pair = []
    for name in ("one", "other"):
        config = tiny_config(tiny_encoder, corpus, tmp_path, max_steps=2)
        config.output = str(tmp_path / "models" / name)
        pair.append(children.Process(target=train, args=(tmp_path, config, tmp_path / f"{name}.txt")))
    for child in pair:
        child.start()
    for child in pair:
        child.join(PATIENCE)
    assert [child.exitcode for child in pair] == [0, 0]
    for name in ("one", "other"):
        sealed(tmp_path / "models" / name)
    assert_store_opens(tmp_path)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("stance").experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    assert all("test/macro_f1" in run.data.metrics for run in runs)
    assert {version.version for version in client.search_model_versions("name='stance'")} == {1, 2}


def opened_all_the_time(folder: Path, until: Path) -> None:
    """In a child: open a bundle again and again, as predict would."""
    while not until.exists():
        with contextlib.suppress(InputError):  # half a replacement is refused, never loaded
            bundle.open_folder(folder)


def test_a_bundle_that_is_opened_while_it_is_replaced_stays_replaceable(tiny_bundle, tmp_path):
    folder, until = tmp_path / "models" / "stance", tmp_path / "done"
    shutil.copytree(tiny_bundle, folder)
    readers = [children.Process(target=opened_all_the_time, args=(folder, until)) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(60):
        with bundle.replacing(folder) as draft:
            shutil.copytree(tiny_bundle, draft, dirs_exist_ok=True)
    until.touch()
    for reader in readers:
        reader.join(PATIENCE)
    assert [reader.exitcode for reader in readers] == [0, 0]
    sealed(folder)


# predict

SENTENCES = 24_000  # two seconds of labelling, after one of starting


@pytest.fixture
def long_article(tmp_path) -> Path:
    (tmp_path / "a.txt").write_text("The mayor denied taking the money on Monday.\n" * SENTENCES)
    return tmp_path / "a.txt"


def whole(output: Path) -> bool:
    return len([json.loads(line) for line in output.read_text().splitlines()]) == SENTENCES


def test_predict_killed_four_times_leaves_the_old_output(long_article, start_predict, tmp_path, moments):
    for _ in range(4):
        output = tmp_path / "out.jsonl"
        output.write_text("precious")
        process = start_predict("a.txt", "--lines", "--format", "jsonl", "--output", "out.jsonl")
        time.sleep(moments.uniform(0.1, 3))
        process.kill()
        process.communicate()
        assert output.read_text() == "precious" or whole(output), SEED


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
@pytest.mark.parametrize("there", [True, False], ids=["old output", "no output"])
def test_a_stopped_predict_leaves_all_or_nothing_and_no_draft(
    number, there, long_article, start_predict, tmp_path, moments
):
    output = tmp_path / "out.jsonl"
    for moment in (moments.uniform(0, 0.5), moments.uniform(0.5, 1.5), moments.uniform(1.5, 3)):
        output.write_text("precious") if there else output.unlink(missing_ok=True)
        process = start_predict("a.txt", "--lines", "--format", "jsonl", "--output", "out.jsonl")
        time.sleep(moment)
        process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE)
        said = re.sub(r"predict: \d+ sentences in .*\n", "", err.decode())  # all was done when it was stopped
        assert process.returncode in (128 + number, -number, 0), (SEED, said)
        # Ctrl-C may meet Python before our first line.
        early = number == signal.SIGINT and moment < 0.5 and "predict.py" not in said
        assert said in ("", "predict: interrupted\n") or early, (SEED, said)
        if output.exists():
            assert (there and output.read_text() == "precious") or whole(output), SEED
        assert {path.name for path in tmp_path.iterdir()} <= {"a.txt", "out.jsonl"}, SEED


def test_a_stop_that_meets_a_library_as_it_loads_is_a_stop_and_other_errors_are_not(capsys):
    def loads() -> int:
        try:
            signal.raise_signal(signal.SIGTERM)
        except command_line.Stopped as stopped:  # as pybind11 does where a module's first lines fail
            raise ImportError("initialization failed") from stopped

    def fails() -> int:
        raise ImportError("no such module")

    before = {number: signal.getsignal(number) for number in command_line.SIGNALS}
    try:
        assert command_line.run(loads, "predict") == 128 + signal.SIGTERM
        assert capsys.readouterr().err == "predict: interrupted\n"
        with pytest.raises(ImportError, match="no such module"):
            command_line.run(fails, "predict")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_stop_while_a_page_is_read_ends_its_helper_too(start_predict, tmp_path):
    import hostile
    import psutil

    (tmp_path / "a.html").write_bytes(hostile.FILES["only <"][1]())
    process = start_predict("a.html", "--output", "out.txt")
    end = time.monotonic() + PATIENCE
    while not (helpers := psutil.Process(process.pid).children()):
        assert time.monotonic() < end
        time.sleep(0.01)
    time.sleep(0.5)
    process.terminate()
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (128 + signal.SIGTERM, b"predict: interrupted\n")
    _, alive = psutil.wait_procs(helpers, timeout=30)
    assert alive == []
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]
