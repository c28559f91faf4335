"""A training under way in, a folder out from which the same command goes on with it: safetensors and JSON alone.

The folder lies beside the bundle (``models/.stance.resume`` for ``models/stance``) and goes when the bundle is there:

    training.json              which training it is (config, corpus, versions), and its MLflow run
    checkpoint-120/            what the training was after 120 steps; only the newest is kept
        model.safetensors      the weights that are trained
        optimizer.safetensors  the moments of AdamW
        optimizer.json         learning rates, their schedule, the loss scale of fp16, the seconds trained
        trainer_state.json     what transformers keeps: step, history, best score, early stopping
        process-0.json         of each process: states of the random generators, the loss that is not logged yet
    best-80/                   the weights of the best epoch, where trainer.early_stopping_patience asks for them
    lock                       held by the process that trains
"""

import contextlib
import json
import logging
import os
import random
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import ExportableState

from allegedly import bundle
from allegedly.errors import InputError

log = logging.getLogger(__name__)
DRAFT = ".draft"
LOCK = "lock"
AFRESH = "start afresh with trainer.resume=false"
# Keys that may differ when a training goes on: where it is written and told, not what comes of it.
FREE = ("output", "trainer.resume", "trainer.save_minutes", "trainer.progress_bar", "tracking.")


@dataclass
class Unfinished:
    """The folder of a training that is not finished, what makes it this training, and its MLflow run."""

    folder: Path
    identity: dict[str, Any]
    run_id: str | None = None

    def told_to(self, run_id: str | None) -> None:
        """Note the training and its MLflow run in the folder: from now on it can be resumed."""
        draft = self.folder / ".training.json"
        _write_json({"run_id": run_id, "identity": self.identity}, draft)
        draft.replace(self.folder / "training.json")


def beside(output: str | Path) -> Path:
    """Where the checkpoints lie of a training whose bundle goes to ``output``."""
    output = Path(output).absolute()
    return output.parent / f".{output.name}.resume"


@contextlib.contextmanager
def unfinished(output: str | Path, identity: Mapping[str, Any], *, resume: bool) -> Iterator[Unfinished]:
    """Hold the folder of a training's checkpoints, emptied unless ``resume``; removed if the block ends well.

    ``identity`` holds flat keys and values that make it this training. Raises InputError if another process trains for
    ``output``, or if what would be resumed differs in a key that is not FREE.
    """
    folder = beside(output)
    here = {key: value for key, value in identity.items() if not key.startswith(FREE)}
    with _locked(folder, output):
        bundle.remove_drafts(output)  # those of killed trainings: nobody else writes here now
        told = folder / "training.json"
        found, checkpoint = _read(told) if told.exists() else {}, latest(folder)
        step = _step(checkpoint) if checkpoint else 0
        if resume and found:
            _refuse_other(folder, found["identity"], here)
            run = f"in MLflow run {found['run_id']}" if found["run_id"] else "which was not tracked so far"
            log.info("resuming the training in %s after step %d, %s", folder, step, run)
        else:
            if resume:
                log.info("nothing to resume in %s: the training starts afresh", folder)
            elif found and checkpoint:
                log.warning(
                    "%s: an unfinished training is discarded after step %d; trainer.resume=true would have gone on",
                    *(folder, step),
                )
            _empty(folder)
        try:
            yield Unfinished(folder, here, found["run_id"] if resume and found else None)
        except BaseException:
            if latest(folder) is None:  # nothing to go on from
                _remove(folder)
            raise
        _remove(folder)


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint in a folder: one that was cut off never got its name."""
    return max(folder.glob("checkpoint-*"), key=_step, default=None)


def seconds(folder: Path) -> float:
    """How long the training went on until its newest checkpoint; zero without one."""
    checkpoint = latest(folder)
    return _read(checkpoint / "optimizer.json")["seconds"] if checkpoint else 0.0


class ResumableTrainer(Trainer):
    """A Trainer whose checkpoints hold all that its next step depends on, and no pickle.

    Where transformers would call torch.save and torch.load (optimizer, schedule, random states, its own arguments)
    its methods are replaced, and the epoch's order of sentences, which it would draw anew, goes on too. A checkpoint is
    written after ``save_minutes``, within an epoch or after its validation, and never at the end of a training: the
    last steps are done again, and with them the decision to stop. ``args.output_dir`` is the folder; all processes of
    a distributed training must see it.
    """

    def __init__(self, *, save_minutes: float, **arguments: Any):
        super().__init__(**arguments)
        self.save_minutes = save_minutes
        self.folder = Path(self.args.output_dir)
        self.resumed: Path | None = None  # the checkpoint, until its epoch goes on
        self.epoch_began: dict[str, Any] = {}  # random states, from which the order of the epoch was drawn
        self.started = time.perf_counter()
        self.saved = time.monotonic()
        self.add_callback(_Moments(self))

    def due(self) -> bool:
        """Whether it is time for a checkpoint, by the clock of the first process."""
        late = time.monotonic() - self.saved >= 60 * self.save_minutes
        return bool(broadcast(torch.tensor(float(late), device=self.args.device)))

    def _save_checkpoint(self, model, trial) -> None:
        first = self.is_world_process_zero()
        best = self.args.load_best_model_at_end and self.state.best_global_step == self.state.global_step
        if best:
            target = self.folder / f"best-{self.state.global_step}"
            self.state.best_model_checkpoint = str(target)
            if first:
                draft = _draft(self.folder)
                _write_tensors(trained(self.model), draft / "model.safetensors")
                _name(draft, target)
        due = not self.control.should_training_stop and self.due()
        if due:
            draft = _draft(self.folder) if first else self.folder / DRAFT
            self.accelerator.wait_for_everyone()  # the draft is there
            _write_json(self._of_this_process(), draft / f"process-{self.args.process_index}.json")
            if first:
                self._write(draft)
            self.accelerator.wait_for_everyone()  # all have written
            if first:
                _name(draft, self.folder / f"checkpoint-{self.state.global_step}")
            self.saved = time.monotonic()
        if first and (best or due):
            self._remove_older()

    def _write(self, folder: Path) -> None:
        _write_tensors(trained(self.model), folder / "model.safetensors")
        optimizer, scaler = self.optimizer.state_dict(), self._scaler()
        moments = {f"{index}.{name}": value for index, of in optimizer["state"].items() for name, value in of.items()}
        _write_tensors(moments, folder / "optimizer.safetensors")
        kept = {
            "param_groups": optimizer["param_groups"],
            "lr_scheduler": self.lr_scheduler.state_dict(),
            "scaler": scaler.state_dict() if scaler else None,
            "seconds": round(time.perf_counter() - self.started, 1),
        }
        _write_json(kept, folder / "optimizer.json")
        for callback in (*self.callback_handler.callbacks, self.control):
            if isinstance(callback, ExportableState):
                self.state.stateful_callbacks[type(callback).__name__] = callback.state()
        self.state.save_to_json(str(folder / "trainer_state.json"))
        _to_disk(folder / "trainer_state.json")

    def _of_this_process(self) -> dict[str, Any]:
        now = random_states(self.args.device)
        return {
            "now": now,
            "epoch_began": self.epoch_began if self.state.epoch % 1 else now,  # the next epoch begins now
            "loss": self._tr_loss.item(),
            "loss_since": self._globalstep_last_logged,
        }

    def _remove_older(self) -> None:
        newest = latest(self.folder)
        keep = {newest, self.folder / Path(self.state.best_model_checkpoint or "").name}
        if newest:  # and the best epoch as it stood then
            keep.add(self.folder / Path(_read(newest / "trainer_state.json")["best_model_checkpoint"] or "").name)
        for path in (*self.folder.glob("checkpoint-*"), *self.folder.glob("best-*")):
            if path not in keep:
                shutil.rmtree(path, ignore_errors=True)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None) -> None:
        self.resumed = Path(resume_from_checkpoint)
        self._load_trained(self.resumed)
        self.started -= seconds(self.folder)

    def _load_best_model(self) -> None:
        if self.is_world_process_zero():  # what the other processes hold is not used
            self._load_trained(Path(self.state.best_model_checkpoint))

    def _load_trained(self, folder: Path) -> None:
        weights = _read_tensors(folder / "model.safetensors")
        if weights.keys() != trained(self.model).keys():
            raise InputError(f"{folder}: holds the weights of another model; {AFRESH}")
        self.model.load_state_dict(weights, strict=False)  # the frozen ones are there already

    def _load_optimizer_and_scheduler(self, checkpoint) -> None:
        if checkpoint is None:
            return
        kept, state = _read(Path(checkpoint) / "optimizer.json"), {}
        for name, value in _read_tensors(Path(checkpoint) / "optimizer.safetensors").items():
            index, _, moment = name.partition(".")
            state.setdefault(int(index), {})[moment] = value
        self.optimizer.load_state_dict({"state": state, "param_groups": kept["param_groups"]})
        self.lr_scheduler.load_state_dict(kept["lr_scheduler"])

    def _load_scaler(self, checkpoint) -> None:
        if checkpoint is not None and (scaler := self._scaler()):
            scaler.load_state_dict(_read(Path(checkpoint) / "optimizer.json")["scaler"])

    def _scaler(self) -> torch.amp.GradScaler | None:
        return getattr(self.accelerator, "scaler", None)

    def begin_epoch(self, loader) -> None:
        """Note the random states that the order of sentences comes from; after a resume, put them back first."""
        if self.resumed:
            set_random_states(self._saved_by_this_process(self.resumed)["epoch_began"], self.args.device)
            loader.set_epoch(int(self.state.epoch))  # for orders that are drawn from seed and epoch
            self.resumed = None
        self.epoch_began = random_states(self.args.device)

    def _load_rng_state(self, checkpoint) -> None:
        # The Trainer calls this when the sentences that were seen in the epoch are skipped.
        if checkpoint is not None:
            saved = self._saved_by_this_process(Path(checkpoint))
            set_random_states(saved["now"], self.args.device)
            self._tr_loss.fill_(saved["loss"])
            self._globalstep_last_logged = saved["loss_since"]

    def _saved_by_this_process(self, checkpoint: Path) -> dict[str, Any]:
        return _read(checkpoint / f"process-{self.args.process_index}.json")


class _Moments(TrainerCallback):
    """Tells the Trainer when an epoch begins, and when a checkpoint is due within one."""

    def __init__(self, trainer: ResumableTrainer):
        self.trainer = trainer

    def on_epoch_begin(self, args, state, control, train_dataloader=None, **kwargs):
        self.trainer.begin_epoch(train_dataloader)

    def on_step_end(self, args, state, control, **kwargs):
        # At the end of an epoch the Trainer asks for a checkpoint itself, after the validation.
        if state.epoch % 1 and not control.should_training_stop and self.trainer.due():
            control.should_save = True


def trained(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What a training changes: the parameters that are not frozen, and buffers that are saved."""
    saved = model.state_dict()
    parameters = {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}
    return parameters | {name: value for name, value in model.named_buffers() if name in saved}


def random_states(device: torch.device) -> dict[str, Any]:
    """The states of all generators that a training may draw from, as JSON knows them."""
    name, words, *rest = np.random.get_state()
    states = {
        "python": random.getstate(),
        "numpy": [name, words.tolist(), *rest],
        "torch": torch.get_rng_state().numpy().tobytes().hex(),
    }
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state().cpu().numpy().tobytes().hex()
    return states


def set_random_states(states: Mapping[str, Any], device: torch.device) -> None:
    """Put back what `random_states` gave."""

    def state(text: str) -> torch.Tensor:
        return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)

    version, words, following = states["python"]
    random.setstate((version, tuple(words), following))
    name, words, *rest = states["numpy"]
    np.random.set_state((name, np.array(words, dtype=np.uint32), *rest))
    torch.set_rng_state(state(states["torch"]))
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(state(states[device.type]))


def _refuse_other(folder: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    here = json.loads(json.dumps(here))  # as it would be read
    differing = []
    for key in sorted(there.keys() | here.keys()):
        if there.get(key) != here.get(key):
            values = f"{there.get(key)} there, {here.get(key)} here"
            differing.append(f"{key} ({values})" if len(values) < 80 else key)
    if differing:
        raise InputError(
            f"{folder}: holds another training, differing in {', '.join(differing)}; make them equal, or {AFRESH}"
        )


@contextlib.contextmanager
def _locked(folder: Path, output: str | Path) -> Iterator[None]:
    """Hold a folder, made if need be, against other processes; a kill frees it. Removes it at the end if it is empty.

    Raises InputError if another process holds it, or the disk knows no locks.
    """
    lock = FileLock(folder / LOCK, fallback_to_soft=False)  # a soft one would outlast a kill
    while not lock.is_locked:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=1)  # seconds: whoever is done is about to remove it
        except Timeout:
            raise InputError(
                f"{output}: another process trains for it now; wait, or choose another output=FOLDER"
            ) from None
        except FileNotFoundError:  # it was just removed
            continue
        except OSError as error:
            raise InputError(f"{folder}: cannot be locked ({error.strerror}); choose another output=FOLDER") from None
    try:
        yield
    finally:
        lock.release()
        with contextlib.suppress(OSError):  # it holds checkpoints, or the lock of who came next
            folder.rmdir()


def _empty(folder: Path) -> None:
    # First what makes the rest a training: a kill in between leaves nothing that looks whole.
    (folder / "training.json").unlink(missing_ok=True)
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def _remove(folder: Path) -> None:
    """Leave nothing of a training but the folder, which `_locked` removes."""
    _empty(folder)
    with contextlib.suppress(PermissionError):  # Windows removes no file that is held; there it goes when it is free
        (folder / LOCK).unlink()


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _draft(folder: Path) -> Path:
    """An empty folder to write to, which gets its name when it is whole."""
    draft = folder / DRAFT
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    return draft


def _name(draft: Path, name: Path) -> None:
    shutil.rmtree(name, ignore_errors=True)  # there only if an epoch is done again; no checkpoint builds on it yet
    draft.rename(name)
    _to_disk(name.parent)


def _write_tensors(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    save_file({name: value.contiguous() for name, value in tensors.items()}, path)
    _to_disk(path)


def _write_json(value: Any, path: Path) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
    _to_disk(path)


def _to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, would outlast a loss of power."""
    if path.is_dir() and os.name == "nt":  # Windows opens no folders
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); {AFRESH}") from None


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read ({error}); {AFRESH}") from None
