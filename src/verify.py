"""python -m verify --claims FILE --evidence PATH …: say whether documents support or refute claims, and by what.

    python -m verify --claims claims.txt --evidence archive report.pdf
    python -m verify --claims article.txt --from-article --evidence archive --format html --output report.html
    python -m verify --claims pairs.jsonl --format jsonl        # evidence stands in the lines

A verdict is a finding about the evidence that was given, not about the world. Exit status 0; 2 with one clear line on
standard error for every path, line or option that cannot be used.
"""

import signal

if __name__ == "__main__":  # until there is something to clean up, Ctrl-C ends it without a word
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator

from allegedly import claim_reading, reading, verdict_report
from allegedly.claim_reading import Claim
from allegedly.classifier import Classifier
from allegedly.command_line import Faults, destination, discard, model_folder, output, positive, readable, run
from allegedly.errors import InputError
from allegedly.labels import VERIFICATION
from allegedly.verification import Finding, Judge, verify


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parse(arguments)
    faults = Faults("verify")
    pace = Pace()
    texts: dict[str, str] | None = {} if options.format == "html" else None
    try:
        if options.output:
            destination(options.output)  # what cannot be written is said before all the work
        claims = list(_claims(options, faults, texts))
        if not claims and faults.count:
            return 2
        findings: Iterable[Finding] = []
        if not claims:  # the report is empty, so that an older one does not pass for today's
            print(f"verify: {options.claims}: alleges nothing that the stance classifier finds", file=sys.stderr)
        else:
            judge = open_judge(options)
            index = None
            if options.evidence:
                index = build_index(options, faults, texts)
                if index is None:
                    return 2
                pace.passages = len(index.passages)
            findings = pace.count(
                verify(claims, judge, index, top_k=options.top_k),
                total=len(claims),
                bar=sys.stderr.isatty() and not (options.output is None and sys.stdout.isatty()),
            )
        with output(options.output) as stream:
            color = options.output is None and stream.isatty() and "NO_COLOR" not in os.environ
            verdict_report.write(findings, stream, format=options.format, color=color, full_text=texts)
        pace.say()
    except InputError as error:
        faults.say(error)
    except BrokenPipeError:  # the reader of a pipe, `head` say, has had enough
        discard(sys.stdout)
    return 2 if faults.count else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="verify",
        description="Say whether documents support or refute claims. A verdict is a finding about the evidence given, "
        "not about the world.",
    )
    parser.add_argument(
        "--claims",
        required=True,
        metavar="FILE",
        help="text, one claim a line; or JSONL with 'claim' and, at will, 'id' and 'evidence'; '-': standard input",
    )
    parser.add_argument(
        "--evidence",
        nargs="+",
        action="extend",
        default=[],
        metavar="PATH",
        help="text, HTML, PDF, DOCX, JSONL, CSV, or folders; default: the evidence in the claims' lines",
    )
    parser.add_argument(
        "--from-article",
        action="store_true",
        help="FILE is an article, of any kind that --evidence takes; what it alleges are the claims",
    )
    parser.add_argument(
        "--top-k", type=positive, default=5, metavar="N", help="sentences read together for a claim; default: 5"
    )
    parser.add_argument("--format", choices=verdict_report.FORMATS, default="table", help="default: table")
    parser.add_argument("--output", metavar="PATH", help="written whole or not at all; default: standard output")
    parser.add_argument(
        "--model",
        default="models/verifier",
        metavar="PATH|models:/NAME@ALIAS|FILE.yaml",
        help="a bundle, a registered model, or any NLI checkpoint as in configs/verifier; default: %(default)s",
    )
    parser.add_argument(
        "--retriever",
        choices=["minilm", "mpnet"],
        default="minilm",
        help="what finds sentences; mpnet: the larger encoder looks again at what the small one found; default: minilm",
    )
    parser.add_argument(
        "--stance-model",
        default="models/stance",
        metavar="PATH|models:/NAME@ALIAS",
        help="what finds allegations in an article; default: %(default)s",
    )
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda|mps|xpu", help="default: auto")
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="of the CPU; default: OMP_NUM_THREADS, or all cores"
    )
    options = parser.parse_args(arguments)
    if options.from_article and not options.evidence:
        parser.error("--from-article needs --evidence: an article is no evidence for itself")
    if options.claims == "-" and "-" in options.evidence:
        parser.error("--claims and --evidence cannot both be read from standard input")
    return options


def _claims(options: argparse.Namespace, faults: Faults, texts: dict[str, str] | None) -> Iterator[Claim]:
    """The claims that can be checked; what is wrong with the others is said."""
    if options.from_article:
        folder = model_folder(options.stance_model)
        classifier = Classifier.load(folder, device=options.device, threads=options.threads)
        yield from claim_reading.alleged(readable([options.claims], faults, texts), classifier)
        return
    for claim in claim_reading.read(options.claims):
        if isinstance(claim, Claim) and claim.evidence is None and not options.evidence:
            claim = InputError(f"{options.claims}: claim {claim.id} has no evidence; name some with --evidence PATH")
        if isinstance(claim, InputError):
            faults.say(claim)
        else:
            yield claim


def open_judge(options: argparse.Namespace) -> Judge:
    """The model that ``--model`` names."""
    if options.model.endswith((".yaml", ".yml")):
        from allegedly import nli  # torch and transformers: only where such a model is asked for

        return nli.load(options.model, device=options.device, threads=options.threads)
    folder = model_folder(options.model)
    return Classifier.load(folder, device=options.device, threads=options.threads, task=VERIFICATION)


def build_index(options: argparse.Namespace, faults: Faults, texts: dict[str, str] | None):
    """The Index of all documents that could be read, the article apart; None if there is none."""
    from allegedly.embedding import MPNET, Embedder
    from allegedly.retrieval import Index, passages

    article = os.path.realpath(options.claims) if options.from_article else None
    files: dict[str, str] = {}  # by where links lead to: a file that is named twice is read once
    for found in reading.find(options.evidence):
        if isinstance(found, InputError):
            faults.say(found)
        elif os.path.realpath(found) == article:
            print(f"verify: {found}: is the article itself, no evidence for it; passed over", file=sys.stderr)
        else:
            files.setdefault(os.path.realpath(found), found)
    found = list(passages(readable(list(files.values()), faults, texts)))
    if not found:
        return None
    second = Embedder.load(MPNET, threads=options.threads) if options.retriever == "mpnet" else None
    return Index.build(found, Embedder.load(threads=options.threads), second)


class Pace:
    """Counts findings as they pass, with a bar on request, and says at the end what was found, and how fast."""

    def __init__(self) -> None:
        self.verdicts: Counter[str] = Counter()
        self.passages = 0
        self.started = time.perf_counter()

    def count(self, findings: Iterable[Finding], *, total: int, bar: bool) -> Iterator[Finding]:
        if bar:
            from tqdm import tqdm

            findings = tqdm(findings, total=total, unit=" claims", leave=False, delay=1)
        for finding in findings:
            self.verdicts[finding.verdict] += 1
            yield finding

    def say(self) -> None:
        seconds = time.perf_counter() - self.started
        against = f", against {self.passages} sentences" if self.passages else ""
        print(f"verify: {verdict_report.summary(self.verdicts)}{against}, in {seconds:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run(main, "verify"))
