"""python tests/fuzz/fuzz.py sentences|readers|pages [SECONDS]: bytes that Atheris invents in, a failure or nothing out.

Atheris (libFuzzer for Python) follows which code its inputs reach, and so comes to where no list of examples leads.
What it finds lies as crash-* in the current folder, to be read again with `fuzz.py TARGET 0 crash-…`.
"""

import atexit
import shutil
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["allegedly"]):
    from allegedly import labelling, reading
    from allegedly.errors import InputError
    from allegedly.sentences import BLANK, lines, split

SUFFIXES = (".txt", ".jsonl", ".csv", ".html", ".pdf", ".docx", "")
READ_HERE = {"html": reading.html_text, "pdf": reading.pdf_text, "docx": reading.docx_text}
FOLDER = Path(tempfile.mkdtemp())
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


def one_printable_line(error: InputError) -> None:
    assert str(error).isprintable()


def sentences(data: bytes) -> None:
    """Sentences are slices in order, and leave out blanks only."""
    text = data.decode("utf-8", "surrogateescape")
    for cut in (split, lines):
        end = 0
        for sentence in cut(text):
            assert text[sentence.start : sentence.end] == sentence.text
            assert not text[end : sentence.start].strip(BLANK)
            end = sentence.end
        assert not text[end:].strip(BLANK)


def readers(data: bytes) -> None:
    """Text, JSON lines and CSV, whole and in parts: text that can be written, true offsets, or one line."""
    suffix, data = SUFFIXES[data[0] % 3] if data else "", data[1:]
    path = FOLDER / f"a{suffix}"
    path.write_bytes(data)
    reading.PART = 100
    try:
        for document in reading.parts(str(path)):
            document.text.encode()
            for sentence in labelling.sentences(document):
                assert document.text[sentence.start : sentence.end] == sentence.text
    except InputError as error:
        one_printable_line(error)


def pages(data: bytes) -> None:
    """HTML, PDF and DOCX, read in this process: text that can be written, or one line."""
    name = list(READ_HERE)[data[0] % 3] if data else "html"
    try:
        READ_HERE[name](f"a.{name}", data[1:]).encode()
    except InputError as error:
        one_printable_line(error)


TARGETS = {"sentences": sentences, "readers": readers, "pages": pages}

if __name__ == "__main__":
    target, seconds, *crashes = [*sys.argv[1:], "60"] if len(sys.argv) == 2 else sys.argv[1:]
    limits = ["-max_len=4000", "-timeout=60", "-rss_limit_mb=2000"]
    limits += crashes or [f"-max_total_time={seconds}"]
    atheris.Setup([sys.argv[0], *limits], TARGETS[target])
    atheris.Fuzz()
