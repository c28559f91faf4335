"""A training that was killed goes on where it was and ends with the weights that it would have had, bit for bit."""

import contextlib
import dataclasses
import errno
import json
import logging
import multiprocessing
import os
import random
import runpy
import signal
import socket
import sys
import time
from collections import defaultdict
from functools import partialmethod
from pathlib import Path

import pytest
from conftest import run, tiny_config, write_corpus

from allegedly import checkpoints, corpus, tracking
from allegedly.config import TrackingConfig
from allegedly.errors import InputError

# Children are forked from a process that has imported all and computed nothing: quick, and no thread is lost.
children = multiprocessing.get_context("forkserver")
children.set_forkserver_preload(["allegedly.training"])

# Three epochs of 48 sentences in batches of eight are 18 steps.
VARIANTS = {
    "all layers": {},
    "upper layer": {"trained_layers": 1, "layer_decay": 0.9},
    "random order": {"group_by_length": False},
    "accumulated": {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2},
    "R-Drop, perturbed weights": {"r_drop": 1.0, "weight_perturbation": 0.01},
    "two epochs and a half": {"num_train_epochs": 2.5},
    "bf16": {"precision": "bf16"},
    "early stopping": {"num_train_epochs": 5, "early_stopping_patience": 2},
}
TOLD = [0.5, 0.6, 0.4, 0.3, 0.9]  # early stopping is told these macro-F1: the second epoch of four is the best


def config_of(encoder, corpus_folder, workplace, **trainer):
    from allegedly.config import Precision

    settings = {
        "max_steps": -1, "num_train_epochs": 3, "per_device_train_batch_size": 8, "save_minutes": 0,
        "logging_steps": 4, "warmup_ratio": 0.1,
    }  # fmt: skip
    settings |= trainer
    settings["precision"] = Precision(settings.get("precision", "fp32"))
    return tiny_config(encoder, corpus_folder, workplace, **settings)


@pytest.fixture(scope="module")
def corpus_folder(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), copies=3)


class Log:
    """Stands in for an MLflow run: a line for each number, in a file that outlasts a kill."""

    def __init__(self, path: Path):
        self.path = path

    def metrics(self, numbers, step=None):
        with self.path.open("a") as file:
            file.writelines(json.dumps([key, step, value]) + "\n" for key, value in numbers.items())


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(report, step, args, state, control, **_):
    if state.global_step == step:
        die()


def no_pickle(*_, **__):
    raise AssertionError("something is pickled")


def fit(config, folder: Path, *, kill_at=None, kill_in_write=None, due_at=None, port=None, rank=0):
    """In a child: `training.fit` into ``folder``, until a hook kills it.

    ``kill_at`` names a step; ``kill_in_write`` counts what is brought to disk, the last of which is cut in half;
    ``due_at`` names the steps that get a checkpoint; with ``port`` it is process ``rank`` of two.
    """
    import torch

    from allegedly import training

    if port:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    torch.save = torch.load = no_pickle
    folder.mkdir(exist_ok=True)
    if kill_at:
        training._Report.on_step_end = partialmethod(die_at, kill_at)
    if due_at:
        checkpoints.ResumableTrainer.due = lambda self: self.state.global_step in due_at
    if kill_in_write:
        left = iter(range(kill_in_write - 1, -1, -1))

        def to_disk(path):
            if next(left) == 0:
                if path.is_file():
                    os.truncate(path, path.stat().st_size // 2)
                die()

        checkpoints._to_disk = to_disk
    if config.trainer.early_stopping_patience:
        epoch, begin, scores = [0], checkpoints.ResumableTrainer.begin_epoch, training._epoch_scores

        def begin_epoch(self, loader):
            epoch[0] = int(self.state.epoch)
            begin(self, loader)

        checkpoints.ResumableTrainer.begin_epoch = begin_epoch
        training._epoch_scores = lambda said, names: scores(said, names=names) | {"macro_f1": TOLD[epoch[0]]}
    splits = corpus.read(config.corpus.path)
    training.fit(
        config, splits["train"], splits["validation"],
        encoder=Path(config.encoder.path), folder=folder if rank == 0 else folder / "other",
        run=Log(folder / f"log{rank}"), resumable=resumable(folder),
    )  # fmt: skip


def resumable(folder: Path) -> Path:
    return folder / "resume"


def in_child(function, *arguments, **named) -> int:
    child = children.Process(target=function, args=arguments, kwargs=named)
    child.start()
    child.join(120)
    return child.exitcode


def resumed(config):
    return dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, resume=True))


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def logged(folder: Path, name: str = "log0") -> dict[tuple[str, int], set[float]]:
    found = defaultdict(set)
    for line in (folder / name).read_text().splitlines():
        key, step, value = json.loads(line)
        found[key, step].add(value)
    return found


@pytest.fixture(scope="module")
def uninterrupted(tiny_encoder, corpus_folder, tmp_path_factory):
    """By variant: the folder of a training that nothing stopped, in which no checkpoint was written."""
    found = {}

    def train(variant: str) -> Path:
        if variant not in found:
            folder = tmp_path_factory.mktemp("uninterrupted")
            config = config_of(tiny_encoder, corpus_folder, folder, **VARIANTS[variant], save_minutes=60)
            assert in_child(fit, config, folder / "model") == 0
            found[variant] = folder / "model"
        return found[variant]

    return train


def assert_as_if_uninterrupted(folder: Path, expected: Path) -> None:
    assert weights(folder) == weights(expected)
    assert logged(folder) == logged(expected)  # every number of every step, some of them logged twice


def assert_plain(folder: Path) -> None:
    """No file but safetensors and JSON."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".safetensors", ".json"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_killed_training_ends_with_the_same_weights_and_numbers(
    variant, uninterrupted, tiny_encoder, corpus_folder, tmp_path
):
    """The checkpoint lies within the second epoch, whose order of sentences was drawn before it."""
    config = config_of(tiny_encoder, corpus_folder, tmp_path, **VARIANTS[variant])
    folder = tmp_path / "model"
    assert in_child(fit, config, folder, due_at=[3, 9], kill_at=11) == -signal.SIGKILL
    assert checkpoints.latest(resumable(folder)).name == "checkpoint-9"
    assert_plain(resumable(folder))
    assert not (folder / "model.safetensors").exists()
    assert in_child(fit, resumed(config), folder, due_at=[15]) == 0
    assert_as_if_uninterrupted(folder, uninterrupted(variant))


@pytest.mark.parametrize(
    ("due_at", "kill_at"),
    [([9], 1), ([1], 2), ([6], 8), ([12], 13), ([17], 18), ([5, 6, 7], 7)],
    ids=["nothing saved", "first step", "first validation", "second validation", "last step", "each step"],
)
def test_the_moment_does_not_matter(due_at, kill_at, uninterrupted, tiny_encoder, corpus_folder, tmp_path):
    config, folder = config_of(tiny_encoder, corpus_folder, tmp_path), tmp_path / "model"
    assert in_child(fit, config, folder, due_at=due_at, kill_at=kill_at) == -signal.SIGKILL
    assert in_child(fit, resumed(config), folder) == 0
    assert_as_if_uninterrupted(folder, uninterrupted("all layers"))


def test_killed_again_and_again_and_once_more_when_it_was_done(uninterrupted, tiny_encoder, corpus_folder, tmp_path):
    config, folder = resumed(config_of(tiny_encoder, corpus_folder, tmp_path)), tmp_path / "model"
    for step in (2, 3, 7, 12, 18):
        assert in_child(fit, config, folder, kill_at=step) == -signal.SIGKILL
    assert in_child(fit, config, folder) == 0
    (folder / "model.safetensors").unlink()  # it was killed before the bundle was there
    assert in_child(fit, config, folder) == 0
    assert_as_if_uninterrupted(folder, uninterrupted("all layers"))


@pytest.mark.parametrize(("due_at", "kill_at"), [([7], 14), ([14], 20), ([18], 24)])
def test_the_best_epoch_and_the_patience_are_remembered(
    due_at, kill_at, uninterrupted, tiny_encoder, corpus_folder, tmp_path
):
    config = config_of(tiny_encoder, corpus_folder, tmp_path, **VARIANTS["early stopping"])
    folder = tmp_path / "model"
    assert in_child(fit, config, folder, due_at=due_at, kill_at=kill_at) == -signal.SIGKILL
    assert in_child(fit, resumed(config), folder, due_at=[99]) == 0
    assert_as_if_uninterrupted(folder, uninterrupted("early stopping"))
    assert max(step for _, step in logged(folder)) == 24  # of 30
    assert sorted(path.name for path in resumable(folder).glob("best-*"))[0] == "best-12"


@pytest.mark.parametrize("nth", [1, 2, 3, 4, 5, 6])
def test_a_half_written_checkpoint_is_passed_over(nth, uninterrupted, tiny_encoder, corpus_folder, tmp_path):
    """Cut off in each of its five files, and when it had its name but the one before it was still there."""
    config, folder = config_of(tiny_encoder, corpus_folder, tmp_path), tmp_path / "model"
    assert in_child(fit, config, folder, due_at=[8], kill_at=9) == -signal.SIGKILL
    assert in_child(fit, resumed(config), folder, due_at=[10], kill_in_write=nth) == -signal.SIGKILL
    assert checkpoints.latest(resumable(folder)).name == ("checkpoint-10" if nth == 6 else "checkpoint-8")
    assert (resumable(folder) / ".draft").exists() == (nth < 6)
    assert in_child(fit, resumed(config), folder, due_at=[12]) == 0
    assert_as_if_uninterrupted(folder, uninterrupted("all layers"))
    assert [path.name for path in resumable(folder).iterdir()] == ["checkpoint-12"]


def test_killed_at_any_moment_of_a_training_that_writes_all_the_time(
    uninterrupted, tiny_encoder, corpus_folder, tmp_path
):
    config, folder = resumed(config_of(tiny_encoder, corpus_folder, tmp_path)), tmp_path / "model"
    child = children.Process(target=fit, args=(config, folder))
    child.start()
    while child.is_alive() and checkpoints.latest(resumable(folder)) is None:
        time.sleep(0.001)
    time.sleep(random.uniform(0, 0.3))
    child.kill()
    child.join()
    assert in_child(fit, config, folder) == 0
    assert_as_if_uninterrupted(folder, uninterrupted("all layers"))


@pytest.mark.parametrize("variant", ["all layers", "random order"])
def test_two_processes_go_on_together(variant, tiny_encoder, corpus_folder, tmp_path):
    def both(config, folder, **named) -> list[int]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            named["port"] = free.getsockname()[1]
        pair = [children.Process(target=fit, args=(config, folder), kwargs={**named, "rank": n}) for n in range(2)]
        for child in pair:
            child.start()
        pair[0].join(120)
        if pair[0].exitcode:  # as torchrun does when one has died
            pair[1].kill()
        pair[1].join(120)
        return [child.exitcode for child in pair]

    settings = VARIANTS[variant] | {"per_device_train_batch_size": 4}
    expected, folder = tmp_path / "expected", tmp_path / "model"
    config = config_of(tiny_encoder, corpus_folder, tmp_path, **settings)
    slow = dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, save_minutes=60))
    assert both(slow, expected) == [0, 0]
    assert both(config, folder, kill_at=9) == [-signal.SIGKILL, -signal.SIGKILL]
    assert checkpoints.latest(resumable(folder)).name == "checkpoint-8"
    assert_plain(resumable(folder))
    assert both(resumed(config), folder) == [0, 0]
    assert weights(folder) == weights(expected)


def train(overrides: list[str], *, kill_at: int) -> None:
    """In a child: `python -m train` that is killed after a step."""
    import torch

    from allegedly import training

    torch.set_num_threads(1)
    training._Report.on_step_end = partialmethod(die_at, kill_at)
    sys.argv = ["train", *overrides]
    runpy.run_module("train", run_name="__main__", alter_sys=True)


def test_the_command_goes_on_in_the_same_mlflow_run(uninterrupted, tiny_encoder, corpus_folder, tmp_path, monkeypatch):
    import mlflow

    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as in the children: sums over several threads round differently
    monkeypatch.chdir(tmp_path)
    overrides = [
        "encoder=hub", f"encoder.path={tiny_encoder}", "encoder.max_length=32", "corpus=own",
        f"corpus.path={corpus_folder}", f"output={tmp_path}/models/stance", f"hydra.run.dir={tmp_path}/outputs",
        f"tracking.uri=sqlite:///{tmp_path}/mlflow.db", "trainer.num_train_epochs=3",
        "trainer.per_device_train_batch_size=8", "trainer.learning_rate=5e-3", "trainer.logging_steps=4",
        "trainer.early_stopping_patience=0", "trainer.device=cpu", "trainer.precision=fp32",
        "trainer.progress_bar=false", "trainer.save_minutes=0",
    ]  # fmt: skip
    assert in_child(train, overrides, kill_at=8) == -signal.SIGKILL
    place = tmp_path / "models" / ".stance.resume"
    assert not (tmp_path / "models" / "stance").exists()
    refused = run("train", *overrides, "trainer.resume=true", "trainer.learning_rate=0.004", "seed=14", cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.count(b"\n") == 1
    assert b"trainer.learning_rate (0.005 there, 0.004 here)" in refused.stderr
    assert b"seed (13 there, 14 here)" in refused.stderr
    assert checkpoints.latest(place).name == "checkpoint-7"  # nothing is lost by that
    done = run("train", *overrides, "trainer.resume=true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert b"after step 7, in MLflow run" in done.stdout
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["stance"]
    assert weights(tmp_path / "models" / "stance") == weights(uninterrupted("all layers"))
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (only,) = client.search_runs([client.get_experiment_by_name("stance").experiment_id])
    assert only.info.status == "FINISHED"
    assert (only.data.params["trainer.resume"], only.data.metrics["test/macro_f1"] > 0) == ("False", True)
    assert len(only.inputs.dataset_inputs) == 3
    history = defaultdict(set)
    for metric in client.get_metric_history(only.info.run_id, "train/loss"):
        history[metric.step].add(metric.value)
    assert history == {
        step: values for (key, step), values in logged(uninterrupted("all layers")).items() if key == "train/loss"
    }


# The place beside the bundle


def held(tmp_path, identity, *, resume=False):
    return checkpoints.unfinished(tmp_path / "stance", identity, resume=resume)


def leave(tmp_path, identity, *, run_id="a" * 32, step=7) -> Path:
    """What a killed training leaves behind."""
    with contextlib.suppress(KeyboardInterrupt), held(tmp_path, identity) as place:
        place.told_to(run_id)
        (place.folder / f"checkpoint-{step}").mkdir()
        raise KeyboardInterrupt
    return checkpoints.beside(tmp_path / "stance")


def test_what_makes_another_training_is_named(tmp_path):
    there = {"seed": 1, "trainer.learning_rate": 5e-5, "corpus_digest": "a" * 64, "encoder.packages": ["a"]}
    folder = leave(tmp_path, there)
    here = there | {"seed": 2, "corpus_digest": "b" * 64}
    with pytest.raises(InputError) as caught, held(tmp_path, here, resume=True):
        pass
    assert str(caught.value) == (
        f"{folder}: holds another training, differing in corpus_digest, seed (1 there, 2 here); "
        "make them equal, or start afresh with trainer.resume=false"
    )
    assert checkpoints.latest(folder).name == "checkpoint-7"


def test_where_a_training_is_told_may_change(tmp_path):
    leave(tmp_path, {"seed": 1, "tracking.uri": "a", "trainer.resume": False, "trainer.progress_bar": True})
    here = {"seed": 1, "tracking.uri": "b", "trainer.resume": True, "trainer.progress_bar": False}
    with held(tmp_path, here, resume=True) as place:
        assert place.run_id == "a" * 32


def test_with_nothing_to_resume_it_starts_afresh_and_says_so(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="allegedly"), held(tmp_path, {"seed": 1}, resume=True) as place:
        assert place.run_id is None
    assert [record.message for record in caplog.records] == [
        f"nothing to resume in {place.folder}: the training starts afresh"
    ]


def test_what_could_have_been_resumed_is_discarded_with_a_word(tmp_path, caplog):
    folder = leave(tmp_path, {"seed": 1})
    with caplog.at_level(logging.INFO, logger="allegedly"), held(tmp_path, {"seed": 2}) as place:
        assert checkpoints.latest(folder) is None
        assert place.run_id is None
    (said,) = (record.message for record in caplog.records)
    assert said == f"{folder}: an unfinished training is discarded after step 7; trainer.resume=true would have gone on"


def test_two_trainings_for_one_output_do_not_meet(tmp_path):
    told = "stance: another process trains for it now; wait, or choose another output"
    with held(tmp_path, {"seed": 1}):
        with pytest.raises(InputError, match=told), held(tmp_path, {"seed": 1}, resume=True):
            pass
        with checkpoints.unfinished(tmp_path / "other", {"seed": 1}, resume=False):
            pass
    assert list(tmp_path.iterdir()) == []
    with held(tmp_path, {"seed": 1}):
        pass


def hold(folder: Path) -> None:
    """In a child: train for an output without end."""
    with held(folder, {"seed": 1}) as place:
        place.told_to("b" * 32)
        time.sleep(600)


def test_a_training_is_held_against_other_processes_until_it_is_killed(tmp_path):
    child = children.Process(target=hold, args=(tmp_path,))
    child.start()
    told = checkpoints.beside(tmp_path / "stance") / "training.json"
    while not told.exists():
        assert child.is_alive()
        time.sleep(0.01)
    with pytest.raises(InputError, match="another process trains for it now"), held(tmp_path, {"seed": 1}):
        pass
    child.kill()
    child.join()
    with held(tmp_path, {"seed": 1}, resume=True) as place:
        assert place.run_id == "b" * 32
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_locks_gets_one_line(tmp_path, monkeypatch):
    """A file that only stands for a lock would outlast a kill."""
    fcntl = pytest.importorskip("fcntl")

    def unknown(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unknown)
    with pytest.raises(InputError, match=r"cannot be locked \(Function not implemented\)"), held(tmp_path, {}):
        pass


def test_a_failed_training_can_be_resumed_and_one_without_checkpoint_leaves_nothing(tmp_path):
    folder = leave(tmp_path, {"seed": 1})
    assert folder.exists()
    with pytest.raises(RuntimeError), held(tmp_path, {"seed": 1}):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_the_half_written_bundle_of_a_killed_training_is_removed(tmp_path):
    (tmp_path / ".stance.draft-abc").mkdir()
    (tmp_path / ".other.draft-abc").mkdir()
    with held(tmp_path, {"seed": 1}):
        assert not (tmp_path / ".stance.draft-abc").exists()
    assert [path.name for path in tmp_path.iterdir()] == [".other.draft-abc"]


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "optimizer.json", "process-0.json"])
def test_a_checkpoint_damaged_later_gets_one_clear_line(file, tiny_encoder, corpus_folder, tmp_path):
    from allegedly.training import fit

    config, folder = config_of(tiny_encoder, corpus_folder, tmp_path, max_steps=8), tmp_path / "model"
    folder.mkdir()
    splits = corpus.read(corpus_folder)
    named = {"encoder": tiny_encoder, "folder": folder, "run": Log(tmp_path / "log"), "resumable": tmp_path / "resume"}
    fit(config, splits["train"], splits["validation"], **named)
    path = checkpoints.latest(tmp_path / "resume") / file
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=rf"{path}: cannot be read .*; start afresh with trainer.resume=false"):
        fit(resumed(config), splits["train"], splits["validation"], **named)


@pytest.mark.parametrize("state", ["never there", "deleted", "other experiment"])
def test_a_run_that_is_gone_is_said_once_and_a_new_one_begun(state, tmp_path, caplog, monkeypatch):
    import mlflow

    monkeypatch.chdir(tmp_path)
    config = TrackingConfig(uri=f"sqlite:///{tmp_path}/mlflow.db")
    with tracking.start(config) as first:
        first.params({"trainer.resume": False})
    run_id = first.run_id
    if state == "never there":
        run_id = "0" * 32
    elif state == "deleted":
        mlflow.delete_run(run_id)
    else:
        config.experiment = "other"
    with caplog.at_level(logging.WARNING, logger="allegedly"), tracking.start(config, run_id=run_id) as second:
        second.params({"trainer.resume": True})
    assert [record.message for record in caplog.records] == [
        f"tracking: run {run_id} is not in {config.uri}; a new run goes on in its place"
    ]
    assert second.run_id not in (run_id, first.run_id)
    assert mlflow.get_run(second.run_id).data.params == {"trainer.resume": "True"}


def test_a_failed_run_is_taken_up_again(tmp_path, monkeypatch):
    import mlflow

    monkeypatch.chdir(tmp_path)
    config = TrackingConfig(uri=f"sqlite:///{tmp_path}/mlflow.db")
    with contextlib.suppress(RuntimeError), tracking.start(config) as first:
        first.params({"trainer.resume": False})
        raise RuntimeError
    with tracking.start(config, run_id=first.run_id) as second:
        assert mlflow.get_run(first.run_id).info.status == "RUNNING"
        second.params({"trainer.resume": True})  # it knows its params
    assert (second.run_id, second.failed) == (first.run_id, False)
    assert mlflow.get_run(first.run_id).info.status == "FINISHED"
    assert mlflow.get_run(first.run_id).data.params == {"trainer.resume": "False"}
