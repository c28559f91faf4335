"""A path in, the Document that it holds out.

    for found in find(["report.pdf", "articles", "-"]):
        if isinstance(found, InputError):
            print(found, file=sys.stderr)
        else:
            document = read(found)  # raises InputError

`find` turns what a user named (files, folders, "-") into files; `read` turns one file into text, `parts` into pieces of
text, so that an archive of any size is never held whole. They speak of what they cannot use as `InputError`: `find`
yields it and goes on, the others raise it. Libraries are imported by the reader that needs them, so that plain text
needs none; those for HTML, PDF and DOCX run in a process of bounded time and memory.
"""

import codecs
import contextlib
import csv
import io
import json
import logging
import os
import re
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import dropwhile
from typing import BinaryIO, TextIO

from allegedly import isolation
from allegedly.errors import InputError

MEGABYTE = 1_000_000
TEXT_LIMIT = 200 * MEGABYTE
HTML_LIMIT = 10 * MEGABYTE  # no article comes near it, and to find one takes ever longer
PAGES_LIMIT = 50 * MEGABYTE  # PDF and DOCX: they are compressed and cost far more than their size
UNZIPPED_LIMIT = 500 * MEGABYTE  # a DOCX of a few kilobytes may unpack to terabytes
HEAD = 8192  # bytes that tell the kind of a file
PART = 2 * MEGABYTE  # characters of a larger file that are held at a time

KINDS = "text, HTML, PDF, DOCX, JSONL or CSV"
SUFFIXES = {
    ".pdf": "pdf",
    ".docx": "docx",
    ".doc": "doc",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".txt": "text",
    ".md": "text",
}
BROKEN_DOCX = ("the DOCX is broken, or its text too long", "save it again in a word processor, in parts if it is long")
LOGGERS = ("charset_normalizer", "courlan", "docx", "htmldate", "justext", "pypdf", "trafilatura")
TEXT_COLUMNS = ("text", "sentence")
BYTE_ORDER_MARKS = (  # UTF-32 first: its mark starts with that of UTF-16
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Python's own, for programs and host names; no page is written in them, and some take forever or warn.
NO_CHARSETS = ("idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "utf_7")
BYTE_ORDER_BYTES = b"\xef\xbb\xbf\xff\xfe"
# What text that is not Unicode is written in today; with rarer ones allowed, short texts are taken for those.
CODE_PAGES = (
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257"),
    *("koi8_r", "shift_jis", "euc_jp", "euc_kr", "gb18030", "big5"),
)

ZIP_START = b"PK\x03\x04"
OFFICE_START = b"\xd0\xcf\x11\xe0"  # Word before 2007, and any DOCX with a password
HTML_START = re.compile(  # (?>: a comment ends where it first can, else thousands of them would be tried in all ways
    rb"\s*(?:<\?xml[^>]*>\s*)?(?>(?><!--.*?-->)\s*)*<(?:!doctype\s+html|html[\s>])", re.I | re.S
)
HTML_PROLOG = re.compile(r"(?:<\?xml.*?\?>|<!--.*?-->|<!doctype[^>]*>|\s)*", re.I | re.S)
JSONL_START = re.compile(rb'\s*\{(?:[^\n]*,)?\s*"text"\s*:\s*"')
DECLARED_CHARSET = re.compile(rb"charset\s*=\s*[\"']?\s*([\w.:-]+)", re.I)
CONTROL = re.compile(rb"[\x01-\x06\x0e-\x1a\x1c-\x1f\x7f]")
SURROGATE = re.compile("[\ud800-\udfff]")
HYPHEN_AT_LINE_END = re.compile(r"(?<=[^\W\d_])([-\u00ad\u2010])[ \t]*\n[ \t]*(?=([^\W\d_]))")

Rows = tuple[tuple[int, int], ...]
Lines = Callable[[], TextIO]  # opens a text anew; its lines end in "\n"


@dataclass(frozen=True)
class Document:
    """The text of one file.

    file: the path as the user gave it, "-" for standard input.
    text: what was extracted; all offsets point into it; lines end in "\\n".
    rows: for JSONL and CSV the (start, end) of each record's text, records being joined by "\\n"; else None.
    start: where the text begins in the text of the whole file, of which this is a part.
    """

    file: str
    text: str
    rows: Rows | None = None
    start: int = 0


def find(paths: Iterable[str]) -> Iterator[str | InputError]:
    """Yield the files that ``paths`` name, each ready for `read`, and an InputError for each path that names none.

    Files and "-" are yielded as given. Folders are walked in sorted order; what is hidden or of an unknown binary
    type is passed over in them. Raises nothing, so that a caller can report what is bad and go on with the rest.
    """
    for path in paths:
        if path == "-":
            yield path
            continue
        try:
            os.stat(path)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            yield unreadable(path, error)
            continue
        if os.path.isdir(path):
            yield from walk(path)
        else:
            yield path


def walk(folder: str) -> Iterator[str | InputError]:
    """Yield the files of a folder and its subfolders in sorted order, or one InputError if there are none.

    Links are followed, but no folder is entered twice.
    """
    entered = set()
    empty = True
    ahead = [folder]
    while ahead:
        path = ahead.pop()
        if os.path.isdir(path):
            place = os.path.realpath(path)
            if place in entered:
                continue
            entered.add(place)
            try:
                names = os.listdir(path)
            except OSError as error:
                empty = False
                yield unreadable(path, error)
                continue
            ahead.extend(os.path.join(path, name) for name in sorted(names, reverse=True) if name[0] != ".")
        elif os.path.isfile(path) and not is_foreign(path):
            empty = False
            yield path
    if empty:
        yield problem(folder, "the folder holds no file that can be read", f"add {KINDS} files")


def is_foreign(path: str) -> bool:
    """Whether a file met in a folder is of a binary type that nobody meant to have read (pictures, archives ...)."""
    if suffix_of(path) in SUFFIXES:
        return False
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
            return kind_of(path, head) == "binary" and not (head.startswith(ZIP_START) and holds_word(file))
    except OSError:
        return False  # `read` will say why


def read(path: str, *, stdin: BinaryIO | None = None) -> Document:
    """Read one file ("-": the process's standard input; any path: ``stdin``, if that is given) into a Document.

    The kind is told by content, then by suffix. Raises InputError, whose one line names file, fault and remedy.
    """
    data = load(path, stdin)
    if not data.strip():
        raise problem(path, "the file is empty", "give one that holds text")
    kind = kind_of(path, data[:HEAD])
    if data.startswith(ZIP_START) and holds_word(io.BytesIO(data)):
        kind = "docx"
    document = READERS[kind](path, data)
    if not document.text.strip():
        raise problem(path, "the file is empty but for blanks", "give one that holds text")
    return document


def parts(path: str, *, stdin: BinaryIO | None = None) -> Iterator[Document]:
    """Read one file as `read` does, but a large one (text, JSONL or CSV, in UTF-8) as Documents that follow each other.

    All of it is checked before the first is yielded. Records stay whole; text is cut at a blank line, or where there
    is none at a line end. Standard input and other pipes are kept in a temporary file meanwhile.
    """
    try:
        with contextlib.ExitStack() as opened:
            file = standard_input(stdin) if path == "-" else opened.enter_context(open(path, "rb"))
            piped = path == "-" or not file.seekable()
            if piped:
                pipe, file = file, opened.enter_context(tempfile.TemporaryFile())
                spool(path, pipe, file)
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            kind = kind_of(path, file.read(HEAD))
            if size > PART and kind in STREAMS and is_utf8(file):

                def lines() -> TextIO:
                    os.lseek(file.fileno(), 0, os.SEEK_SET)
                    return open(file.fileno(), encoding="utf-8-sig", closefd=False)  # "\r\n" and "\r" become "\n"

                for _ in STREAMS[kind](path, lines):
                    pass
                yield from STREAMS[kind](path, lines)
                return
            file.seek(0)
            yield read(path, stdin=file if piped else None)
    except InputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise unreadable(path, error) from error


def standard_input(stdin: BinaryIO | None) -> BinaryIO:
    """``stdin``, or else that of this process; InputError if it was closed before the process began."""
    if stdin is None and sys.stdin is None:
        raise problem("-", "it is closed", "name a file instead")
    return stdin or sys.stdin.buffer


def spool(path: str, pipe: BinaryIO, file: BinaryIO) -> None:
    """Copy what a pipe holds into a file; InputError if that is too much for its kind."""
    head = pipe.read(HEAD)
    file.write(head)
    limit = None if kind_of(path, head) in STREAMS else TEXT_LIMIT
    while block := pipe.read(MEGABYTE):
        file.write(block)
        if limit and file.tell() > limit:
            raise problem(path, f"the file is too large, over {limit // MEGABYTE} MB", "split it")


def is_utf8(file: BinaryIO) -> bool:
    """Whether all of a file is UTF-8 text."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    file.seek(0)
    try:
        while block := file.read(MEGABYTE):
            if b"\0" in block:
                return False
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def load(path: str, stdin: BinaryIO | None) -> bytes:
    """The bytes of a file or of standard input; InputError if they cannot be had or are too many."""
    try:
        if stdin or path == "-":
            data = standard_input(stdin).read(TEXT_LIMIT + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(TEXT_LIMIT + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise unreadable(path, error) from error
    check_size(path, data, TEXT_LIMIT)
    return data


def kind_of(path: str, head: bytes) -> str:
    """Tell the kind of a file, a key of READERS, from its first bytes, or else from its suffix.

    Of a zip archive the first bytes tell nothing: only the suffix makes it "docx" here, else it is "binary".
    """
    suffix = SUFFIXES.get(suffix_of(path), "text")
    plain = head.lstrip(BYTE_ORDER_BYTES).replace(b"\0", b"")  # UTF-16 shows its ASCII so
    if plain.lstrip().startswith(b"%PDF"):
        return "pdf"
    if head.startswith(ZIP_START):
        return "docx" if suffix == "docx" else "binary"
    if head.startswith(OFFICE_START):
        return "doc" if suffix in ("doc", "docx") else "binary"
    if plain.startswith(b"{\\rtf"):
        return "rtf"
    if suffix in ("pdf", "docx"):
        return suffix
    if HTML_START.match(plain):
        return "html"
    if is_binary(head):
        return "binary"
    if suffix == "text" and JSONL_START.match(plain):
        return "jsonl"  # standard input has no suffix
    return "text" if suffix == "doc" else suffix


def suffix_of(path: str) -> str:
    """The suffix of a path, dot included, in lower case."""
    return os.path.splitext(path)[1].lower()


def is_binary(head: bytes) -> bool:
    """Whether the first bytes of a file hold NUL, unless they are UTF-16 or UTF-32, or much of what no text holds."""
    if head.startswith(tuple(mark for mark, _ in BYTE_ORDER_MARKS)):
        return False  # `decode` will see
    if b"\0" in head:
        return unmarked_utf16(head, whole=False) is None
    return len(CONTROL.findall(head)) > len(head) // 20


def holds_word(file: BinaryIO) -> bool:
    """Whether a zip archive is a Word document."""
    try:
        with zipfile.ZipFile(file) as archive:
            return "word/document.xml" in archive.namelist()
    except Exception:  # whatever a broken archive makes zipfile raise: it is none
        return False


def read_text(file: str, data: bytes) -> Document:
    """Prose, as it is but for its line ends."""
    return Document(file, tidy(decode(file, data)))


def read_html(file: str, data: bytes) -> Document:
    """The article of a web page: headline, paragraphs, list items and table cells, a blank line between them."""
    check_size(file, data, HTML_LIMIT)
    return apart("html_text", file, data, "the HTML")


def apart(function: str, file: str, data: bytes, what: str) -> Document:
    """Have a function of this module read a document in a process of its own, where it cannot do harm."""
    try:
        return Document(file, isolation.call(f"{__name__}:{function}", file, data))
    except isolation.Exhausted as error:
        raise problem(file, f"to read {what} {error}", "split it, or give its text") from None


def html_text(file: str, data: bytes) -> str:
    """What `read_html` gives, read here and now."""
    page = whole_page(tidy(decode(file, data, declared_charset(data))))
    with quiet():
        import trafilatura
    with library(file, "the HTML cannot be read", "save the page again, or give its text"):
        article = trafilatura.bare_extraction(
            page, favor_recall=True, include_comments=False, with_metadata=True, prune_xpath=["//nav"]
        )
    blocks = [block for line in article.text.splitlines() for block in plain_blocks(line)] if article else []
    if not blocks:
        raise problem(file, "the HTML holds no article text", "save the whole page, or give its text")
    headline = " ".join((article.title or "").split())
    if headline and headline.casefold() not in (" ".join(block.split()).casefold() for block in blocks):
        blocks.insert(0, headline)
    return tidy("\n\n".join(blocks))


def whole_page(page: str) -> str:
    """A page or a fragment of one in, a page that starts with <html> out: trafilatura refuses some that do not."""
    page = page[HTML_PROLOG.match(page).end() :]
    return page if page[:5].lower() == "<html" else f"<html><body>{page}</body></html>"


def plain_blocks(line: str) -> list[str]:
    """Undo the marks that trafilatura sets: "- item" is a list item, "| cell | cell |" a table's row."""
    line = line.strip()
    cells = line.split("|") if line.startswith("|") and line.endswith("|") else [line.removeprefix("- ")]
    return [cell.strip() for cell in cells if cell.strip(" -")]


def declared_charset(data: bytes) -> str | None:
    """The encoding that a page declares; as in browsers, Latin-1 means Windows-1252."""
    declared = DECLARED_CHARSET.search(data[:HEAD])
    if declared is None:
        return None
    charset = declared[1].decode("ascii").lower()
    if charset.replace("-", "_") in NO_CHARSETS:
        return None
    return "cp1252" if charset in ("iso-8859-1", "latin1", "us-ascii") else charset


def read_pdf(file: str, data: bytes) -> Document:
    """The text of all pages; a word hyphenated at a line end is whole again."""
    check_size(file, data, PAGES_LIMIT)
    return apart("pdf_text", file, data, "the PDF")


def pdf_text(file: str, data: bytes) -> str:
    """What `read_pdf` gives, read here and now."""
    with quiet():
        import pypdf
    broken = ("the PDF is broken", "export or download it again")
    with library(file, *broken):
        reader = pypdf.PdfReader(io.BytesIO(data))
        encrypted = reader.is_encrypted
    if encrypted:
        locked = ("the PDF is encrypted", "save a copy without password")
        with library(file, *locked):
            opened = reader.decrypt("")  # many PDFs only forbid printing: they open without password
        if not opened:
            raise problem(file, *locked)
    with library(file, *broken):
        pages = [page.extract_text() for page in reader.pages]
    text = tidy("\n".join(pages))
    if not text.strip():
        raise problem(file, "the PDF holds no text, perhaps it was scanned", "run OCR on it first")
    return HYPHEN_AT_LINE_END.sub(rejoin, text)


def rejoin(hyphen: re.Match) -> str:
    """What stays of a hyphen at a line end: nothing in "minis-try", the hyphen in "Anglo-Saxon"."""
    return "" if hyphen[2].islower() else hyphen[1]


def read_docx(file: str, data: bytes) -> Document:
    """The paragraphs of a Word document, those in tables included, in document order, a blank line between them."""
    check_size(file, data, PAGES_LIMIT)
    with library(file, *BROKEN_DOCX), zipfile.ZipFile(io.BytesIO(data)) as archive:
        unzipped = sum(member.file_size for member in archive.infolist())
    if unzipped > UNZIPPED_LIMIT:
        raise problem(file, f"the DOCX unpacks to over {UNZIPPED_LIMIT // MEGABYTE} MB", "split it, or give its text")
    return apart("docx_text", file, data, "the DOCX")


def docx_text(file: str, data: bytes) -> str:
    """What `read_docx` gives, read here and now."""
    with quiet():
        import docx
    with library(file, *BROKEN_DOCX):
        body = docx.Document(io.BytesIO(data)).element.body
        paragraphs = [paragraph for paragraph in map(str.strip, word_paragraphs(body)) if paragraph]
    if not paragraphs:
        raise problem(file, "the DOCX holds no text", "give one that does")
    return tidy("\n\n".join(paragraphs))


def word_paragraphs(body) -> Iterator[str]:
    """Yield the text of each paragraph below an element of WordprocessingML.

    python-docx's own `Paragraph.text` misses tracked insertions, content controls and text boxes.
    """
    word = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
    repeat = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"  # a text box for old readers
    blanks = {f"{word}tab": "\t", f"{word}br": "\n", f"{word}cr": "\n", f"{word}noBreakHyphen": "-"}
    for paragraph in body.iter(f"{word}p"):
        if next(paragraph.iterancestors(repeat), None) is not None:
            continue
        parts = []
        for node in paragraph.iter(f"{word}t", *blanks):
            if next(node.iterancestors(f"{word}p")) is paragraph and node.getparent().tag == f"{word}r":
                parts.append(blanks.get(node.tag) or node.text or "")
        yield "".join(parts)


def read_jsonl(file: str, data: bytes) -> Document:
    """The "text" of the JSON object on each line; blank lines are passed over."""
    content = tidy(decode(file, data))
    return join(file, list(jsonl_texts(file, lambda: io.StringIO(content))))


def jsonl_texts(file: str, lines: Lines) -> Iterator[str]:
    """Yield the text of every record; InputError names the line of the first that has none."""
    for number, line in enumerate(lines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise problem(file, "the line is not JSON", "write one JSON object a line", number) from error
        text = record.get("text") if isinstance(record, dict) else None
        if not isinstance(text, str):
            raise problem(file, 'the record has no "text"', 'write {"text": "..."}', number)
        yield tidy(text)


def read_csv(file: str, data: bytes) -> Document:
    """The cells of the column `text` or `sentence`, or of the only column, whose every row then is a record."""
    content = tidy(decode(file, data))
    return join(file, list(csv_texts(file, lambda: io.StringIO(content))))


def csv_texts(file: str, lines: Lines) -> Iterator[str]:
    """Yield the cell of the text column of every row; InputError names the line of the first that is no such row."""

    def content() -> Iterator[str]:
        return dropwhile(lambda line: line == "\n", lines())

    delimiter, column, width = layout(file, content)
    table = csv.reader(content(), delimiter=delimiter, strict=True)
    first = True
    try:
        for row in table:
            if not any(map(str.strip, row)):
                continue
            if len(row) <= column or any(row[width:]):
                what = f"the row has {len(row)} cells instead of {width}"
                raise problem(file, what, "put cells that hold the delimiter in quotes", table.line_num)
            if not (first and row[column].strip().lower() in TEXT_COLUMNS):
                yield row[column]
            first = False
    except csv.Error as error:
        what = f"the row is not CSV ({error})"
        raise problem(file, what, "put cells in quotes and double the quotes in them", table.line_num) from error


def layout(file: str, content: Callable[[], Iterator[str]]) -> tuple[str, int, int]:
    """The delimiter of a table, the column of its text and the number of columns; InputError if no column is it."""
    headers = {}
    for delimiter in ",;\t":
        try:
            header = next(csv.reader(content(), delimiter=delimiter, strict=True), [])
        except csv.Error:
            continue
        headers[delimiter] = [name.strip().lower() for name in header]
    for delimiter, header in headers.items():
        for name in TEXT_COLUMNS:
            if name in header and len(header) > 1:
                return delimiter, header.index(name), len(header)
    if headers and all(len(header) == 1 for header in headers.values()):
        return "\x1f", 0, 1  # unused, so that commas within the only column need no quotes
    raise problem(file, "the CSV has no text column", "name a column `text` in its first line")


def join(file: str, texts: list[str]) -> Document:
    """Records in, a Document with their spans out."""
    if not any(text.strip() for text in texts):
        raise problem(file, "all records are empty", "give records that hold text")
    rows, start = [], 0
    for text in texts:
        rows.append((start, start + len(text)))
        start += len(text) + 1
    return Document(file, "\n".join(texts), tuple(rows))


def stream_text(file: str, lines: Lines) -> Iterator[Document]:
    """Prose in parts."""
    start, kept, stream = 0, "", lines()
    while block := stream.read(PART):
        kept += block
        check_size(file, kept, TEXT_LIMIT)  # one line of that length
        for end in ("\n\n", "\n"):
            cut = kept.rfind(end) + 1
            if kept[:cut].strip():
                yield Document(file, kept[:cut], start=start)
                start, kept = start + cut, kept[cut:]
                break
    if kept.strip():
        yield Document(file, kept, start=start)
    elif not start:
        raise problem(file, "the file is empty but for blanks", "give one that holds text")


def stream_records(texts: Callable[[str, Lines], Iterator[str]], file: str, lines: Lines) -> Iterator[Document]:
    """Records in parts; those at the end that are blank are left out."""
    start, size, ahead, blank = 0, 0, [], True
    for text in texts(file, lines):
        ahead.append(text)
        size += len(text) + 1
        blank = blank and not text.strip()
        if size > PART and not blank:
            yield replace(join(file, ahead), start=start)
            start, size, ahead, blank = start + size, 0, [], True
    if not blank:
        yield replace(join(file, ahead), start=start)
    elif not start:
        raise problem(file, "all records are empty", "give records that hold text")


STREAMS: dict[str, Callable[[str, Lines], Iterator[Document]]] = {
    "text": stream_text,
    "jsonl": partial(stream_records, jsonl_texts),
    "csv": partial(stream_records, csv_texts),
}


def refuse_binary(file: str, data: bytes) -> Document:
    """Raise InputError: nobody can tell what this is."""
    raise problem(file, "the file is binary and of no kind that can be read", f"give {KINDS}")


def refuse_doc(file: str, data: bytes) -> Document:
    """Raise InputError: Word's old format is not read."""
    raise problem(file, "this is an old Word file (.doc), or one with a password", "save it as DOCX without password")


def refuse_rtf(file: str, data: bytes) -> Document:
    """Raise InputError: its mark-up would be taken for prose."""
    raise problem(file, "the file is RTF", "save it as DOCX or text")


READERS: dict[str, Callable[[str, bytes], Document]] = {
    "text": read_text,
    "html": read_html,
    "pdf": read_pdf,
    "docx": read_docx,
    "jsonl": read_jsonl,
    "csv": read_csv,
    "binary": refuse_binary,
    "doc": refuse_doc,
    "rtf": refuse_rtf,
}


def decode(file: str, data: bytes, declared: str | None = None) -> str:
    """Bytes in, text out: by byte order mark, as UTF-16, as UTF-8, as ``declared``, as the likeliest code page.

    Raises InputError for binary data and for what fits no encoding.
    """
    text = marked(data)
    if text is None and b"\0" in data:
        text = unmarked_utf16(data)
        if text is None:
            refuse_binary(file, data)
    if text is None:
        text = decoded(data, "utf-8")
    if text is None and declared:
        text = decoded(data, declared)
    if text is None:
        text = in_code_page(data)
    if text is None:
        raise problem(file, "the encoding of the text is unknown", "save it as UTF-8")
    if "\0" in text:
        refuse_binary(file, data)
    return text


def decoded(data: bytes, encoding: str) -> str | None:
    """Bytes as text, or None if they are not in that encoding, or if there is no such encoding."""
    try:
        return data.decode(encoding)
    except (UnicodeError, LookupError):  # UnicodeError: no text is in the encoding called "undefined"
        return None


def marked(data: bytes) -> str | None:
    """Decode text that starts with a byte order mark, or None if it has none or belies it."""
    for mark, encoding in BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return decoded(data[len(mark) :], encoding)
    return None


def unmarked_utf16(data: bytes, *, whole: bool = True) -> str | None:
    """Decode UTF-16 without byte order mark, or None if the bytes are not that; unless ``whole`` the end may be cut.

    Blanks and line ends have a NUL for their higher byte, whatever the language, so the NULs tell the byte order;
    binary data has what is not printable.
    """
    encoding = "utf-16-le" if data[1::2].count(0) > data[::2].count(0) else "utf-16-be"
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(data, final=whole)
    except UnicodeDecodeError:
        return None
    sample = text[:HEAD]
    odd = sum(not (character.isprintable() or character.isspace()) for character in sample)
    has_ascii = min(text, default="\x80") < "\x80"
    return text if has_ascii and "\0" not in text and odd <= len(sample) // 100 else None


def in_code_page(data: bytes) -> str | None:
    """Decode by the likeliest code page, or None if there is none."""
    with quiet():
        import charset_normalizer

        matches = list(charset_normalizer.from_bytes(data, cp_isolation=list(CODE_PAGES), enable_fallback=False))
    # Short texts fit several code pages alike: then the most common one is meant.
    matches.sort(key=lambda match: (match.chaos, -match.coherence, "cp1252" not in match.could_be_from_charset))
    return str(matches[0]) if matches else None


def tidy(text: str) -> str:
    """Normalise line ends, drop a byte order mark and replace lone surrogates, which no output could carry."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return SURROGATE.sub("\ufffd", text)


def check_size(file: str, data: bytes | str, limit: int) -> None:
    """Raise InputError if there are more bytes or characters than ``limit``."""
    if len(data) > limit:
        raise problem(file, f"the file is too large, over {limit // MEGABYTE} MB", "split it")


def problem(file: str, what: str, remedy: str, line: int | None = None) -> InputError:
    """The InputError that says where, what, and what to do."""
    where = shown(file) if line is None else f"{shown(file)}:{line}"
    return InputError(f"{where}: {what}; {remedy}")


def unreadable(file: str, error: Exception) -> InputError:
    """The InputError for what the operating system says of a file or folder."""
    match error:
        case FileNotFoundError():
            return problem(file, "there is no such file or folder", "check the path")
        case IsADirectoryError():
            return problem(file, "this is a folder", "name a file in it")
        case PermissionError():
            return problem(file, "no permission to read it", "change its permissions (chmod)")
    return problem(file, f"cannot be read ({getattr(error, 'strerror', None) or error})", "check the path")


def shown(file: str) -> str:
    """A path as a message shows it: on one line, whatever characters it has."""
    if file == "-":
        return "- (standard input)"
    return file if file and file.isprintable() else ascii(file)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep libraries from warning and logging: the user reads our one line only."""
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def library(file: str, what: str, remedy: str) -> Iterator[None]:
    """Call a library quietly; whatever it raises becomes an InputError, but for a want of memory."""
    try:
        with quiet():
            yield
    except MemoryError:
        raise
    except Exception as error:
        raise problem(file, what, remedy) from error
