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
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator

from allegedly import drift, labelling, reading, report, scope
from allegedly.classifier import Classifier
from allegedly.command_line import Faults, discard, model_folder, output, positive, readable, run
from allegedly.errors import InputError


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parse(arguments)
    files: list[str] = []
    faults = Faults("predict")
    for found in reading.find(options.files):
        faults.say(found) if isinstance(found, InputError) else files.append(found)
    if not files:
        return 2
    try:
        classifier = Classifier.load(model_folder(options.model), device=options.device, threads=options.threads)
        if options.label_sets:
            _ = classifier.label_set_threshold  # an old bundle is refused before anything is written
    except InputError as error:
        faults.say(error)
        return 2
    texts: dict[str, str] | None = {} if options.format == "html" else None
    documents = readable(files, faults, texts)
    labelled = labelling.label(
        documents, classifier, one_a_line=options.lines, batch_size=options.batch_size, label_sets=options.label_sets
    )
    tally = drift.Tally()
    labelled = labelling.doubt(tally.watch(labelled), min_probability=options.min_probability)
    if not scope.checks_languages():
        print(
            "predict: pycld2 is not installed; other languages in Latin letters are labelled all the same",
            file=sys.stderr,
        )
    pace = Pace()
    rows = pace.count(labelled, bar=sys.stderr.isatty() and not (options.output is None and sys.stdout.isatty()))
    try:
        with output(options.output) as stream:
            color = options.output is None and stream.isatty() and "NO_COLOR" not in os.environ
            report.write(rows, stream, format=options.format, color=color, full_text=texts)
            if not faults.documents:
                raise NothingRead  # leaves an old output as it was
        if options.profile:
            with output(options.profile) as stream:
                stream.write(json.dumps(tally.profile, indent=2) + "\n")
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
    parser.add_argument(
        "--min-probability",
        type=probability,
        default=0.0,
        metavar="P",
        help="labels that are less probable become 'uncertain'; the scores stay",
    )
    parser.add_argument(
        "--label-sets", action="store_true", help="add the labels that a sentence may have (--format jsonl)"
    )
    parser.add_argument("--profile", metavar="PATH", help="write what the batch is like, for python -m drift")
    options = parser.parse_args(arguments)
    if options.label_sets and options.format != "jsonl":
        parser.error("--label-sets needs --format jsonl")
    return options


def probability(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return number


class NothingRead(Exception):
    """No file could be read: there is nothing to write."""


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


if __name__ == "__main__":
    sys.exit(run(main, "predict"))
