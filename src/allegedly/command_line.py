"""What the commands share: options, faults said one a line, a file's text, an output that is written whole or not."""

import argparse
import contextlib
import os
import signal
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from allegedly import reading
from allegedly.errors import InputError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


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

        line = str(error)
        line = line if line.isprintable() else ascii(line)[1:-1]  # a name may hold a line end, or move the cursor
        tqdm.write(f"{self.program}: {line}", file=sys.stderr)


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
    """Standard output, or a file that appears at ``path`` only when the block ends without an error.

    What is no file (a pipe, /dev/null) is written to as it is. Raises InputError where it cannot be written, as on a
    full disk, and passes on what the block raises.
    """
    if path is None:
        if sys.stdout is None:
            raise InputError("standard output: is closed; name a file with --output")
        sys.stdout.reconfigure(encoding="utf-8", newline="")
        with writing("standard output", "choose an --output on another disk"):
            try:
                yield sys.stdout
                sys.stdout.flush()
            except OSError:
                discard(sys.stdout)  # else Python would try once more at its end, and say so
                raise
        return
    target = destination(path)
    with writing(path, "choose another --output"):
        if target.exists() and not stat.S_ISREG(target.stat().st_mode):
            with target.open("w", encoding="utf-8", newline="") as stream:
                yield stream
            return
        with draft_of(target) as stream:
            yield stream


def destination(path: str) -> Path:
    """The file that ``path`` names, of a link what it leads to, so that the link stays.

    Raises InputError for a folder, and for a file in a folder that is not there.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise InputError(f"{path}: is a folder; name a file with --output")
    if not target.parent.is_dir():
        raise InputError(f"{path}: cannot be written (there is no folder {target.parent}); choose another --output")
    return target


@contextlib.contextmanager
def draft_of(target: Path) -> Iterator[TextIO]:
    """A hidden file beside ``target`` that takes its place when the block ends without an error, and else goes."""
    draft = None
    try:
        with uninterrupted():  # else a file could be there of which nobody knows
            handle, draft = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            yield stream
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(draft, 0o666 & ~mask)  # mkstemp makes files that only their owner can read
        os.replace(draft, target)
    except BaseException:
        with uninterrupted(), contextlib.suppress(OSError):
            if draft is not None:
                os.unlink(draft)
        raise


@contextlib.contextmanager
def writing(where: str, remedy: str) -> Iterator[None]:
    """Turn what the operating system says of an output into an InputError; a closed pipe is the caller's to know."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InputError(f"{where}: cannot be written ({error.strerror}); {remedy}") from None


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Put off Ctrl-C and SIGTERM until the block has ended."""
    came: list[int] = []
    # Not a mask: the threads of a library would not have it, and Python hears what any thread hears.
    before = {number: signal.signal(number, lambda number, frame: came.append(number)) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def discard(stream: TextIO) -> None:
    """Let what is still to be written to a standard stream go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, wherever it arrives."""

    def __init__(self, signal: int):
        self.signal = signal


def run(main: Callable[[], int], program: str) -> int:
    """Run a command's ``main`` so that Ctrl-C and SIGTERM end it with one line; returns the exit status."""
    if sys.stderr is None:  # it was closed, and its number would go to the next file that is opened
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    try:
        for number in SIGNALS:
            signal.signal(number, stop)
        status = main()
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # all is done, and what the interpreter tidies up is soon over
    except BaseException as error:
        stopped = _behind(error)
        if stopped is None:
            raise
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        print(f"{program}: interrupted", file=sys.stderr)
        status = 128 + stopped.signal
    return status


def _behind(error: BaseException | None) -> Stopped | None:
    """The stop that led to an error: a library in C that is stopped while it loads fails with an ImportError."""
    while error is not None and not isinstance(error, Stopped):
        error = error.__cause__ or error.__context__
    return error


def stop(number: int, frame) -> None:
    """Hear Ctrl-C and SIGTERM."""
    raise Stopped(number)
