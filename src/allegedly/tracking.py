"""A training's config, numbers, figures and bundle in, one MLflow run out; also fetches a registered bundle.

A tracking server that is down, slow or full never stops a training: the first failure is said once and the rest of
the run goes untracked.
"""

import logging
import math
import os
import subprocess
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from allegedly.config import TrackingConfig
from allegedly.corpus import Example
from allegedly.errors import InputError
from allegedly.labels import LABELS

log = logging.getLogger(__name__)


class Run:
    """One MLflow run, or nothing once the server has failed; every method returns at once in that case."""

    def __init__(self, config: TrackingConfig):
        self.config = config
        self.failed = False
        self.run_id: str | None = None
        self.continued = False  # a run that was begun by a training that was killed: it knows its params and datasets
        self.model_version: str | None = None

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

            mlflow.log_params({key: str(value)[:MAX_PARAM_VAL_LENGTH] for key, value in params.items()})

        self.attempt("log parameters", do)

    def metrics(self, metrics: Mapping[str, float], *, step: int | None = None) -> None:
        finite = {key: float(value) for key, value in metrics.items() if math.isfinite(value)}
        self.attempt("log metrics", lambda mlflow: mlflow.log_metrics(finite, step=step))

    def tags(self, tags: Mapping[str, str]) -> None:
        self.attempt("set tags", lambda mlflow: mlflow.set_tags(dict(tags)))

    def dataset(self, examples: Sequence[Example], *, name: str, source: str, context: str) -> None:
        """Log a split as an input of the run: its digest, schema and size, not its text."""
        if self.continued:
            return

        def do(mlflow):
            import pandas as pd

            frame = pd.DataFrame([vars(example) for example in examples])
            dataset = mlflow.data.from_pandas(frame, source=source, targets="label", name=name)
            mlflow.log_input(dataset, context=context)

        self.attempt("log a dataset", do)

    def figures(self, figures: Mapping[str, Any]) -> None:
        def do(mlflow):
            for name, figure in figures.items():
                mlflow.log_figure(figure, f"figures/{name}.png", save_kwargs={"dpi": 120})

        self.attempt("log figures", do)

    def text(self, text: str, path: str) -> None:
        self.attempt("log a file", lambda mlflow: mlflow.log_text(text, path))

    def model(self, bundle: Path, *, metrics: Mapping[str, float], corpus_digest: str) -> None:
        """Log the bundle as a model that `mlflow.pyfunc` loads, register it, and name the better one champion."""

        def do(mlflow):
            import onnxruntime
            import pandas as pd
            import tokenizers
            from mlflow.models import ModelSignature
            from mlflow.types import ColSpec, Schema

            package = Path(__file__).parent
            columns = [ColSpec("string", "label"), ColSpec("double", "probability")]
            info = mlflow.pyfunc.log_model(
                name="stance",
                python_model=str(package / "serving.py"),
                code_paths=[str(package)],
                artifacts={"bundle": str(bundle)},
                signature=ModelSignature(
                    inputs=Schema([ColSpec("string", "text")]),
                    outputs=Schema(columns + [ColSpec("double", label) for label in LABELS]),
                ),
                input_example=pd.DataFrame({"text": ["The ministry denied that the dam had been mined."]}),
                pip_requirements=[
                    f"mlflow=={mlflow.__version__}",
                    f"onnxruntime=={onnxruntime.__version__}",
                    f"tokenizers=={tokenizers.__version__}",
                    "numpy>=2.1",
                    "pandas",
                ],
            )
            mlflow.log_metrics(dict(metrics), model_id=info.model_id)
            if self.config.registered_model:
                self._register(mlflow, info.model_uri, metrics["test/macro_f1"], corpus_digest)

        self.attempt("log the model", do)

    def _register(self, mlflow, model_uri: str, test_macro_f1: float, corpus_digest: str) -> None:
        name = self.config.registered_model
        client = mlflow.MlflowClient()
        tags = {"test_macro_f1": f"{test_macro_f1:.4f}", "corpus_digest": corpus_digest}
        version = mlflow.register_model(model_uri, name, tags=tags).version
        try:
            champion = client.get_model_version_by_alias(name, "champion")
        except mlflow.exceptions.MlflowException:
            champion = None  # the first model of this name
        # Scores on different test splits cannot be compared: with a new corpus the newer model leads.
        comparable = champion is not None and champion.tags.get("corpus_digest") == corpus_digest
        better = not comparable or test_macro_f1 >= float(champion.tags["test_macro_f1"])
        client.set_registered_model_alias(name, "champion" if better else "challenger", version)
        self.model_version = f"{name} version {version}, @{'champion' if better else 'challenger'}"


@contextmanager
def start(config: TrackingConfig, *, run_id: str | None = None) -> Iterator[Run]:
    """Open a run, or go on with run ``run_id``; when the block ends, mark it finished, failed or (Ctrl-C) killed.

    Where ``run_id`` is no longer in the store that is said, and a new run opened.
    """
    run = Run(config)
    # Left to itself the client retries for minutes; a training should not wait for that.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(config.timeout))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")

    def begin(mlflow):
        quiet()
        mlflow.set_tracking_uri(config.uri)
        experiment = mlflow.set_experiment(config.experiment)
        run.continued = run_id is not None and _is_there(mlflow, run_id, experiment.experiment_id)
        if run_id is not None and not run.continued:
            log.warning("tracking: run %s is not in %s; a new run goes on in its place", run_id, config.uri)
        which = {"run_id": run_id} if run.continued else {"run_name": config.run_name}
        run.run_id = mlflow.start_run(**which).info.run_id

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
            run.attempt("end the run", lambda mlflow: mlflow.end_run(status))


def _is_there(mlflow, run_id: str, experiment_id: str) -> bool:
    try:
        info = mlflow.get_run(run_id).info
    except mlflow.exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # the server failed, not the run
            raise
        return False
    return info.lifecycle_stage == "active" and info.experiment_id == experiment_id


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


def git_commit() -> str | None:
    """The commit of the checkout that this package lies in, with ``-dirty`` after local changes; None outside git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def fetch(model_uri: str, *, tracking_uri: str) -> Path:
    """Return the bundle folder of a registered model, ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.

    Raises InputError if the store or the model is not there.
    """
    import mlflow

    quiet()
    if tracking_uri.startswith("sqlite:///") and not Path(tracking_uri.removeprefix("sqlite:///")).exists():
        raise InputError(f"{model_uri}: no MLflow store at {tracking_uri}; train first or set MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(tracking_uri)
    try:
        folder = Path(mlflow.artifacts.download_artifacts(model_uri))
    except Exception as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0][:200]
        raise InputError(
            f"{model_uri}: not to be had from {tracking_uri} ({reason}); see the names in 'make ui'"
        ) from None
    manifests = sorted(folder.glob("artifacts/*/bundle.json"))
    if not manifests:
        raise InputError(
            f"{model_uri}: holds no bundle of this program; name a model that 'python -m train' registered"
        )
    return manifests[0].parent
