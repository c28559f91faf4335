"""Whatever a file holds, reading it ends, in bounded memory, with text and true offsets or with one clear line."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import hostile
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allegedly import isolation, labelling, reading
from allegedly.encoding import encode, load_tokenizer
from allegedly.errors import InputError
from allegedly.sentences import BLANK, lines, split

GIGABYTE = 1_000_000_000
SUFFIXES = (".txt", ".html", ".pdf", ".docx", ".jsonl", ".csv", "")
SLOW = ("paragraphs without end", "links without end", "only <")  # half a minute each
BIG = [name for name in hostile.FILES if name not in SLOW]


# Any text

INVISIBLE = "\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202d\u202e\u2066\u2067\u2069\u00ad\ufeff\u0301"
texts = st.lists(
    st.sampled_from([*" \n\r\t.!?,;:-–—\"'“”‘’«»()[]…。", *INVISIBLE, *"\0\x0b\x0c\x1c\x85\u2028\u2029\ud800\udfff"])
    | st.sampled_from(
        ["The", "Dr.", "U.S.", "a.m.", "He", "said", "1.", "•", "\r\n", "\n\n", "www.a.b", "🙂", "不", "ß"]
    )
    | st.text(max_size=5),
    max_size=60,
).map("".join)


@given(texts)
@settings(max_examples=400, deadline=None)
def test_sentences_are_slices_in_order_that_leave_out_blanks_only(text):
    for cut in (split, lines):
        end = 0
        for sentence in cut(text):
            assert text[sentence.start : sentence.end] == sentence.text
            assert sentence.text.strip()
            assert not text[end : sentence.start].strip(BLANK)
            end = sentence.end
        assert not text[end:].strip(BLANK)


# Any bytes


def one_printable_line(error: InputError) -> None:
    assert str(error).isprintable()


def parses(path: Path) -> list[reading.Document]:
    """What a file gives, checked as far as anything can be said of all files; nothing if it is refused in one line."""
    try:
        documents = list(reading.parts(str(path)))
    except InputError as error:
        one_printable_line(error)
        return []
    for document in documents:
        document.text.encode()  # no lone surrogate is left
        assert "\r" not in document.text
        for sentence in labelling.sentences(document):
            assert document.text[sentence.start : sentence.end] == sentence.text
    return documents


PIECES = [
    b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 1 0 R >>\nendobj\ntrailer << /Root 1 0 R >>\n", b"PK\x03\x04",
    b"\xff\xfe", b"\xef\xbb\xbf", b"\0", b"\xd8\x00", b'{"text": "', b'"}\n', b"text,id\n", b'"', b",", b"\r", b"\n",
    b"\x80",
    b"<html>", b"<p>", b"</p>", b"<!--", b"-->", b'<meta charset="undefined">', b'<meta charset="idna">', b"\\ud800",
    b"{\\rtf", "denied. Él".encode(), "Он".encode("cp1251"),
]  # fmt: skip
streams = st.lists(st.sampled_from(PIECES) | st.binary(max_size=12), max_size=30).map(b"".join)


@given(streams, st.sampled_from(SUFFIXES))
@settings(max_examples=250, deadline=None)
def test_any_bytes_under_any_suffix_give_text_or_one_line(tmp_path_factory, data, suffix):
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(data)
    parses(path)


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_damaged_documents_give_text_or_one_line(tmp_path_factory, data):
    suffix, whole = data.draw(st.sampled_from(DOCUMENTS))
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=20))
        damaged = damaged or bytearray(b"x")
    path = tmp_path_factory.getbasetemp() / f"damaged{suffix}"
    path.write_bytes(damaged)
    parses(path)


DOCUMENTS = [
    (".pdf", hostile.page(b"BT /F 12 Tf (The mayor denied it.) Tj ET")),
    (".docx", hostile.docx("<w:p><w:r><w:t>The mayor denied it.</w:t></w:r></w:p>")),
    (
        ".html",
        b"<html><head><title>Sold</title></head><body><article><p>The mayor denied it.</p></article></body></html>",
    ),
    (".csv", b'id,text\n1,"Sold, he said."\n'),
    (".jsonl", b'{"text": "Sold \\ud83d\\ude42"}\n{"text": "Denied."}\n'),
]


@pytest.mark.parametrize(
    "charset", ["undefined", "idna", "punycode", "unicode_escape", "utf-7", "hex", "rot13", "nonsense"]
)
def test_a_page_that_declares_an_odd_encoding_is_read_all_the_same(charset, tmp_path, recwarn):
    path = tmp_path / "a.html"
    text = "Le maire a démenti à Orléans, où il a passé l’été, qu’il ait vendu le pont."
    path.write_bytes(f'<html><head><meta charset="{charset}"></head><body><p>{text}</p></body></html>'.encode("cp1252"))
    assert reading.read(str(path)).text == text
    assert not recwarn.list


# Large and hostile files: each is read in a process of its own, whose memory is measured

READ = """
import json, resource, sys
from allegedly import isolation, labelling, reading
from allegedly.errors import InputError
isolation.SECONDS = 15
said, sentences = None, 0
try:
    for document in reading.parts(sys.argv[1]):
        for sentence in labelling.sentences(document):
            assert document.text[sentence.start:sentence.end] == sentence.text
            sentences += 1
except InputError as error:
    said = str(error)
isolation.stop()
kilobyte = 1 if sys.platform == "darwin" else 1024
here = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilobyte
helper = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * kilobyte
if sys.platform == "linux":  # whose ru_maxrss begins with that of the process that started this one
    here = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"said": said, "sentences": sentences, "memory": here + helper}))
"""


def read_apart(path: Path) -> dict:
    """What comes of reading a file: the line that refuses it or None, the sentences, the most memory in bytes."""
    done = subprocess.run([sys.executable, "-c", READ, str(path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", [*BIG, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_hostile_file_is_read_or_refused_within_a_gigabyte(name, tmp_path):
    suffix, make = hostile.FILES[name]
    path = tmp_path / suffix
    path.write_bytes(make())
    found = read_apart(path)
    assert found["memory"] < GIGABYTE
    assert (found["said"] is None) == (found["sentences"] > 0)
    assert "root:" not in str(found)


def test_an_entity_of_a_document_never_opens_a_file(tmp_path):
    (tmp_path / "a.docx").write_bytes(hostile.outside())
    with contextlib.suppress(InputError):
        assert reading.read(str(tmp_path / "a.docx")).text == "Sold."


@pytest.mark.parametrize("text", ["a " * 5_000_000, "x" * 10_000_000, "政" * 3_000_000, "a b c d " * 300], ids=len)
def test_a_sentence_of_any_length_has_its_tokens_at_once(text, tiny_bundle):
    tokenizer = load_tokenizer(tiny_bundle / "tokenizer.json", max_length=32)
    begun = time.process_time()
    (encoding,) = encode(tokenizer, [text])
    assert len(encoding.ids) <= 32
    assert len(encoding.overflowing) < 1000  # tokens that nobody will see are not made by the million
    assert time.process_time() - begun < 60


# The helper that reads pages


@pytest.fixture
def helper(monkeypatch):
    """Calls functions of `misbehaving` by name, two seconds each."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setattr(isolation, "SECONDS", 2)
    isolation.stop()
    yield lambda name, data=b"", file="a.pdf": isolation.call(f"misbehaving:{name}", file, data)
    isolation.stop()


@pytest.mark.parametrize(("name", "said"), [("endless", "over 2 s"), ("greedy", "768 MB"), ("crash", "crashes")])
def test_what_comes_to_no_end_is_ended_and_the_next_call_served(name, said, helper):
    with pytest.raises(isolation.Exhausted, match=said):
        helper(name)
    assert helper("printing", b"12345", "b\udce9.pdf") == "b\udce9.pdf 5"


def test_a_document_that_comes_to_no_end_gets_one_line(tmp_path, monkeypatch):
    def call(*_):
        raise isolation.Exhausted("takes over 60 s")

    monkeypatch.setattr(isolation, "call", call)
    for name in ("a.pdf", "a.html"):
        (tmp_path / name).write_bytes(b"%PDF-1.4" if name == "a.pdf" else b"<html>")
        with pytest.raises(InputError, match=f"{name}: to read the .* takes over 60 s; split it, or give its text"):
            reading.read(str(tmp_path / name))


# Files that change, vanish or are none


@pytest.mark.parametrize("change", ["cut", "emptied", "garbled"])
def test_a_file_that_changes_while_it_is_read_gives_text_or_one_line(change, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "PART", 1000)
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "The mayor denied it."}\n' * 200)
    documents = reading.parts(str(path))
    first = next(documents)
    assert first.text.startswith("The mayor denied it.")
    match change:
        case "cut":
            os.truncate(path, 2000)
        case "emptied":
            os.truncate(path, 0)
        case "garbled":
            path.write_bytes(b"\xff\xfe{]\n" * 5000)
    try:
        for document in documents:
            document.text.encode()
    except InputError as error:
        one_printable_line(error)


def test_a_file_that_vanishes_after_it_was_found_gets_one_line(tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("The mayor denied it.")
    found = reading.find([str(tmp_path)])
    first, second = next(found), next(found)
    os.unlink(first)
    with pytest.raises(InputError, match="no such file"):
        reading.read(first)
    assert reading.read(second).text == "The mayor denied it."


def test_a_folder_that_holds_itself_and_links_that_lead_nowhere_are_walked_once(tmp_path):
    (tmp_path / "a.txt").write_text("Sold.")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "one").symlink_to(tmp_path / "two")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    os.mkfifo(tmp_path / "pipe.txt")
    assert list(reading.find([str(tmp_path)])) == [str(tmp_path / "a.txt")]
    (error,) = reading.find([str(tmp_path / "one")])
    assert isinstance(error, InputError)


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/urandom"])
def test_a_device_without_end_is_refused(name, monkeypatch):
    monkeypatch.setattr(reading, "TEXT_LIMIT", 1_000_000)
    with pytest.raises(InputError, match="too large"):
        reading.read(name)


def test_names_with_line_ends_and_bytes_that_are_no_text_stay_on_one_line(tmp_path, start_predict):
    good, bad = os.fsencode(tmp_path) + b"/a\nb\xe9.txt", os.fsencode(tmp_path) + b"/c\n\x1b[2Jd.txt"
    for name, content in ((good, b"The mayor denied it."), (bad, b"")):
        with open(name, "wb") as file:
            file.write(content)
    process = start_predict(os.fsdecode(tmp_path), "--format", "jsonl")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 2
    (row,) = map(json.loads, out.splitlines())
    assert row["file"].endswith("a\nb\ufffd.txt")
    fault, pace = err.decode().splitlines()
    assert "the file is empty" in fault
    assert "\\n" in fault
    assert "\x1b" not in fault
    assert pace.startswith("predict: 1 sentence in")


# Outputs


def one_line(process, *, status: int = 2) -> str:
    _, err = process.communicate(timeout=120)
    said = (err or b"").decode()
    assert process.returncode == status, said
    assert "Traceback" not in said
    assert said.count("\n") == 1, said
    return said


@pytest.fixture
def article(tmp_path) -> Path:
    (tmp_path / "a.txt").write_text("The mayor denied it. " * 5000)
    return tmp_path / "a.txt"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("format", ["table", "jsonl", "csv", "html"])
def test_a_full_disk_gets_one_line(format, article, start_predict):
    with open("/dev/full", "wb") as full:
        said = one_line(start_predict(article, "--format", format, stdout=full))
    assert "standard output: cannot be written (No space left on device)" in said


def test_a_disk_that_fills_up_leaves_the_old_output_and_no_draft(article, start_predict, tmp_path):
    """A limit on the size of files stands for the disk."""
    (tmp_path / "out.jsonl").write_text("precious")

    def small_disk():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    process = start_predict(article, "--format", "jsonl", "--output", "out.jsonl", preexec_fn=small_disk)
    assert "out.jsonl: cannot be written" in one_line(process)
    assert (tmp_path / "out.jsonl").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "out.jsonl"]


def test_a_folder_that_may_not_be_written_gets_one_line(article, start_predict):
    assert "/proc/out.jsonl: cannot be written" in one_line(start_predict(article, "--output", "/proc/out.jsonl"))


def test_a_device_as_output_stays_what_it_is(article, start_predict, tmp_path):
    """As root, a file would take the place of /dev/null."""
    os.mkfifo(tmp_path / "pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    one_line(start_predict(article, "--format", "jsonl", "--output", "pipe"), status=0)
    reader.join(60)
    assert (tmp_path / "pipe").is_fifo()
    assert read[0].count(b"\n") == 5000
    (tmp_path / "null").symlink_to("/dev/null")
    one_line(start_predict(article, "--output", "null"), status=0)
    assert Path("/dev/null").is_char_device()
    assert (tmp_path / "null").is_symlink()


def test_an_output_that_is_a_link_is_written_where_it_leads(article, start_predict, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "link").symlink_to("deep/out.jsonl")
    one_line(start_predict(article, "--format", "jsonl", "--output", "link"), status=0)
    assert (tmp_path / "link").is_symlink()
    assert len((tmp_path / "deep" / "out.jsonl").read_text().splitlines()) == 5000
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out.jsonl"]


def test_closed_standard_streams_get_one_line_or_none(article, start_predict, tmp_path):
    def close(*numbers):
        return lambda: [os.close(number) for number in numbers]

    assert "standard output: is closed" in one_line(start_predict(article, preexec_fn=close(1)))
    assert "standard input" in one_line(start_predict("-", preexec_fn=close(0)))
    process = start_predict(article, "--format", "jsonl", preexec_fn=close(2))
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert all(json.loads(line)["label"] for line in out.splitlines())
