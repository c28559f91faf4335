"""Findings in, a table, JSON lines or an HTML page out."""

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TextIO

from allegedly.labels import VERDICTS
from allegedly.report import encodable, painted, plural, printable, rounded, wrapped
from allegedly.verification import Finding

CAVEAT = "A verdict is a finding about the evidence given here, not about the world."
COLORS = {"SUPPORTED": "32", "REFUTED": "31", "NOT_ENOUGH_INFO": "2"}
WORDS = {"SUPPORTED": "supported", "REFUTED": "refuted", "NOT_ENOUGH_INFO": "not settled"}
INDENT = "  "


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
        file, start, end = claim.source
        result["source"] = {"file": encodable(file), "start": start, "end": end}
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
    width = max(width or shutil.get_terminal_size().columns, 20)
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


WRITERS = {"table": write_table, "jsonl": write_jsonl}
FORMATS = tuple(WRITERS)
