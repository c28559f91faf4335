"""A sweep keeps every trial, goes on where it stopped, stops hopeless trials, and never opens the test split."""

import dataclasses
import time

import mlflow
import optuna
import pytest
from conftest import run, tiny_config, write_corpus
from optuna.trial import TrialState

from allegedly import sweeping, training
from allegedly.config import Dimension, ModelKind, SweepConfig, check, tried
from allegedly.errors import InputError
from allegedly.sweeping import sweep


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def folder(tmp_path):
    """A corpus whose test split does not even exist."""
    folder = write_corpus(tmp_path / "corpus")
    (folder / "test.jsonl").unlink()
    return folder


def sweep_config(encoder, folder, workplace, *, n_trials=2, search=None, **trainer) -> SweepConfig:
    tiny = tiny_config(encoder, folder, workplace, **{"max_steps": -1, "num_train_epochs": 2, **trainer})
    return SweepConfig(
        **vars(tiny),
        n_trials=n_trials,
        study="tiny",
        storage=f"sqlite:///{workplace}/optuna.db",
        search=search or {"learning_rate": Dimension(low=1e-4, high=1e-2, log=True)},
    )


@pytest.fixture
def pretend(monkeypatch):
    """In place of a training: ``pretend(f)`` lets ``f(config)`` give the validation macro-F1 of every epoch."""

    def install(curve):
        def fit(config, *_, after_epoch, run, **__):
            for value in curve(config):
                scores = {"validation/macro_f1": value}
                run.metrics(scores)
                after_epoch(scores)

        monkeypatch.setattr(training, "fit", fit)

    return install


def study_of(config: SweepConfig) -> optuna.Study:
    return optuna.load_study(study_name=config.study, storage=config.storage)


def runs_of(config: SweepConfig):
    """The parent's run, and those of the trials in their order."""
    mlflow.set_tracking_uri(config.tracking.uri)
    runs = mlflow.search_runs(experiment_names=["stance"], output_format="list")
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    trials = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(trials) == len(runs) - 1
    return parent, sorted(trials, key=lambda run: int(run.data.tags["trial"]))


def test_trials_are_runs_under_one_parent_and_the_best_is_marked(tiny_encoder, folder, here):
    config = sweep_config(tiny_encoder, folder, here, n_trials=3)
    best = sweep(config)
    parent, trials = runs_of(config)
    assert [run.info.run_name for run in trials] == ["trial 0", "trial 1", "trial 2"]
    assert {run.info.status for run in (parent, *trials)} == {"FINISHED"}
    values = [run.data.metrics["sweep/macro_f1"] for run in trials]
    assert best.macro_f1 == max(values) == parent.data.metrics["sweep/macro_f1"]
    assert [run.data.tags.get("best") == "true" for run in trials] == [n == best.number for n in range(3)]
    assert trials[best.number].data.params["trainer.learning_rate"] == str(best.settings["learning_rate"])
    assert parent.data.tags["best_trial"] == str(best.number)
    assert parent.data.tags["best.learning_rate"] == str(best.settings["learning_rate"])
    assert parent.data.tags["best_command"] == best.command
    assert {item.tags[0].value for item in parent.inputs.dataset_inputs} == {"training", "validation"}
    assert not any(key.startswith("test/") for run in (parent, *trials) for key in run.data.metrics)
    assert not (here / "models").exists()


def test_a_trial_is_worth_what_its_last_epoch_scores_or_its_best_if_that_is_kept(tiny_encoder, folder, here, pretend):
    pretend(lambda config: [0.5, 0.8, 0.6])
    assert sweep(sweep_config(tiny_encoder, folder, here, n_trials=1)).macro_f1 == 0.6
    patient = sweep_config(tiny_encoder, folder, here, n_trials=1, early_stopping_patience=2)
    patient.study = "patient"
    assert sweep(patient).macro_f1 == 0.8


def test_the_first_trial_takes_the_settings_as_they_stand(tiny_encoder, folder, here, pretend):
    pretend(lambda config: [0.5])
    search = {
        "learning_rate": Dimension(low=1e-4, high=1e-2, log=True),
        "class_weights": Dimension(choices=["none", "sqrt"]),
        "per_device_train_batch_size": Dimension(low=4, high=32, step=4),
    }
    config = sweep_config(tiny_encoder, folder, here, n_trials=8, search=search)
    sweep(config)
    _, trials = runs_of(config)
    for key in search:
        values = [run.data.params[f"trainer.{key}"] for run in trials]
        current = getattr(config.trainer, key)
        assert values[0] == str(getattr(current, "value", current))
        assert len(set(values)) > 1


def test_hopeless_trials_are_stopped_and_their_runs_are_killed_not_failed(tiny_encoder, folder, here, pretend):
    begun = []

    def curve(config):
        begun.append(config)
        hopeless = len(begun) > 2
        yield 0.1 if hopeless else 0.7
        assert not hopeless
        yield 0.8

    pretend(curve)
    config = sweep_config(tiny_encoder, folder, here, n_trials=4)
    config.n_startup_trials = 2
    best = sweep(config)
    assert best.macro_f1 == 0.8
    parent, trials = runs_of(config)
    assert [run.info.status for run in trials] == ["FINISHED", "FINISHED", "KILLED", "KILLED"]
    assert [run.data.tags.get("pruned") for run in trials] == [None, None, "true", "true"]
    assert parent.info.status == "FINISHED"


def test_a_trial_is_not_stopped_after_its_last_epoch(tiny_encoder, folder, here, pretend):
    values = iter([0.9, 0.9, 0.1])
    pretend(lambda config: [next(values)])
    config = sweep_config(tiny_encoder, folder, here, n_trials=3, num_train_epochs=1)
    config.n_startup_trials = 1
    sweep(config)
    assert [trial.value for trial in study_of(config).trials] == [0.9, 0.9, 0.1]


def test_the_same_call_goes_on_where_ctrl_c_stopped_it(tiny_encoder, folder, here, pretend):
    def interrupted(config):
        if len(study_of(sweeping_config).trials) > 2:
            raise KeyboardInterrupt
        return [0.5 + config.trainer.learning_rate]

    sweeping_config = sweep_config(tiny_encoder, folder, here, n_trials=4)
    pretend(interrupted)
    with pytest.raises(KeyboardInterrupt):
        sweep(sweeping_config)
    parent, trials = runs_of(sweeping_config)
    assert [run.info.status for run in (parent, *trials)] == ["KILLED", "FINISHED", "FINISHED", "KILLED"]

    pretend(lambda config: [0.5 + config.trainer.learning_rate])
    best = sweep(sweeping_config)
    resumed, trials = runs_of(sweeping_config)
    assert resumed.info.run_id == parent.info.run_id
    assert resumed.info.status == "FINISHED"
    states = [trial.state for trial in study_of(sweeping_config).trials]
    assert states == [TrialState.COMPLETE] * 2 + [TrialState.FAIL] + [TrialState.COMPLETE] * 2
    assert [run.data.tags.get("best") for run in trials].count("true") == 1
    assert trials[best.number].data.tags["best"] == "true"
    rates = [run.data.params["trainer.learning_rate"] for run in trials]
    assert len(set(rates)) == len(rates)  # a sampler seeded alike would draw the same again

    def none(config):
        raise AssertionError("all trials are there")

    pretend(none)
    assert sweep(sweeping_config) == best
    assert sweep(dataclasses.replace(sweeping_config, n_trials=1)) == best


def test_a_trial_whose_process_died_is_failed_and_made_up_for(tiny_encoder, folder, here, pretend, monkeypatch):
    pretend(lambda config: [0.5])
    monkeypatch.setattr(sweeping, "HEARTBEAT", 1)
    config = sweep_config(tiny_encoder, folder, here, n_trials=1)
    sweep(config)
    study = study_of(config)
    dead = study.ask()
    study._storage.record_heartbeat(dead._trial_id)
    time.sleep(3)  # twice the heartbeat, and one for the clock of the database, which counts seconds
    config.n_trials = 2
    sweep(config)
    states = [trial.state for trial in study_of(config).trials]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]


def test_values_of_different_trainings_are_not_mixed(tiny_encoder, folder, here, pretend):
    pretend(lambda config: [0.5])
    sweep(sweep_config(tiny_encoder, folder, here, n_trials=1))
    with pytest.raises(InputError, match="was begun with trainer.weight_decay=0.01, now it is 0.5"):
        sweep(sweep_config(tiny_encoder, folder, here, weight_decay=0.5))
    line = (folder / "validation.jsonl").read_text().splitlines()[0]
    (folder / "validation.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match="was begun with corpus_digest="):
        sweep(sweep_config(tiny_encoder, folder, here))


def test_a_failing_training_stops_the_sweep_and_fails_its_run(tiny_encoder, folder, here, pretend):
    def broken(config):
        raise RuntimeError("out of memory")

    pretend(broken)
    config = sweep_config(tiny_encoder, folder, here)
    with pytest.raises(RuntimeError, match="out of memory"):
        sweep(config)
    parent, (trial,) = runs_of(config)
    assert (parent.info.status, trial.info.status) == ("FAILED", "FAILED")


def test_a_sweep_does_without_tracking(tiny_encoder, folder, here, pretend):
    pretend(lambda config: [0.5])
    config = sweep_config(tiny_encoder, folder, here)
    config.tracking.enabled = False
    assert sweep(config).macro_f1 == 0.5
    assert not (here / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ({"learning_rat": Dimension(low=1e-5, high=1e-4)}, "search.learning_rat: 1e-05 cannot be tried"),
        ({"learning_rate": Dimension(low=0.0, high=1e-4)}, "search.learning_rate: 0.0 cannot be tried"),
        ({"learning_rate": Dimension(low=1e-4, high=1e-5)}, "search.learning_rate: low is 0.0001 and high 1e-05"),
        ({"learning_rate": Dimension(low=1e-4)}, "search.learning_rate: low is 0.0001 and high None"),
        ({"learning_rate": Dimension()}, "search.learning_rate: give either low and high or choices"),
        ({"class_weights": Dimension(choices=["cubic"])}, "search.class_weights: cubic cannot be tried"),
        ({"label_smoothing": Dimension(low=0, high=0.1, log=True)}, "search.label_smoothing: a logarithmic scale"),
        (
            {"distillation": Dimension(low=0, high=1)},
            "search.distillation: 1 cannot be tried (trainer.distillation: needs",
        ),
        ({}, "search: is empty"),
    ],
)
def test_a_search_that_cannot_work_is_refused_before_any_trial(search, said, tiny_encoder, folder, here):
    config = sweep_config(tiny_encoder, folder, here)
    config.search = search
    with pytest.raises(InputError) as caught:
        check(config)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_only_the_transformer_is_swept(tiny_encoder, folder, here):
    config = sweep_config(tiny_encoder, folder, here)
    config.model.kind = ModelKind.embeddings
    with pytest.raises(InputError, match="model: a sweep looks for settings of the transformer"):
        check(config)


def test_settings_take_their_types_from_the_schema(tiny_encoder, folder, here):
    config = sweep_config(tiny_encoder, folder, here)
    found = tried(config, {"per_device_train_batch_size": 8.0, "num_train_epochs": 2.0, "class_weights": "balanced"})
    assert found.trainer.per_device_train_batch_size == 8
    assert type(found.trainer.per_device_train_batch_size) is int
    assert found.trainer.class_weights.value == "balanced"
    assert found.trainer.learning_rate == config.trainer.learning_rate
    with pytest.raises(InputError, match="trainer: "):
        tried(config, {"per_device_train_batch_size": 8.5})


def test_a_storage_that_cannot_be_opened_gets_one_line(tiny_encoder, folder, here):
    config = sweep_config(tiny_encoder, folder, here)
    config.storage = "sqlite:////proc/no/such/optuna.db"
    with pytest.raises(InputError, match="storage: sqlite:////proc/no/such/optuna.db cannot be opened"):
        sweep(config)


def test_the_command_names_the_training_that_repeats_the_best_trial(tiny_encoder, folder, here):
    overrides = [
        "encoder=hub", f"encoder.path={tiny_encoder}", "encoder.max_length=32", "corpus=own", f"corpus.path={folder}",
        "trainer.device=cpu", "trainer.num_train_epochs=2", "trainer.progress_bar=false",
        "~search.distillation", "~search.hard_share",
        "~search.label_smoothing", "search.learning_rate.high=1e-2", "n_trials=2",
    ]  # fmt: skip
    found = run("sweep", *overrides, cwd=here)
    assert found.returncode == 0, found.stderr.decode()
    said, command = found.stdout.decode().splitlines()[-2:]
    assert said.startswith("Best: macro-F1 0.")
    assert command.startswith(f"python -m train encoder=hub encoder.path={tiny_encoder}")
    assert all(f" trainer.{key}=" in command for key in ("learning_rate", "num_train_epochs", "layer_decay"))
    assert command.count("num_train_epochs") == 1
    assert "search" not in command
    assert "n_trials" not in command

    write_corpus(folder)  # with its test split
    trained = run("train", *command.split()[3:], cwd=here)
    assert trained.returncode == 0, trained.stderr.decode()
    mlflow.set_tracking_uri(f"sqlite:///{here}/mlflow.db")
    runs = mlflow.search_runs(experiment_names=["stance"], output_format="list")
    (training_run,) = [run for run in runs if "test/macro_f1" in run.data.metrics]
    (best_run,) = [run for run in runs if run.data.tags.get("best") == "true"]
    kept = training_run.data.metrics["validation/macro_f1"]
    assert kept == pytest.approx(best_run.data.metrics["validation/macro_f1"])


@pytest.mark.parametrize("override", ["n_trials=0", "search.learning_rate.low=1", "search=null"])
def test_the_command_refuses_what_cannot_work_in_one_line(override, here):
    found = run("sweep", override, cwd=here)
    assert found.returncode != 0
    assert b"Traceback" not in found.stderr
