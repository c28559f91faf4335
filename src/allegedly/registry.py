"""A new model's test scores and the champion's in, the decision who is champion out; also the way back and to a bundle.

A registered model has three aliases: ``champion`` is what `predict` and a server take, ``previous`` the champion before
it, ``challenger`` the newest model that did not pass the gate. What was decided, and on which numbers, stands on every
version, in its tags and its description.
"""

import atexit
import logging
import math
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from allegedly.config import GateConfig, gate_metrics
from allegedly.errors import InputError
from allegedly.labels import STANCE, Task
from allegedly.tracking import Run, alone, quiet

log = logging.getLogger(__name__)
STORE = "sqlite:///mlflow.db"
CHAMPION, PREVIOUS, CHALLENGER = "champion", "previous", "challenger"
MODEL_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<number>\d+))")
ALIASES = (
    " `@champion` is what commands and a server take, `@previous` the champion before it, `@challenger` the newest "
    "model that did not pass the gate. Each version's description says how it did against the champion of its day."
)
MODEL = {  # what the registered model's page says, by task
    "stance": "Says of each sentence of a news text whether it warns, denies, alleges or is background." + ALIASES,
    "verification": "Says whether evidence supports a claim, refutes it, or does not settle it." + ALIASES,
}
DIGITS = 6  # of a score in a tag; decisions are made on what the tags say


@dataclass(frozen=True)
class Decision:
    """Whether a new model becomes champion, and why, in one line."""

    champion: bool
    reason: str


def decide(
    gate: GateConfig,
    scores: Mapping[str, float],
    champion: Mapping[str, float] | None,
    *,
    rival: str = "the champion",
    task: Task = STANCE,
) -> Decision:
    """Compare a new model's scores with the champion's on the same test split, both named as in `config.gate_metrics`.

    ``champion`` None means that there is none; what it lacks, or holds as nan, cannot be beaten. The new model must
    reach the champion's score plus the margin, and no label's F1 may fall by more than ``gate.max_label_loss``.

    >>> scores = {"macro_f1": 0.9, "f1_warning": 0.9, "f1_denial": 0.9, "f1_allegation": 0.9, "f1_background": 0.9}
    >>> decide(GateConfig(), scores, None).reason
    'the first champion: there was none to beat'
    >>> decide(GateConfig(), scores | {"macro_f1": 0.903}, scores, rival="version 1")
    Decision(champion=False, reason='macro_f1 0.903 against 0.900 of version 1: +0.003, at least +0.005 is asked')
    """
    needed = (gate.metric, *(f"f1_{label}" for label in task.labels))
    if missing := _missing(scores, needed):
        return Decision(False, f"it has no {missing} on the test split")
    if champion is None:
        return Decision(True, "the first champion: there was none to beat")
    if missing := _missing(champion, needed):
        return Decision(False, f"{rival} has no {missing} on this test split to compare with")
    changes = {key: round(scores[key] - champion[key], DIGITS) for key in needed}  # 0.905 - 0.9 is not quite 0.005
    gain = changes[gate.metric]
    said = f"{gate.metric} {scores[gate.metric]:.3f} against {champion[gate.metric]:.3f} of {rival}: {gain:+.3f}"
    asked = f"at least {gate.margin:+.3f} is asked"
    if gain < gate.margin:
        return Decision(False, f"{said}, {asked}")
    losses = {key: -changes[key] for key in needed[1:] if -changes[key] > gate.max_label_loss}
    if losses:
        worst = max(losses, key=losses.__getitem__)
        return Decision(
            False, f"{said}, but {worst} fell by {losses[worst]:.3f}, at most {gate.max_label_loss:.3f} is allowed"
        )
    return Decision(True, f"{said}, {asked}; no label's F1 fell by more than {gate.max_label_loss:.3f}")


def _missing(scores: Mapping[str, float], needed: tuple[str, ...]) -> str:
    return ", ".join(key for key in needed if not math.isfinite(scores.get(key, math.nan)))


def register(
    run: Run,
    scores: Mapping[str, float],
    *,
    test_digest: str,
    score: Callable[[Path], Mapping[str, float]],
    task: Task = STANCE,
) -> None:
    """Register the model that ``run`` logged and let the gate say whether it is champion or challenger.

    ``scores`` (``test/…``) are the new model's, ``test_digest`` names the test split that they come from (see
    `corpus.test_digest`). Where the champion was scored on another one, ``score`` scores its bundle on this one.
    Fails as tracking does: said once, and the training goes on.

    Of two trainings that end at once the second meets the first, where they share a store that is one file. On a
    tracking server nothing guards that: both may beat the same champion, and the last to be written down takes over.
    """

    def guarded(mlflow) -> None:
        with alone(run.config.uri):  # nobody else becomes champion between the comparison and its outcome
            _register(mlflow, run, scores, test_digest, score, task)

    if run.config.registered_model and run.model_id:
        run.attempt("register the model", guarded)


def _register(mlflow, run: Run, scores: Mapping[str, float], test_digest: str, score, task: Task) -> None:
    client, name, gate = mlflow.MlflowClient(), run.config.registered_model, run.config.gate
    keys = gate_metrics(task)
    numbers = _numbers(scores, keys)
    champion = _champion(client, name)
    rival, rival_numbers, reason = None, None, None
    if champion is not None:
        rival = f"version {champion.version}"
        rival_numbers = _tagged(champion)
        if champion.tags.get("test_digest") != test_digest or _missing(rival_numbers, keys):
            log.info("scoring the champion, %s %s, on this test split", name, rival)
            try:
                rival_numbers = _numbers(score(_bundle(mlflow, client, champion)), keys)
            except Exception as error:  # whatever an old bundle, a store or a disk may bring: not beaten is not better
                reason = f"{rival} could not be scored on this test split ({_first_line(error)})"
    decision = Decision(False, reason) if reason else decide(gate, numbers, rival_numbers, rival=rival or "", task=task)
    alias = CHAMPION if decision.champion else CHALLENGER
    tags = {f"test_{key}": f"{value:.{DIGITS}f}" for key, value in numbers.items()}
    tags |= {"test_digest": test_digest, "gate": alias, "gate_reason": decision.reason}
    tags |= {"gate_metric": gate.metric, "gate_margin": gate.margin, "gate_max_label_loss": gate.max_label_loss}
    if champion is not None:
        tags["gate_against"] = champion.version
    version = mlflow.register_model(f"models:/{run.model_id}", name, tags={k: str(v) for k, v in tags.items()}).version
    if not client.get_registered_model(name).description:
        client.update_registered_model(name, MODEL[task.name])
    text = _description(alias, decision, numbers, None if reason else rival_numbers, rival)
    client.update_model_version(name, version, description=text)
    if decision.champion:
        _crown(client, name, version, by="gate")
    else:
        client.set_registered_model_alias(name, CHALLENGER, version)
    run.model_version = f"{name} version {version}, @{alias}: {decision.reason}"


def _numbers(scores: Mapping[str, float], keys: Sequence[str]) -> dict[str, float]:
    """What the gate may ask for, out of scores named ``test/…``."""
    return {key: round(scores.get(f"test/{key}", math.nan), DIGITS) for key in keys}


def _tagged(version) -> dict[str, float]:
    """The scores in a version's tags; nan for one that is no number."""
    found = {}
    for tag, value in version.tags.items():
        if tag.startswith("test_") and tag != "test_digest":
            try:
                found[tag.removeprefix("test_")] = float(value)
            except ValueError:
                found[tag.removeprefix("test_")] = math.nan
    return found


def _description(
    alias: str, decision: Decision, numbers: Mapping[str, float], rival_numbers: Mapping[str, float] | None, rival
) -> str:
    """What a person reads on the version's page, in Markdown."""
    lines = [f"Registered as **@{alias}**: {decision.reason}.", ""]
    if rival_numbers is None:
        rows = [["test split", "this model"], *([f"{key}&emsp;", f"{value:.4f}"] for key, value in numbers.items())]
    else:
        rows = [["test split", "this model", rival, "difference"]]
        for key, value in numbers.items():
            rows.append(
                [f"{key}&emsp;", f"{value:.4f}", f"{rival_numbers[key]:.4f}", f"{value - rival_numbers[key]:+.4f}"]
            )
    # The space after a name: the UI sets the columns of a table without any between them.
    rows.insert(1, ["---"] * len(rows[0]))
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def _champion(client, name: str):
    """The champion's ModelVersion, or None where there is none; a server that fails is not taken for none."""
    from mlflow.exceptions import MlflowException

    try:
        version = client.get_registered_model(name).aliases.get(CHAMPION)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # the first model of this name
            return None
        raise
    return None if version is None else client.get_model_version(name, version)


def _crown(client, name: str, version: str, *, by: str) -> None:
    """Make a version the champion, and the champion before it the previous one."""
    version = str(version)
    aliases = {alias: str(number) for alias, number in client.get_registered_model(name).aliases.items()}
    if (old := aliases.get(CHAMPION)) not in (None, version):
        client.set_registered_model_alias(name, PREVIOUS, old)
    elif aliases.get(PREVIOUS) == version:
        client.delete_registered_model_alias(name, PREVIOUS)
    client.set_registered_model_alias(name, CHAMPION, version)
    if aliases.get(CHALLENGER) == version:
        client.delete_registered_model_alias(name, CHALLENGER)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    client.set_model_version_tag(name, version, "champion_since", now)
    client.set_model_version_tag(name, version, "champion_by", by)  # the gate or a hand


def make_champion(name: str, which: str, *, tracking_uri: str) -> str:
    """Make ``which``, a version's number or an alias, the champion of a registered model; returns its number.

    Raises InputError for a store, a model or a version that is not there.
    """
    _, client = _open(f"models:/{name}", tracking_uri)
    from mlflow.exceptions import MlflowException

    with alone(tracking_uri):
        try:
            if which.isdecimal():
                version = client.get_model_version(name, which).version
            else:
                version = client.get_model_version_by_alias(name, which).version
        except MlflowException as error:
            raise InputError(
                f"{name}: has no version or alias {which!r} in {tracking_uri} ({_first_line(error)}); "
                "'python -m champion' lists what there is"
            ) from None
        _crown(client, name, version, by="hand")
    return str(version)


def versions(name: str, *, tracking_uri: str) -> list[dict[str, Any]]:
    """The versions of a registered model, newest first: version, aliases, registered, test_digest and test scores.

    Raises InputError for a store or a model that is not there.
    """
    _, client = _open(f"models:/{name}", tracking_uri)
    from mlflow.exceptions import MlflowException

    try:
        aliases = client.get_registered_model(name).aliases
    except MlflowException as error:
        raise InputError(f"{name}: is not in {tracking_uri} ({_first_line(error)}); train first") from None
    found = client.search_model_versions(f"name='{name}'")
    return [
        {
            "version": int(version.version),
            "aliases": sorted(alias for alias, number in aliases.items() if str(number) == str(version.version)),
            "registered": datetime.fromtimestamp(version.creation_timestamp / 1000),
            "test_digest": version.tags.get("test_digest", ""),
            **_tagged(version),
        }
        for version in sorted(found, key=lambda version: -int(version.version))
    ]


def fetch(model_uri: str, *, tracking_uri: str) -> Path:
    """Return the bundle folder of a registered model, ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.

    In a store on this machine that is where it lies; from a server it is copied to a folder that goes when the process
    ends. Raises InputError if the store or the model is not there.
    """
    found = MODEL_URI.fullmatch(model_uri)
    if not found:
        raise InputError(f"{model_uri}: names no registered model; write models:/NAME@ALIAS or models:/NAME/VERSION")
    name, alias, number = found["name"], found["alias"], found["number"]
    mlflow, client = _open(model_uri, tracking_uri)
    try:
        version = client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, number)
        return _bundle(mlflow, client, version)
    except InputError as error:
        raise InputError(f"{model_uri}: {error}") from None
    except Exception as error:
        raise InputError(
            f"{model_uri}: not to be had from {tracking_uri} ({_first_line(error)}); 'python -m champion' lists what is"
        ) from None


def _bundle(mlflow, client, version) -> Path:
    """The folder of a version's bundle. Raises InputError where the model holds none, or what the store raises."""
    from mlflow.utils.uri import is_local_uri

    # Not models:/NAME@ALIAS itself: MLflow would write a file into the store's folder.
    source = client.get_model_version_download_uri(version.name, version.version)
    copy = None
    if not is_local_uri(source):
        copy = tempfile.mkdtemp(prefix="allegedly-")
        atexit.register(shutil.rmtree, copy, ignore_errors=True)
    folder = Path(mlflow.artifacts.download_artifacts(source, dst_path=copy))
    manifests = sorted(folder.glob("artifacts/*/bundle.json"))
    if not manifests:
        raise InputError("holds no bundle of this program; name a model that 'python -m train' registered")
    return manifests[0].parent


def _open(what: str, tracking_uri: str):
    """(mlflow, its client) for a store, which must be there: MLflow would make an empty one."""
    if tracking_uri.startswith("sqlite:///"):
        file = Path(tracking_uri.removeprefix("sqlite:///")).absolute()
        try:
            with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
                database.execute("SELECT 1 FROM registered_models LIMIT 1")
        except sqlite3.Error:
            raise InputError(
                f"{what}: no MLflow store at {tracking_uri}; train first or set MLFLOW_TRACKING_URI"
            ) from None
    import mlflow  # takes seconds

    quiet()
    mlflow.set_tracking_uri(tracking_uri)
    return mlflow, mlflow.MlflowClient()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0][:200]
