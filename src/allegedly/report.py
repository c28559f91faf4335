"""Labelled sentences in, a table, JSON lines, CSV or an HTML page out."""

import csv
import json
import re
import shutil
import unicodedata
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TextIO

from allegedly.classifier import Prediction
from allegedly.errors import InputError
from allegedly.labels import DEFINITIONS, LABELS, UNCERTAIN
from allegedly.sentences import Sentence

SCORES = tuple(f"p_{label}" for label in LABELS)
CSV_COLUMNS = ("file", "index", "start", "end", "label", "probability", *SCORES, "out_of_scope", "text")

COLORS = {"warning": "33", "denial": "36", "allegation": "31", "background": "2", UNCERTAIN: "35"}
MOST_ON_A_PAGE = 100_000  # sentences; half a gigabyte while it is made
LABEL_WIDTH = max(map(len, LABELS))
INDENT = LABEL_WIDTH + len("  0.00  ")
# Below this many columns of text beside the label, the text goes on lines of its own.
NARROW = 16

# A cell that a spreadsheet would run: =, +, - or @ (or their full-width twins) first, or after blanks and
# invisible characters, or any cell that begins with a tab or a line end. The optional apostrophes keep the
# guard reversible: a text that already looks guarded gets one more.
FORMULA = re.compile(r"'*(?:[\s\x00-\x1f\u200b-\u200f\u2060\ufeff]*[=+\-@＝＋－＠]|[\t\r\n])")

SURROGATE = re.compile(r"[\ud800-\udfff]")
# Colour and cursor commands (CSI) and terminated title or link commands (OSC), in their 7 and 8 bit forms.
TERMINAL_COMMAND = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b\]|\x9d)[^\x07\x1b\x9c\x9d]*(?:\x07|\x1b\\|\x9c)"
)
# Control characters, invisible ones, and those that reorder the line around them.
UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u00ad\u200b\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


@dataclass(frozen=True)
class Labelled:
    """One sentence of a file with its label.

    index counts the file's sentences from 0 in reading order; start and end are character offsets into the
    file's text; probability is that of label (of the likeliest, if label is `uncertain`), probabilities that of every
    label. out_of_scope tells why the sentence is no English prose (see `scope`), label_set which labels it may have
    (see `calibration.label_sets`); None: not, or not asked.
    """

    file: str
    index: int
    start: int
    end: int
    text: str
    label: str
    probability: float
    probabilities: dict[str, float]
    out_of_scope: str | None = None
    label_set: tuple[str, ...] | None = None

    @classmethod
    def of(cls, file: str, index: int, sentence: Sentence, prediction: Prediction) -> "Labelled":
        """Join a sentence and what a classifier says of it."""
        return cls(
            file=file,
            index=index,
            start=sentence.start,
            end=sentence.end,
            text=sentence.text,
            label=prediction.label,
            probability=prediction.probability,
            probabilities=prediction.probabilities,
        )


def write(
    rows: Iterable[Labelled],
    stream: TextIO,
    *,
    format: str,
    color: bool = False,
    width: int | None = None,
    full_text: Mapping[str, str] | None = None,
) -> None:
    """Write rows to stream as one of FORMATS.

    rows come file by file, in reading order. jsonl, csv and table write each row as it arrives; html holds all of
    them, at most MOST_ON_A_PAGE. color and width (default: the terminal's) shape the table; full_text, each
    file's whole text by its name, tells the html page where paragraphs break. Open the stream with newline=""
    for csv, whose lines end in CR LF, and in an encoding that holds every character, such as UTF-8.

    Raises ValueError for another format, InputError for too many rows on a page; errors of rows and stream pass
    through.
    """
    if format not in WRITERS:
        raise ValueError(f"unknown format {format!r}, expected one of {', '.join(FORMATS)}")
    WRITERS[format](rows, stream, color=color, width=width, full_text=full_text)


def write_jsonl(rows: Iterable[Labelled], stream: TextIO, **_: object) -> None:
    """Write one `record` a line, with out_of_scope and, where there is one, label_set.

    Raises ValueError for a probability that is not a finite number.
    """
    for row in rows:
        fields = record(row) | {"out_of_scope": row.out_of_scope}
        if row.label_set is not None:
            fields["label_set"] = row.label_set
        stream.write(json.dumps(fields, ensure_ascii=False, allow_nan=False) + "\n")


def record(row: Labelled) -> dict[str, Any]:
    """Return a row as the JSON object that `predict` and a server have in common, probabilities rounded to 4 decimals.

    Lone surrogates, which no UTF-8 file can hold, become U+FFFD.
    """
    return {
        "file": encodable(row.file),
        "index": row.index,
        "start": row.start,
        "end": row.end,
        "text": encodable(row.text),
        "label": row.label,
        "probability": rounded(row.probability),
        "probabilities": {label: rounded(row.probabilities[label]) for label in LABELS},
    }


def write_csv(rows: Iterable[Labelled], stream: TextIO, **_: object) -> None:
    """Write a header of CSV_COLUMNS and one record a row, quoted as in RFC 4180.

    Text and file name are guarded against being run as formulas, see guarded.
    """
    writer = csv.writer(stream)
    writer.writerow(CSV_COLUMNS)
    for row in rows:
        writer.writerow(
            (
                guarded(encodable(row.file)),
                row.index,
                row.start,
                row.end,
                row.label,
                rounded(row.probability),
                *(rounded(row.probabilities[label]) for label in LABELS),
                row.out_of_scope,
                guarded(encodable(row.text)),
            )
        )


def write_table(
    rows: Iterable[Labelled], stream: TextIO, *, color: bool = False, width: int | None = None, **_: object
) -> None:
    """Write for a terminal: per file a heading, a row a sentence, wrapped within width, and the counts.

    width is that of the terminal unless given, and never less than label and probability take.
    """
    width = max(width or shutil.get_terminal_size().columns, INDENT)
    last: Labelled | None = None
    found: Counter[str] = Counter()

    def sum_up() -> None:
        stream.writelines(line + "\n" for line in wrapped(summary(in_order(found)), width))

    for row in rows:
        if last is None or begins_file(row, last):
            if last is not None:
                sum_up()
                stream.write("\n")
            for line in wrapped(printable(row.file), width):
                stream.write(painted(line, "1", color) + "\n")
            found.clear()
        stream.writelines(line + "\n" for line in table_lines(row, width, color))
        found[row.label] += 1
        last = row
    if last is not None:
        sum_up()


def write_html(
    rows: Iterable[Labelled], stream: TextIO, *, full_text: Mapping[str, str] | None = None, **_: object
) -> None:
    """Write one self-contained page: what was found, then every file as prose with its labels.

    full_text holds each file's text, into which the rows' offsets point; a file that it lacks is shown as a
    single paragraph. Raises InputError for more than MOST_ON_A_PAGE rows.
    """
    rows = at_most(MOST_ON_A_PAGE, rows)
    files = [
        {
            "name": sentences[0].file,
            "sentences": sentences,
            "paragraphs": paragraphs(sentences, (full_text or {}).get(sentences[0].file)),
            "summary": summary(counts(sentences)),
        }
        for sentences in by_file(rows)
    ]
    found = counts(row for file in files for row in file["sentences"])
    page = template("report.html").generate(
        files=files,
        labels=LABELS,
        definitions=DEFINITIONS | {UNCERTAIN: "too improbable for a label, or no English prose"},
        counts=found,
        total=sum(found.values()),
        plural=plural,
    )
    for chunk in page:
        stream.write(chunk)


def template(name: str):
    """Load a page of templates/, a jinja2 Template that escapes what it is given."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # the other formats do without it

    environment = Environment(
        loader=PackageLoader("allegedly"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"printable": printable, "sha256": digest}
    return environment.get_template(name)


WRITERS = {"table": write_table, "jsonl": write_jsonl, "csv": write_csv, "html": write_html}
FORMATS = tuple(WRITERS)


def by_file(rows: Iterable[Labelled]) -> Iterator[list[Labelled]]:
    """Yield the sentences of one file after the other; a file that is given twice comes twice."""
    sentences: list[Labelled] = []
    for row in rows:
        if sentences and begins_file(row, sentences[-1]):
            yield sentences
            sentences = []
        sentences.append(row)
    if sentences:
        yield sentences


def begins_file(row: Labelled, last: Labelled) -> bool:
    """Tell whether row belongs to another file than the row before it, or to the same one read again."""
    return row.file != last.file or row.index <= last.index


def at_most(most: int, rows: Iterable[Labelled]) -> Iterator[Labelled]:
    """Yield rows; InputError if there are more than most."""
    for number, row in enumerate(rows):
        if number == most:
            raise InputError(
                f"{row.file}: makes the page longer than {most:,} sentences, more than a browser shows well; "
                "use --format jsonl or csv, or fewer files"
            )
        yield row


def paragraphs(sentences: list[Labelled], source: str | None) -> list[list[tuple[str, Labelled]]]:
    """Return one file's sentences by paragraph, each with the blank, if any, that precedes it in its paragraph.

    A line end between two sentences in source starts a paragraph. Where lines end inside sentences too, the
    text is hard-wrapped and only an empty line does.
    """
    if source is None:
        return [[(" " if place else "", row) for place, row in enumerate(sentences)]]
    hard_wrapped = any(line_ends(source[row.start : row.end].strip()) for row in sentences)
    needed = 2 if hard_wrapped else 1
    result: list[list[tuple[str, Labelled]]] = []
    end = 0
    for row in sentences:
        gap = source[end : row.start]
        if not result or line_ends(gap) >= needed:
            result.append([("", row)])
        else:
            result[-1].append((" " if gap else "", row))
        end = row.end
    return result


def line_ends(text: str) -> int:
    """Return how many line ends text has."""
    return len((text + ".").splitlines()) - 1


def counts(rows: Iterable[Labelled]) -> dict[str, int]:
    """Return how many rows have each label, in the order of LABELS, and how many are uncertain, if any."""
    return in_order(Counter(row.label for row in rows))


def in_order(found: Mapping[str, int]) -> dict[str, int]:
    """Counts of labels in the order of LABELS, zeros included, then those that are uncertain, if any."""
    return {label: found.get(label, 0) for label in (*LABELS, UNCERTAIN) if label in LABELS or found.get(label)}


def summary(count: Mapping[str, int]) -> str:
    """Return the counts in words.

    >>> summary({"warning": 2, "denial": 1, "allegation": 3, "background": 8})
    '14 sentences: 2 warnings, 1 denial, 3 allegations, 8 background'
    """
    parts = ", ".join(f"{number} {plural(label, number)}" for label, number in count.items())
    total = sum(count.values())
    return f"{total} {plural('sentence', total)}: {parts}"


def plural(noun: str, number: int) -> str:
    """Return noun as it follows number; background and uncertain stay as they are."""
    return noun if number == 1 or noun in ("background", UNCERTAIN) else noun + "s"


def rounded(probability: float) -> float:
    """Return probability as a plain float of 4 decimals."""
    return round(float(probability), 4)


def encodable(text: str) -> str:
    """Return text with U+FFFD for each lone surrogate, so that UTF-8 can hold it."""
    return SURROGATE.sub("\ufffd", text)


def guarded(cell: str) -> str:
    """Return cell with a leading apostrophe where a spreadsheet would run it as a formula.

    Spreadsheets show such a cell as text. A program that reads the file gets the original back by taking one
    apostrophe off each cell that begins with one and matches FORMULA.

    >>> guarded("=1+1"), guarded("'=1+1"), guarded("'Tis so.")
    ("'=1+1", "''=1+1", "'Tis so.")
    """
    return "'" + cell if FORMULA.match(cell) else cell


def printable(text: str) -> str:
    """Return text on one line: blanks collapsed; terminal commands and control characters left out."""
    text = TERMINAL_COMMAND.sub("", encodable(text))
    return UNPRINTABLE.sub("", " ".join(text.split()))


def table_lines(row: Labelled, width: int, color: bool) -> Iterator[str]:
    """Yield the lines of one sentence: label, probability and text with a hanging indent."""
    label = painted(row.label.ljust(LABEL_WIDTH), COLORS[row.label], color)
    head = f"{label}  {row.probability:.2f}"
    text = printable(row.text) + (f" [{row.out_of_scope}]" if row.out_of_scope else "")
    if width - INDENT < NARROW:
        yield head
        yield from ("  " + line for line in wrapped(text, width - 2))
        return
    first, *rest = wrapped(text, width - INDENT)
    yield f"{head}  {first}".rstrip()
    yield from (" " * INDENT + line for line in rest)


def wrapped(text: str, width: int) -> list[str]:
    """Return text as lines of at most width columns, broken at blanks or, in a word that is wider, anywhere."""
    lines = [""]
    room = width
    for word in text.split():
        need = columns(word)
        if lines[-1] and (need < room or need > width and room > 2):
            lines[-1] += " "
            room -= 1
        elif lines[-1]:
            lines.append("")
            room = width
        if need <= room:
            lines[-1] += word
            room -= need
            continue
        for character in word:
            size = columns(character)
            if size > room:
                lines.append("")
                room = width
            lines[-1] += character
            room -= size
    return lines


def columns(text: str) -> int:
    """Return how many terminal columns text takes: two for a wide character, none for a combining one."""
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.category(character) in ("Mn", "Me", "Cf")
        else 2
        if unicodedata.east_asian_width(character) in "WF"
        else 1
        for character in text
    )


def painted(text: str, code: str, color: bool) -> str:
    """Return text in a terminal colour, or as it is without color."""
    return f"\x1b[{code}m{text}\x1b[0m" if color else text


def digest(text: str) -> str:
    """Return the SHA-256 of text in base64, as a content security policy names it."""
    return b64encode(sha256(text.encode()).digest()).decode()
