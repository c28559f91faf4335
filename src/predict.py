"""python -m predict FILE [FILE …]: label the sentences of files as warning, denial, allegation or background.

    python -m predict article.txt
    python -m predict archive/ --format jsonl --output labels.jsonl
    cat article.txt | python -m predict - --format csv

Exit status 0; 2 with one clear line on standard error for every path or option that cannot be used; 130 after Ctrl-C
and 143 after SIGTERM, with no output written at all, or all of it.
"""

import signal

if __name__ == "__main__":  # until `main` has something to clean up, Ctrl-C ends it without a word
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import contextlib
import os
import stat
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from allegedly import labelling, reading, report
from allegedly.classifier import Classifier
from allegedly.errors import InputError


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    try:
        return predict(parse(arguments))
    except Stopped as stopped:
        print("predict: interrupted", file=sys.stderr)
        return 128 + stopped.signal


def predict(options: argparse.Namespace) -> int:
    """Label what the options name; returns the exit status."""
    files: list[str] = []
    faults = Faults()
    for found in reading.find(options.files):
        faults.say(found) if isinstance(found, InputError) else files.append(found)
    if not files:
        return 2
    try:
        classifier = Classifier.load(model_folder(options.model), device=options.device, threads=options.threads)
    except InputError as error:
        faults.say(error)
        return 2
    texts: dict[str, str] | None = {} if options.format == "html" else None
    documents = readable(files, faults, texts)
    labelled = labelling.label(documents, classifier, one_a_line=options.lines, batch_size=options.batch_size)
    pace = Pace()
    rows = pace.count(labelled, bar=sys.stderr.isatty() and not (options.output is None and sys.stdout.isatty()))
    try:
        with output(options.output) as stream:
            color = options.output is None and stream.isatty() and "NO_COLOR" not in os.environ
            report.write(rows, stream, format=options.format, color=color, full_text=texts)
            if not faults.documents:
                raise NothingRead  # leaves an old output as it was
        pace.say()
    except NothingRead:
        pass
    except InputError as error:
        faults.say(error)
    except BrokenPipeError:  # the reader of a pipe, `head` say, has had enough
        discard(sys.stdout)
    return 2 if faults.count else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="predict", description="Label sentences of news as warning, denial, allegation or background."
    )
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="text, HTML, PDF, DOCX, JSONL, CSV; '-': standard input; or a folder"
    )
    parser.add_argument("--lines", action="store_true", help="each line is one sentence: no splitting")
    parser.add_argument("--format", choices=report.FORMATS, default="table", help="default: table")
    parser.add_argument("--output", metavar="PATH", help="written whole or not at all; default: standard output")
    parser.add_argument(
        "--model", default="models/stance", metavar="PATH|models:/NAME@ALIAS", help="default: %(default)s"
    )
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda|mps|xpu", help="default: auto")
    parser.add_argument(
        "--batch-size",
        type=positive,
        metavar="N",
        help="sentences at a time, at most; default: as many as suit the device",
    )
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="of the CPU; default: OMP_NUM_THREADS, or all cores"
    )
    return parser.parse_args(arguments)


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


class NothingRead(Exception):
    """No file could be read: there is nothing to write."""


class Faults:
    """Says faults as they come, one line each, and counts them beside the documents that could be read."""

    def __init__(self) -> None:
        self.count = 0
        self.documents = 0

    def say(self, error: InputError) -> None:
        self.count += 1
        from tqdm import tqdm  # its `write` clears a bar that stands in the line

        line = str(error)
        line = line if line.isprintable() else ascii(line)[1:-1]  # a name may hold a line end, or move the cursor
        tqdm.write(f"predict: {line}", file=sys.stderr)


class Pace:
    """Counts labelled sentences as they pass, with a bar on request, and says at the end how fast they came."""

    def __init__(self) -> None:
        self.sentences = 0
        self.started = time.perf_counter()

    def count(self, rows: Iterable[report.Labelled], *, bar: bool) -> Iterator[report.Labelled]:
        if bar:
            from tqdm import tqdm

            rows = tqdm(rows, unit=" sentences", leave=False, delay=1)
        for row in rows:
            self.sentences += 1
            yield row

    def say(self) -> None:
        seconds = time.perf_counter() - self.started
        noun = report.plural("sentence", self.sentences)
        rate = self.sentences / seconds
        print(f"predict: {self.sentences} {noun} in {seconds:.1f} s, {rate:.0f} sentences/s", file=sys.stderr)


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


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, wherever it arrives."""

    def __init__(self, signal: int):
        self.signal = signal


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
    target = Path(os.path.realpath(path))  # of a link what it leads to, so that the link stays
    if target.is_dir():
        raise InputError(f"{path}: is a folder; name a file with --output")
    with writing(path, "choose another --output"):
        if target.exists() and not stat.S_ISREG(target.stat().st_mode):
            with target.open("w", encoding="utf-8", newline="") as stream:
                yield stream
            return
        with draft_of(target) as stream:
            yield stream


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
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def discard(stream: TextIO) -> None:
    """Let what is still to be written to a standard stream go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def stop(number: int, frame) -> None:
    """Ctrl-C and a polite kill end alike: no half-written output stays behind."""
    raise Stopped(number)


def run() -> int:
    """`main` as a program: signals are heard, and a standard error that was closed is none that could be written to."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    status = main()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # it is done: what the interpreter tidies up is soon over
    return status


if __name__ == "__main__":
    sys.exit(run())
