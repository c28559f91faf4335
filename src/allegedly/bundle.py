"""A trained classifier as a folder: what it must hold, how it is checked, and how it is replaced.

``bundle.json`` lists every other file with its sha256, and holds the label order, the temperature, the length limit
and what the classifier was trained on. A bundle is plain data: safetensors, ONNX and JSON, nothing pickled.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from allegedly.errors import InputError
from allegedly.labels import LABELS, STANCE, TASKS, Task

MANIFEST = "bundle.json"
RETRAIN = "train it again (make train) or copy it again from where it came"
CPU_MODEL = ("model.onnx", "model.onnx.data")  # the graph; its weights, which are mapped into memory, not copied
REQUIRED = ("config.json", "model.safetensors", *CPU_MODEL, "tokenizer.json", "tokenizer_config.json", "README.md")
# Everything else could run code when somebody loads it: pickles under any name, scripts, libraries.
PLAIN = (".json", ".safetensors", ".onnx", ".data", ".md", ".txt", ".model")
CODE = ("auto_map", "custom_pipelines", "_attn_implementation_internal")  # keys by which transformers fetches code


def digest(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(folder: Path, facts: dict[str, Any]) -> None:
    """Write the manifest, last: a folder without it is no bundle. ``facts`` hold the labels, those of stance if not."""
    files = {path.name: digest(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
    text = json.dumps({"format": 1, "labels": list(LABELS), **facts, "files": files}, indent=2)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def open_folder(
    folder: str | Path, *, verify: tuple[str, ...] | None = None, task: Task = STANCE
) -> tuple[Path, dict[str, Any]]:
    """Check a bundle for ``task`` and return (its folder, its manifest).

    ``verify`` names the files whose sha256 is compared, those that the caller goes on to load; None means all. Raises
    InputError for no bundle, a missing or altered file, another label order, or a file that could hold code.
    """
    folder = Path(folder)
    _restore(folder)
    if not folder.is_dir():
        how = "make train" if task is STANCE else f"python -m train task={task.name}"
        raise InputError(f"{folder}: no model there; train one with '{how}' or name another with --model")
    try:
        return folder, _checked(folder, verify, task)
    except OSError as error:  # a training may be about to put another bundle in its place
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}); try again, or {RETRAIN}") from None


def _checked(folder: Path, verify: tuple[str, ...] | None, task: Task) -> dict[str, Any]:
    """The manifest of a bundle that is found whole. Raises what `open_folder` does, and OSError."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files: dict[str, str] = dict(manifest["files"])
        temperature, max_length = float(manifest["temperature"]), int(manifest["max_length"])
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        order = [label for _, label in sorted(config.get("id2label", {}).items(), key=lambda item: int(item[0]))]
        if not all(isinstance(name, str) and os.path.basename(name) == name for name in files):
            raise ValueError("it lists files outside its folder")
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        raise InputError(f"{folder}: is not a complete bundle, {missing} is missing; {RETRAIN}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder}: {MANIFEST} or config.json cannot be read ({error!r}); {RETRAIN}") from None
    labels = list(task.labels)
    for other in TASKS.values():
        if other is not task and manifest.get("labels") == order == list(other.labels):
            raise InputError(f"{folder}: is a model for {other.name}, not for {task.name}; name another with --model")
    if manifest.get("labels") != labels or order != labels:
        raise InputError(f"{folder}: its labels are not {', '.join(labels)} in this order; {RETRAIN}")
    if not (temperature > 0 and max_length > 0):
        raise InputError(f"{folder / MANIFEST}: temperature and max_length must be above zero; {RETRAIN}")
    for path in folder.glob("*.json"):
        _refuse_code(path)
    for path in folder.iterdir():
        if path.name in files or not path.name.startswith("."):  # .DS_Store
            if path.suffix not in PLAIN:
                raise InputError(f"{path}: could run code when loaded and has no place in a bundle; remove it")
            if path.name != MANIFEST and path.name not in files:
                raise InputError(f"{path}: is not listed in {MANIFEST}; remove it, or {RETRAIN}")
    for name in (*REQUIRED, *files):
        if name not in files or not (folder / name).is_file():
            raise InputError(f"{folder / name}: missing from the bundle; {RETRAIN}")
    for name in files if verify is None else (*verify, "config.json"):
        if digest(folder / name) != files[name]:
            raise InputError(f"{folder / name}: altered since the training (sha256 differs); {RETRAIN}")
    return manifest


def _refuse_code(path: Path) -> None:
    """Raise InputError if a JSON file, at any depth, asks for code that came with it or lies elsewhere."""
    if path.name == "tokenizer.json":  # megabytes of words, read by a library that knows no such key
        return
    asked: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        asked.extend(key for key, value in pairs if key in CODE and value)
        return dict(pairs)

    with contextlib.suppress(OSError, ValueError, RecursionError):  # whoever loads it will say so
        json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=note)
    if asked:
        raise InputError(f"{path}: asks to run code that is not ours ({asked[0]}); take another model")


def _previous(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.previous"


def _restore(folder: Path) -> None:
    """Put the old bundle back where a replacement was killed between its two renames."""
    if not folder.exists() and _previous(folder).is_dir():
        with contextlib.suppress(OSError):  # another process was faster, or may not write here
            os.rename(_previous(folder), folder)


def _draft_prefix(folder: Path) -> str:
    return f".{folder.name}.draft-"


def remove_drafts(folder: str | Path) -> None:
    """Remove what killed processes left half-written; only for who knows that nobody writes ``folder`` now."""
    folder = Path(folder).absolute()
    for path in folder.parent.iterdir():
        if path.name.startswith(_draft_prefix(folder)):
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def replacing(folder: str | Path) -> Iterator[Path]:
    """Give an empty folder to fill; when the block ends without an error it takes the place of ``folder``.

    Until then, and if the process is killed at any moment, the old ``folder`` stays whole (`open_folder` puts it back
    if the kill fell between the two renames). Refuses a ``folder`` that holds something other than a bundle.
    """
    folder = Path(folder).absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    _restore(folder)
    refuse_foreign(folder)
    draft = Path(tempfile.mkdtemp(prefix=_draft_prefix(folder), dir=folder.parent))
    try:
        yield draft
        draft.chmod(0o755)  # mkdtemp makes folders that only their owner can read
        while True:
            if folder.exists():
                shutil.rmtree(_previous(folder), ignore_errors=True)
                os.rename(folder, _previous(folder))
            try:
                os.rename(draft, folder)
                break
            except OSError as error:
                # Whoever opened it between the two renames took us for killed and put the old bundle back.
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
        shutil.rmtree(_previous(folder), ignore_errors=True)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def refuse_foreign(folder: Path) -> None:
    """Raise InputError if ``folder`` is a file, or holds files but no manifest: it is not ours to replace."""
    if folder.exists() and not (folder.is_dir() and ((folder / MANIFEST).exists() or not any(folder.iterdir()))):
        raise InputError(f"{folder}: holds something other than a bundle; choose another output=FOLDER or move it away")
