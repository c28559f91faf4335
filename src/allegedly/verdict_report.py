"""Findings in, a table, JSON lines or an HTML page out."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from allegedly.labels import VERDICT_DEFINITIONS, VERDICTS
from allegedly.report import (
    TERMINAL_COMMAND,
    UNPRINTABLE,
    encodable,
    painted,
    plural,
    printable,
    rounded,
    template,
    wrapped,
)
from allegedly.verification import Finding

CAVEAT = "A verdict is a finding about the evidence given here, not about the world."
COLORS = {"SUPPORTED": "32", "REFUTED": "31", "NOT_ENOUGH_INFO": "2"}
WORDS = {"SUPPORTED": "supported", "REFUTED": "refuted", "NOT_ENOUGH_INFO": "not settled"}
INDENT = "  "
NARROWEST = 24  # columns: room for a verdict
CONTEXT = 400  # characters shown around a sentence that decides


def write(
    findings: Iterable[Finding],
    stream: TextIO,
    *,
    format: str,
    color: bool = False,
    width: int | None = None,
    full_text: Mapping[str, str] | None = None,
) -> None:
    """Write findings to stream as one of FORMATS.

    jsonl and table write each as it arrives, html all at the end; ``full_text``, each file's text by its name, lets
    the page show what stands around the sentences that decide.
    """
    WRITERS[format](findings, stream, color=color, width=width, full_text=full_text)


def write_jsonl(findings: Iterable[Finding], stream: TextIO, **_: object) -> None:
    """Write one `record` a line."""
    for finding in findings:
        stream.write(json.dumps(record(finding), ensure_ascii=False, allow_nan=False) + "\n")


def record(finding: Finding) -> dict[str, Any]:
    """Return a finding as the JSON object of `verify`, probabilities rounded to 4 decimals.

    ``source`` is there only where the claim was found in an article.
    """
    claim = finding.claim
    result: dict[str, Any] = {"id": encodable(claim.id), "claim": encodable(claim.text)}
    if claim.source is not None:
        source = claim.source
        place = {"file": encodable(source.file), "start": source.start, "end": source.end}
        result["source"] = place | {"text": encodable(source.text)}
    rationale = [
        {
            "file": None if evidence.file is None else encodable(evidence.file),
            "index": evidence.index,
            "start": evidence.start,
            "end": evidence.end,
            "text": encodable(evidence.text),
            "score": rounded(evidence.score),
        }
        for evidence in finding.rationale
    ]
    return result | {
        "verdict": finding.verdict,
        "probability": rounded(finding.probability),
        "probabilities": {verdict: rounded(finding.probabilities[verdict]) for verdict in VERDICTS},
        "rationale": rationale,
    }


def write_table(
    findings: Iterable[Finding], stream: TextIO, *, color: bool = False, width: int | None = None, **_: object
) -> None:
    """Write for a terminal: each claim after its verdict, the sentences that decide below it, and the counts."""
    width = max(width or shutil.get_terminal_size().columns, NARROWEST)
    count: Counter[str] = Counter()
    for finding in findings:
        count[finding.verdict] += 1
        stream.writelines(line + "\n" for line in _lines(finding, width, color))
        stream.write("\n")
    for text in (summary(count), CAVEAT):
        stream.writelines(line + "\n" for line in wrapped(text, width))


def _lines(finding: Finding, width: int, color: bool) -> Iterator[str]:
    verdict = f"{finding.verdict}  {finding.probability:.2f}"
    yield painted(verdict, COLORS[finding.verdict], color)
    yield from (painted(line, "1", color) for line in wrapped(printable(finding.claim.text), width))
    for evidence in finding.rationale:
        place = f"evidence {evidence.index + 1}" if evidence.file is None else printable(evidence.file)
        text = f"{evidence.score:.2f}  {printable(evidence.text)} [{place}]"
        first, *rest = wrapped(text, width - len(INDENT))
        yield INDENT + first
        yield from (INDENT + " " * len("0.00  ") + line for line in wrapped(" ".join(rest), width - 8) if line)
    if not finding.rationale:
        yield INDENT + "nothing relevant found"


def summary(count: Mapping[str, int]) -> str:
    """Return the counts in words.

    >>> summary({"SUPPORTED": 2, "NOT_ENOUGH_INFO": 1})
    '3 claims: 2 supported, 0 refuted, 1 not settled'
    """
    total = sum(count.values())
    parts = ", ".join(f"{count.get(verdict, 0)} {WORDS[verdict]}" for verdict in VERDICTS)
    return f"{total} {plural('claim', total)}: {parts}"


def write_html(
    findings: Iterable[Finding], stream: TextIO, *, full_text: Mapping[str, str] | None = None, **_: object
) -> None:
    """Write one self-contained page: each claim with its verdict, then the documents around what decides.

    full_text holds the text of each document, and of an article that alleges the claims; of a file that it lacks the
    deciding sentences are shown alone.
    """
    found = list(findings)
    documents = [
        {
            "file": file,
            "alleges": marks[0].score is None,
            "excerpts": excerpts((full_text or {})[file], marks),
        }
        for file, marks in _marks(found, full_text)
    ]
    count = Counter(finding.verdict for finding in found)
    page = template("verdicts.html").generate(
        findings=found,
        documents=documents,
        places={document["file"]: number for number, document in enumerate(documents, 1)},
        verdicts=VERDICTS,
        definitions=VERDICT_DEFINITIONS,
        words=WORDS,
        counts=count,
        summary=summary(count),
        caveat=CAVEAT,
    )
    for chunk in page:
        stream.write(chunk)


@dataclass(frozen=True)
class Mark:
    """A sentence of a document that decides a claim, or, with a score of None, alleges it."""

    start: int
    end: int
    index: int
    number: int  # of the claim, counted from 1
    verdict: str
    score: float | None


@dataclass(frozen=True)
class Piece:
    """Text of a document, on one line or more, and the marks on it, the surest first; none on what stands around."""

    text: str
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Excerpt:
    """Pieces that follow each other, and whether text is left out before and after them."""

    pieces: tuple[Piece, ...]
    cut_before: bool
    cut_after: bool


def _marks(findings: Iterable[Finding], full_text: Mapping[str, str] | None) -> list[tuple[str, list[Mark]]]:
    """The marks of each file whose text is there: first articles with their allegations, then evidence."""
    alleged: dict[str, list[Mark]] = {}
    deciding: dict[str, list[Mark]] = {}
    for number, finding in enumerate(findings, 1):
        if finding.claim.source is not None:
            source = finding.claim.source
            mark = Mark(source.start, source.end, number, number, finding.verdict, None)
            alleged.setdefault(source.file, []).append(mark)
        for evidence in finding.rationale:
            if evidence.file is not None:
                place = (evidence.start, evidence.end, evidence.index)
                mark = Mark(*place, number, finding.verdict, evidence.score)
                deciding.setdefault(evidence.file, []).append(mark)
    return [item for group in (alleged, deciding) for item in group.items() if item[0] in (full_text or {})]


def excerpts(text: str, marks: Iterable[Mark]) -> list[Excerpt]:
    """What stands around marks in a text, `CONTEXT` characters or so on either side; what is near is joined."""
    by_place: dict[tuple[int, int], list[Mark]] = {}
    for mark in marks:
        by_place.setdefault((mark.start, mark.end), []).append(mark)
    groups: list[list[tuple[int, int]]] = []
    for place in sorted(by_place):
        if groups and place[0] - groups[-1][-1][1] <= 2 * CONTEXT:
            groups[-1].append(place)
        else:
            groups.append([place])
    result = []
    for group in groups:
        first, last = _blank(text, group[0][0] - CONTEXT, 1), _blank(text, group[-1][1] + CONTEXT, -1)
        pieces, here = [], first
        for start, end in group:
            marked = sorted(by_place[start, end], key=lambda mark: -(mark.score or 1))
            pieces += [Piece(shown(text[here:start])), Piece(shown(text[start:end]), tuple(marked))]
            here = end
        pieces.append(Piece(shown(text[here:last])))
        kept = tuple(piece for piece in pieces if piece.text)
        result.append(Excerpt(kept, bool(text[:first].strip()), bool(text[last:].strip())))
    return result


def _blank(text: str, place: int, step: int) -> int:
    """The place of a blank from ``place`` on, forwards or backwards: no word is cut. The text's ends count as such."""
    while 0 < place < len(text) and not text[place].isspace():
        place += step
    return min(max(place, 0), len(text))


def shown(text: str) -> str:
    """Text as a page may show it: its lines, not more than one of them empty, without control characters.

    >>> shown("One.\\n\\n\\n\\x07Two. ")
    'One.\\n\\nTwo. '
    """
    lines = (UNPRINTABLE.sub("", re.sub(r"\s+", " ", TERMINAL_COMMAND.sub("", line))) for line in text.split("\n"))
    return re.sub(r"\s*\n\s*\n\s*", "\n\n", encodable("\n".join(lines)))


WRITERS = {"table": write_table, "jsonl": write_jsonl, "html": write_html}
FORMATS = tuple(WRITERS)
