"""A training's config, numbers, figures and bundle in, one MLflow run out.

A tracking server that is down, slow or full never stops a training: the first failure is said once and the rest of
the run goes untracked.
"""

import logging
import math
import os
import re
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock

from allegedly import corpus
from allegedly.config import TrackingConfig
from allegedly.corpus import Example
from allegedly.labels import STANCE, VERIFICATION, Task

log = logging.getLogger(__name__)
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is imported; it would report its use
NOTE = "mlflow.note.content"  # the tag that the UI shows as description
EXPERIMENT = (
    "Trainings and their yardsticks, sweeps, cross-validations of one task (the parameter `task`). The number that "
    "counts is `test/macro_f1`, with its 95 % bootstrap interval (`_low`, `_high`); sweeps and cross-validations never "
    "open the test split."
)


class Run:
    """One MLflow run, or nothing once the server has failed; every method returns at once in that case."""

    def __init__(self, config: TrackingConfig):
        self.config = config
        self.failed = False
        self.status: str | None = None  # what the run ends as, if not as its block does
        self.run_id: str | None = None
        self.model_id: str | None = None
        self.datasets: dict[str, Any] = {}  # what `dataset` logged, by context
        self.continued = False  # a run that was begun by a training that was killed: it knows its params and datasets
        self.model_version: str | None = None
        self.description = ""  # what `describe` said last

    @property
    def active(self) -> bool:
        return self.config.enabled and not self.failed

    def attempt(self, what: str, do: Callable[[Any], Any]) -> Any:
        """Call ``do(mlflow)``; on any error say so once and track no more. Returns None then."""
        if not self.active:
            return None
        try:
            import mlflow

            return do(mlflow)
        except Exception as error:  # whatever a server, a network or a disk may bring
            self.failed = True
            reason = (str(error).strip() or repr(error)).splitlines()[0][:200]
            log.warning(
                "tracking: could not %s at %s (%s); the training goes on without tracking",
                what,
                self.config.uri,
                reason,
            )
            return None

    def params(self, params: Mapping[str, Any]) -> None:
        """Log the flat config; values longer than the server takes are cut."""
        if self.continued:
            return

        def do(mlflow):
            from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH

            mlflow.log_params({key: neutral(str(value))[:MAX_PARAM_VAL_LENGTH] for key, value in params.items()})

        self.attempt("log parameters", do)

    def metrics(self, metrics: Mapping[str, float], *, step: int | None = None, context: str | None = None) -> None:
        """Log numbers, linked to the model once it is logged, and to the dataset that was logged as ``context``."""
        finite = {key: float(value) for key, value in metrics.items() if math.isfinite(value)}
        dataset = self.datasets.get(context) if context else None

        def do(mlflow):
            mlflow.log_metrics(finite, step=step, model_id=self.model_id, dataset=dataset)

        self.attempt("log metrics", do)

    def history(self, metric: str) -> list[tuple[int, float]]:
        """(step, value) of a metric in order of steps, as the server holds them: of a resumed training all of it."""

        def do(mlflow):
            found = mlflow.MlflowClient().get_metric_history(self.run_id, metric)
            return sorted({point.step: point.value for point in found}.items())

        return self.attempt("read a metric", do) or []

    def tags(self, tags: Mapping[str, str]) -> None:
        cleaned = {key: neutral(value) for key, value in tags.items()}
        self.attempt("set tags", lambda mlflow: mlflow.set_tags(cleaned))

    def describe(self, description: str) -> None:
        """Set the Markdown at the top of the run's page."""
        self.description = description
        self.tags({NOTE: description})

    def dataset(self, examples: Sequence[Example], *, name: str, source: str, context: str) -> None:
        """Log a split as an input of the run: its digest, schema, size and sentences a label, not its text."""

        def do(mlflow):
            import pandas as pd
            from mlflow.data.pandas_dataset import PandasDataset

            class Split(PandasDataset):
                @property
                def profile(self) -> dict[str, int]:
                    return {"sentences": len(examples), **Counter(self.df["label"])}

            frame = pd.DataFrame([vars(example) for example in examples])
            plain = mlflow.data.from_pandas(frame, source=neutral(source))
            digest = corpus.digest({name: examples})[:16]  # MLflow's own leaves out what stands below line 10,000
            split = Split(frame, plain.source, targets="label", name=name, digest=digest)
            if not self.continued:
                mlflow.log_input(split, context=context)
            self.datasets[context] = split

        self.attempt("log a dataset", do)

    def figures(self, figures: Mapping[str, Any]) -> None:
        def do(mlflow):
            for name, figure in figures.items():
                mlflow.log_figure(figure, f"figures/{name}.png", save_kwargs={"dpi": 120})

        self.attempt("log figures", do)

    def table(self, rows: Sequence[Mapping[str, Any]], path: str) -> None:
        """Log rows of the same keys as a table, which the UI sets beside that of another run."""

        def do(mlflow):
            import pandas as pd

            logged = self.continued and [file.path for file in mlflow.MlflowClient().list_artifacts(self.run_id)]
            if not logged or path not in logged:  # MLflow would append the same rows
                mlflow.log_table(pd.DataFrame(list(rows)), path)

        self.attempt("log a table", do)

    def text(self, text: str, path: str) -> None:
        self.attempt("log a file", lambda mlflow: mlflow.log_text(neutral(text), path))

    def model(self, bundle: Path, task: Task = STANCE) -> None:
        """Log the bundle as a model that `mlflow.pyfunc` loads (see `serving`, or `verdict_serving`)."""

        def do(mlflow):
            import tokenizers
            from mlflow.models import ModelSignature
            from mlflow.types import Schema

            package = Path(__file__).parent
            _, _, card = (bundle / "README.md").read_text(encoding="utf-8").split("---\n", 2)  # without front matter
            script, inputs, outputs, example = _stance_table() if task is STANCE else _verdict_table()
            info = mlflow.pyfunc.log_model(
                name=task.name,
                python_model=str(package / script),
                code_paths=[str(package)],
                artifacts={"bundle": os.path.relpath(bundle)},  # it is written down: no path of this machine
                tags=nobody() | {NOTE: card.strip()},
                signature=ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs)),
                input_example=example,
                pip_requirements=[
                    f"mlflow=={mlflow.__version__}",
                    f"openvino=={metadata.version('openvino')}",
                    f"tokenizers=={tokenizers.__version__}",
                    "numpy>=2.1",
                    "pandas",
                ],
            )
            self.model_id = info.model_id

        self.attempt("log the model", do)


def _stance_table() -> tuple[str, list, list, Any]:
    """The file that serves stances, the columns that it takes and gives, and an example of its input."""
    import pandas as pd
    from mlflow.types import ColSpec
    from mlflow.types.schema import AnyType

    # "Any" and not "string": MLflow would make the string "5" of a number, and "None" of a null, and serve it.
    inputs = [ColSpec(AnyType(), name, required=False) for name in ("text", "article")]
    outputs = [ColSpec("long", name) for name in ("row", "index", "start", "end")]
    outputs += [ColSpec("string", "text"), ColSpec("string", "label"), *_probabilities(STANCE)]
    example = pd.DataFrame(
        [
            {"text": "The ministry denied that the dam had been mined.", "article": None},
            {"text": None, "article": "Officials warned of floods. Rain fell all night."},
        ]
    )
    return "serving.py", inputs, outputs, example


def _verdict_table() -> tuple[str, list, list, Any]:
    """The file that serves verdicts, the columns that it takes and gives, and an example of its input."""
    import pandas as pd
    from mlflow.types import ColSpec
    from mlflow.types.schema import AnyType, Array, Object, Property

    inputs = [ColSpec(AnyType(), name) for name in ("claim", "evidence")]
    sentence = Object([Property("index", "long"), Property("text", "string"), Property("score", "double")])
    outputs = [ColSpec("string", "verdict"), *_probabilities(VERIFICATION), ColSpec(Array(sentence), "rationale")]
    example = pd.DataFrame([{"claim": "The dam was mined.", "evidence": ["Divers found no mines at the dam."]}])
    return "verdict_serving.py", inputs, outputs, example


def _probabilities(task: Task) -> list:
    from mlflow.types import ColSpec
    from mlflow.types.schema import Object, Property

    each = Object([Property(label, "double") for label in task.labels])
    return [ColSpec("double", "probability"), ColSpec(each, "probabilities")]


@contextmanager
def start(config: TrackingConfig, *, parent: Run | None = None, run_id: str | None = None) -> Iterator[Run]:
    """Open a run, or go on with run ``run_id``; when the block ends, mark it finished, failed or (Ctrl-C) killed.

    With an open ``parent`` it is nested in that one. Where ``run_id`` is no longer in the store that is said, and a
    new run opened.
    """
    run = Run(config)
    run.failed = parent is not None and not parent.active
    # Left to itself the client retries for minutes; a training should not wait for that.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(config.timeout))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "2")  # seconds; a short run shows some too

    def begin(mlflow):
        quiet()
        mlflow.set_tracking_uri(config.uri)
        with alone(config.uri):  # two that begin at once would both make the tables of a new store
            experiment = mlflow.set_experiment(config.experiment)
        if NOTE not in experiment.tags:
            mlflow.set_experiment_tag(NOTE, EXPERIMENT)
        run.continued = run_id is not None and exists(mlflow, run_id, experiment.experiment_id)
        if run_id is not None and not run.continued:
            log.warning("tracking: run %s is not in %s; a new run goes on in its place", run_id, config.uri)
        which = {"run_id": run_id} if run.continued else {"run_name": config.run_name, "tags": nobody()}
        run.run_id = mlflow.start_run(**which, nested=parent is not None, log_system_metrics=True).info.run_id

    run.attempt("start a run", begin)
    status = "FAILED"
    try:
        yield run
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        if run.run_id is not None:
            run.failed = False  # one last try, so that the run does not stay open
            run.attempt("end the run", lambda mlflow: mlflow.end_run(run.status or status))


def exists(mlflow: Any, run_id: str, experiment_id: str | None = None) -> bool:
    """Whether the store has this run (in this experiment) and it has not been deleted."""
    try:
        info = mlflow.get_run(run_id).info
    except mlflow.exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # the server failed, not the run
            raise
        return False
    return info.lifecycle_stage == "active" and experiment_id in (None, info.experiment_id)


@contextmanager
def alone(uri: str) -> Iterator[None]:
    """Keep other trainings out of a store that is one file, by a lock beside it, until the block has ended.

    A kill frees it. A tracking server is not guarded.
    """
    file = Path(uri.removeprefix("sqlite:///")).resolve()
    if not uri.startswith("sqlite:///") or not file.parent.is_dir():
        yield
        return
    with FileLock(f"{file}.lock", fallback_to_soft=False):  # a soft one would outlast a kill
        yield


def quiet() -> None:
    """Keep MLflow and the migrations of its database from filling the terminal."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for message in (
        ".*type hints to the `predict` method",
        "(?s).*can be interpreted in multiple ways",
        ".*Inferred schema contains integer column",
    ):
        warnings.filterwarnings("ignore", message=message, category=UserWarning)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("mlflow.utils.requirements_utils", "mlflow.models.model", "mlflow.pyfunc", "mlflow.types.utils"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("mlflow.system_metrics").setLevel(logging.CRITICAL)  # that a server failed is said by us, once


def nobody() -> dict[str, str]:
    """Tags in place of those by which MLflow tells who started a run, from which folder and on whose account."""
    return {"mlflow.user": "unknown", "mlflow.source.name": Path(sys.argv[0]).name, "mlflow.source.git.repoURL": ""}


def neutral(value: Any) -> Any:
    """The same text, or dict or list of texts, without who runs this: home folder and credentials in addresses.

    >>> neutral({"uri": "https://ann:secret@example.org"})
    {'uri': 'https://example.org'}
    """
    if isinstance(value, Mapping):
        return {key: neutral(item) for key, item in value.items()}
    if isinstance(value, list):
        return [neutral(item) for item in value]
    if not isinstance(value, str):
        return value
    home = Path.home()
    if len(home.parts) > 1:
        value = re.sub(rf"{re.escape(str(home))}(?![\w.-])", "~", value)
    return re.sub(r"(?<=://)[^/\s@]+@", "", value)


def git_commit() -> str | None:
    """The commit of the checkout that this package lies in, with ``-dirty`` after local changes; None outside git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
