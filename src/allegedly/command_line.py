"""What the commands share: options, faults said one a line, a file's text, an output that is written whole or not."""

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from allegedly import reading
from allegedly.errors import InputError


def positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return number


def model_folder(model: str) -> Path:
    """The bundle's folder; a registered model is fetched from the MLflow store, local or MLFLOW_TRACKING_URI."""
    if not model.startswith("models:/"):
        return Path(model)
    from allegedly import registry  # mlflow takes seconds to import: only where it is asked for

    return registry.fetch(model, tracking_uri=os.environ.get("MLFLOW_TRACKING_URI", registry.STORE))


class Faults:
    """Says faults as they come, one line each, and counts them beside the documents that could be read."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.count = 0
        self.documents = 0

    def say(self, error: InputError) -> None:
        self.count += 1
        from tqdm import tqdm  # its `write` clears a bar that stands in the line

        tqdm.write(f"{self.program}: {error}", file=sys.stderr)


def readable(files: list[str], faults: Faults, texts: dict[str, str] | None) -> Iterator[reading.Document]:
    """Read files one after another; what cannot be read is said and passed over. ``texts`` collects what was read."""
    for file in files:
        try:
            for document in reading.parts(file):
                faults.documents += not document.start
                if texts is not None:
                    texts[file] = texts.get(file, "")[: document.start].ljust(document.start, "\n") + document.text
                yield document
        except InputError as error:
            faults.say(error)


@contextlib.contextmanager
def output(path: str | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears at ``path`` only when the block ends without an error."""
    if path is None:
        sys.stdout.reconfigure(encoding="utf-8", newline="")
        yield sys.stdout
        sys.stdout.flush()
        return
    target = Path(path)
    if target.is_dir():
        raise InputError(f"{path}: is a folder; name a file with --output")
    draft = None
    try:
        try:
            handle, draft = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
                yield stream
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(draft, 0o666 & ~mask)  # mkstemp makes files that only their owner can read
            os.replace(draft, target)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror}); choose another --output") from None
    except BaseException:
        if draft is not None:
            with contextlib.suppress(OSError):
                os.unlink(draft)
        raise


def stop(signum, frame):
    """A polite kill ends like Ctrl-C: no half-written output stays behind."""
    raise KeyboardInterrupt
