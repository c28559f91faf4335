"""A SweepConfig in; out come the trainer's settings that do best on the validation split, and a run for every trial.

Optuna draws the settings, stops trials that stay below the median of the others after an epoch, and keeps all of them
in its storage, where the same call goes on later. The test split is never opened. Hydra's own Optuna plugin is not
used: its last release (1.3.0) wants Optuna below 3 and cannot stop a trial.
"""

import json
import logging
import shlex
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from allegedly import corpus, encoders, run_page, tracking, training
from allegedly.config import Dimension, SweepConfig, TrainConfig, check, plain, tried
from allegedly.corpus import Example
from allegedly.errors import InputError

log = logging.getLogger(__name__)
DONE = (TrialState.COMPLETE, TrialState.PRUNED)
HEARTBEAT = 60  # seconds; a trial that has not been heard of for two of them belongs to a process that died
# What may differ between two calls that go on with one study: it changes no trial's value.
FREE = ("n_trials", "output", "storage", "study", "tracking", "trainer.device", "trainer.logging_steps",
        "trainer.progress_bar", "trainer.per_device_eval_batch_size")  # fmt: skip


@dataclass(frozen=True)
class Best:
    """The best trial of a study; ``macro_f1`` is that on the validation split, ``command`` trains with its settings."""

    number: int
    macro_f1: float
    settings: dict[str, Any]
    command: str


def sweep(config: SweepConfig, *, overrides: Sequence[str] = ()) -> Best | None:
    """Try settings until the study holds ``config.n_trials``; return the best, or None if none went to its end.

    ``overrides`` are those of the command line; they are repeated in the command that trains the best. Ctrl-C and a
    crash lose the trial under way alone. Raises InputError for a config that cannot work, a faulty corpus, an encoder
    that is not there, a study that was begun with other settings.
    """
    check(config)
    splits = corpus.read(config.corpus.path, splits=("train", "validation"))
    digest = corpus.digest(splits)
    encoder, sha256 = encoders.locate(config.encoder)
    teacher = corpus.read_teacher(config.corpus.teacher) if config.corpus.teacher else None
    device = training.find_device(config.trainer.device)
    study = _study(config, digest)
    known = study.user_attrs.get("mlflow_run_id")
    with tracking.start(config.tracking, run_id=known) as parent:
        if parent.run_id != known:  # params cannot be logged twice
            study.set_user_attr("mlflow_run_id", parent.run_id)
            facts = training.circumstances(config, splits, corpus_digest=digest, encoder_sha256=sha256)
            run_page.begin(parent, config, splits, facts, device=device)

        def objective(trial: optuna.Trial) -> float:
            for key, dimension in config.search.items():
                _suggest(trial, key, dimension)
            tracked = replace(config.tracking, run_name=f"trial {trial.number}")
            with tracking.start(tracked, parent=parent) as run:
                trial.set_user_attr("mlflow_run_id", run.run_id)
                training_config = tried(config, settings(trial.params))
                run.params(run_page.parameters(training_config))
                run.tags({"trial": str(trial.number)})
                try:
                    value = _value(training_config, splits, trial, encoder=encoder, run=run, teacher=teacher)
                except optuna.TrialPruned:
                    run.status = "KILLED"
                    run.tags({"pruned": "true"})
                    raise
                run.metrics({"sweep/macro_f1": value})
                return value

        def mark(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
            _mark(parent, study, trial, overrides)

        try:
            if _done(study) < config.n_trials:
                enough = optuna.study.MaxTrialsCallback(config.n_trials, states=DONE)
                study.optimize(objective, callbacks=[mark, enough])
        finally:
            trials = study.trials_dataframe(attrs=("number", "state", "value", "params", "duration"))
            parent.text(trials.to_csv(index=False), "trials.csv")
    log.info("%d trials, %d of them stopped early", _done(study), len(study.get_trials(states=[TrialState.PRUNED])))
    return best(study, overrides)


def settings(params: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's parameters as they are trained with and printed: numbers of three digits.

    >>> settings({"learning_rate": 0.000123456, "class_weights": "none"})
    {'learning_rate': 0.000123, 'class_weights': 'none'}
    """
    return {key: float(f"{value:.3g}") if isinstance(value, float) else value for key, value in params.items()}


def best(study: optuna.Study, overrides: Sequence[str] = ()) -> Best | None:
    """The best trial that went to its end; None if there is none yet."""
    if not study.get_trials(deepcopy=False, states=[TrialState.COMPLETE]):
        return None
    trial = study.best_trial
    found = settings(trial.params)
    return Best(trial.number, trial.value, found, command(overrides, found))


def command(overrides: Sequence[str], found: Mapping[str, Any]) -> str:
    """The training with these settings, and with those of the sweep's own overrides that a training knows.

    >>> command(["encoder=minilm", "n_trials=5", "~search.hard_share"], {"learning_rate": 1e-4})
    'python -m train encoder=minilm trainer.learning_rate=0.0001'
    """
    own = {field.name for field in fields(SweepConfig)} - {field.name for field in fields(TrainConfig)}
    keys = [override.lstrip("+~").partition("=")[0] for override in overrides]
    kept = [
        override
        for override, key in zip(overrides, keys, strict=True)
        if key.partition(".")[0] not in own and key.removeprefix("trainer.") not in found
    ]
    return shlex.join(["python", "-m", "train", *kept, *(f"trainer.{key}={value}" for key, value in found.items())])


def _study(config: SweepConfig, corpus_digest: str) -> optuna.Study:
    """Open the study, or begin it with the settings as they stand for its first trial."""
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)  # what fails is raised; what is done is said here
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)  # heartbeats
    try:
        storage = optuna.storages.RDBStorage(config.storage, heartbeat_interval=HEARTBEAT)
        study = optuna.create_study(
            study_name=config.study,
            storage=storage,
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=config.n_startup_trials),
        )
    except Exception as error:  # whatever a database may bring
        reason = (str(error).strip() or repr(error)).splitlines()[0][:200]
        raise InputError(
            f"storage: {config.storage} cannot be opened ({reason}); give storage=sqlite:///FILE"
        ) from None
    # A sampler that began with the same seed again would repeat the draws of the trials that are there already.
    study.sampler = optuna.samplers.TPESampler(seed=config.seed + len(study.trials))
    flat = run_page.flat(plain(config)) | {"corpus_digest": corpus_digest}
    here = {key: value for key, value in flat.items() if not key.startswith(FREE)}
    here = json.loads(json.dumps(here))  # as the storage gives it back
    there = study.user_attrs.get("config")
    if there is None:
        study.set_user_attr("config", here)
        study.enqueue_trial(_as_it_stands(config))
    elif changed := sorted(key for key in here.keys() | there.keys() if here.get(key) != there.get(key)):
        key = changed[0]
        raise InputError(
            f"study: {config.study!r} in {config.storage} was begun with {key}={there.get(key)}, now it is "
            f"{here.get(key)}; values of both do not compare: give study=ANOTHER_NAME"
        )
    return study


def _as_it_stands(config: SweepConfig) -> dict[str, Any]:
    """The values that the config has now for what is searched, where the search reaches them: the sweep's yardstick."""
    found = {}
    for key, dimension in config.search.items():
        value = plain(getattr(config.trainer, key))
        if dimension.choices:
            if str(value) in dimension.choices:
                found[key] = str(value)
        elif value is not None and dimension.low <= value <= dimension.high:
            found[key] = float(value)
    return found


def _suggest(trial: optuna.Trial, key: str, dimension: Dimension) -> None:
    if dimension.choices:
        trial.suggest_categorical(key, dimension.choices)
    else:
        trial.suggest_float(key, dimension.low, dimension.high, step=dimension.step, log=dimension.log)


def _value(
    config: TrainConfig,
    splits: Mapping[str, Sequence[Example]],
    trial: optuna.Trial,
    *,
    encoder: Path,
    run: tracking.Run,
    teacher: Mapping[str, np.ndarray] | None,
) -> float:
    """Validation macro-F1 of the epoch that a training would keep; raises TrialPruned if it is hopeless before."""
    epochs: list[float] = []

    def after_epoch(scores: dict[str, float]) -> None:
        epochs.append(scores["validation/macro_f1"])
        trial.report(epochs[-1], step=len(epochs))
        if len(epochs) < config.trainer.num_train_epochs and trial.should_prune():
            raise optuna.TrialPruned

    with tempfile.TemporaryDirectory(prefix="trial-") as parent:
        folder = Path(parent) / "model"
        folder.mkdir()
        training.fit(
            config, training.draw(config, splits["train"], teacher), splits["validation"],
            encoder=encoder, folder=folder, run=run, teacher=teacher, after_epoch=after_epoch,
        )  # fmt: skip
    return max(epochs) if config.trainer.early_stopping_patience else epochs[-1]


def _mark(parent: tracking.Run, study: optuna.Study, trial: optuna.trial.FrozenTrial, overrides: Sequence[str]) -> None:
    """Say how a trial ended; if it is the best so far, mark its run and name it on the parent."""
    found = best(study, overrides)
    if trial.state is TrialState.PRUNED:
        log.info("trial %d: stopped after epoch %d, hopeless", trial.number, trial.last_step)
    elif trial.state is TrialState.COMPLETE:
        log.info(
            "trial %d: macro-F1 %.3f; the best is trial %d: %.3f",
            trial.number,
            trial.value,
            found.number,
            found.macro_f1,
        )
    if found is None or found.number != trial.number:
        return
    parent.metrics({"sweep/macro_f1": found.macro_f1}, step=trial.number)
    run_id, before = trial.user_attrs.get("mlflow_run_id"), study.user_attrs.get("best_run_id")
    parent.tags(
        {"best_trial": str(found.number), "best_run_id": str(run_id), "best_command": found.command}
        | {f"best.{key}": str(value) for key, value in found.settings.items()}
    )

    def move(mlflow):
        client = mlflow.MlflowClient()
        if before and tracking.exists(mlflow, before):
            client.delete_tag(before, "best")
        if run_id:
            client.set_tag(run_id, "best", "true")

    parent.attempt("mark the best trial", move)
    study.set_user_attr("best_run_id", run_id)


def _done(study: optuna.Study) -> int:
    return len(study.get_trials(deepcopy=False, states=DONE))
