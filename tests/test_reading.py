"""Files of every kind in, their text out; bad files in, one line that names file and remedy out."""

import builtins
import io
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import docx
import pypdf
import pytest

from allegedly import reading
from allegedly.errors import InputError
from allegedly.reading import Document, find, parts, read

PROSE = "The harbour board denied on Friday that the pier had been sold.\nRain fell."
PAGE = """<!DOCTYPE html>
<html><head><title>Pier not sold, board says</title><meta charset="utf-8"></head><body>
<nav><ul><li><a href="/">Front page</a></li><li><a href="/sport">Sport</a></li></ul></nav>
<article>
<h1>Pier not sold, board says</h1>
<p>The harbour board <a href="/board">denied on Friday</a> that the old pier of Quillhaven had been sold.</p>
<h2>What is known</h2>
<ul><li>Two clerks allegedly saw a contract on the chairman's desk.</li>
<li>No payment has been found so far.</li></ul>
<p>The mayor warned that the pier might collapse before winter if nobody repaired its beams.</p>
<table><tr><td>Length of the pier</td><td>410 metres</td></tr></table>
<p>Rain fell.</p>
</article>
<div class="comments"><h3>Comments</h3><p>I never liked the pier anyway, and I would sell it at once.</p></div>
</body></html>"""


def write(path: Path, content: str | bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def pdf(*pages: list[str]) -> bytes:
    """A PDF with the given lines of text on its pages."""
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for i, lines in enumerate(pages):
        shown = " ".join(f"({line}) Tj T*" for line in lines)
        content = f"BT /F1 12 Tf 14 TL 72 720 Td {shown} ET"
        objects.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] "
            f"/Resources << /Font << /F1 3 0 R >> >> /Contents {5 + 2 * i} 0 R >>"
        )
        objects.append(f"<< /Length {len(content)} >>\nstream\n{content}\nendstream")
    data, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(data))
        data += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    trailer = f"trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{len(data)}\n%%EOF\n"
    return data + f"xref\n0 {size}\n0000000000 65535 f \n{table}{trailer}".encode()


def encrypted_pdf(*, user_password: str) -> bytes:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf(["The board denied it."])))
    writer.encrypt(user_password, owner_password="lighthouse", algorithm="RC4-128")
    stream = io.BytesIO()
    writer.write(stream)
    return stream.getvalue()


def word(*paragraphs: str, cells: tuple[str, ...] = (), after: tuple[str, ...] = ()) -> bytes:
    """A DOCX of paragraphs, a table of one row, and more paragraphs."""
    document = docx.Document()
    for paragraph in paragraphs:
        document.add_paragraph(paragraph)
    if cells:
        table = document.add_table(rows=1, cols=len(cells))
        for cell, text in zip(table.rows[0].cells, cells, strict=True):
            cell.text = text
    for paragraph in after:
        document.add_paragraph(paragraph)
    stream = io.BytesIO()
    document.save(stream)
    return stream.getvalue()


def archive(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "/").replace("_xml", ".xml"), content)
    return stream.getvalue()


def records(document: Document) -> list[str]:
    return [document.text[start:end] for start, end in document.rows]


# Text and its encodings


def test_text_is_kept_as_it_is(tmp_path):
    text = "  The board\u00a0denied it.\t \n\n“Sold?” \u2028 asked the clerk.\n"
    path = write(tmp_path / "pier.txt", text)
    assert read(path) == Document(file=path, text=text, rows=None)


@pytest.mark.parametrize("name", ["pier.md", "pier.log", "pier", "pier.TXT"])
def test_any_other_suffix_is_text(tmp_path, name):
    assert read(write(tmp_path / name, PROSE)).text == PROSE


def test_newlines_are_normalised(tmp_path):
    assert read(write(tmp_path / "pier.txt", b"One.\r\nTwo.\rThree.\n")).text == "One.\nTwo.\nThree.\n"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_mark_tells_the_encoding_and_is_dropped(tmp_path, encoding):
    text = "Die Behörde bestritt es – „nein“."
    assert read(write(tmp_path / "pier.txt", text.encode(encoding))).text == text


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", [PROSE, "Министр сказал, что причал не продан.", "“Sold?” 🙂 " * 2000])
def test_utf16_without_mark(tmp_path, text, encoding):
    assert read(write(tmp_path / "pier.txt", text.encode(encoding))).text == text


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", "It’s true."),
        ("cp1252", "The minister said “no” – and left the café."),
        ("cp1252", "Le président a été élu à Orléans, où il a passé l’été."),
        ("shift_jis", "大臣は、桟橋は売却されていないと述べた。"),
        ("gb18030", "部长否认码头已被出售，并表示没有人受伤。"),
        ("cp1251", "Министр сказал, что причал не продан, и никто не пострадал."),
    ],
)
def test_code_page_is_guessed_where_utf8_fails(tmp_path, text, encoding):
    assert read(write(tmp_path / "pier.txt", text.encode(encoding))).text == text


def test_plain_text_loads_no_library(tmp_path):
    path = write(tmp_path / "pier.txt", PROSE)
    heavy = ["trafilatura", "pypdf", "docx", "charset_normalizer"]
    script = (
        "import sys; from allegedly.reading import read; before = set(sys.modules);"
        f"read({path!r}); print(sorted({set(heavy)!r} & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_standard_input():
    assert read("-", stdin=io.BytesIO(PROSE.encode())) == Document(file="-", text=PROSE)


def test_standard_input_is_told_by_content():
    assert "Sport" not in read("-", stdin=io.BytesIO(PAGE.encode())).text
    assert read("-", stdin=io.BytesIO(pdf(["The board denied it."]))).text.strip() == "The board denied it."
    assert read("-", stdin=io.BytesIO(word("The board denied it."))).text == "The board denied it."
    assert records(read("-", stdin=io.BytesIO(b'{"id": 1, "text": "Sold."}\n{"text": "Denied."}'))) == [
        "Sold.",
        "Denied.",
    ]


def test_default_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(PROSE.encode())))
    assert read("-").text == PROSE


# HTML


@pytest.mark.parametrize("name", ["pier.html", "pier.htm", "pier.txt"])
def test_html_holds_the_article_a_paragraph_a_line(tmp_path, name):
    assert read(write(tmp_path / name, PAGE)).text.split("\n\n") == [
        "Pier not sold, board says",
        "The harbour board denied on Friday that the old pier of Quillhaven had been sold.",
        "What is known",
        "Two clerks allegedly saw a contract on the chairman's desk.",
        "No payment has been found so far.",
        "The mayor warned that the pier might collapse before winter if nobody repaired its beams.",
        "Length of the pier",
        "410 metres",
        "Rain fell.",
    ]


def test_html_headline_comes_from_the_title_if_the_article_has_none(tmp_path):
    page = PAGE.replace("<h1>Pier not sold, board says</h1>", "")
    assert read(write(tmp_path / "pier.html", page)).text.startswith("Pier not sold, board says\n\nThe harbour board")


@pytest.mark.parametrize(
    "prolog",
    [
        "",
        '<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "x">\n',
        "\n<!-- saved from the website of the harbour board, <b>with care</b>, on Friday -->\n<!DOCTYPE html>",
    ],
)
def test_html_page_by_content(tmp_path, prolog):
    page = f'{prolog}<html xmlns="http://www.w3.org/1999/xhtml"><body><p>The board denied it.</p></body></html>'
    assert read(write(tmp_path / "pier", page)).text == "The board denied it."


@pytest.mark.parametrize("fragment", ["<p>The board denied it.</p>", "The board <b>denied</b> it."])
def test_html_single_paragraph_by_suffix(tmp_path, fragment):
    assert read(write(tmp_path / "pier.html", fragment)).text == "The board denied it."


def test_html_fragment_by_suffix(tmp_path):
    assert read(write(tmp_path / "pier.html", "<p>The board denied it.</p><p>Rain fell.</p>")).text == (
        "The board denied it.\n\nRain fell."
    )


@pytest.mark.parametrize(
    ("declared", "encoding", "text"),
    [
        ("iso-8859-1", "cp1252", "The board’s café was “never” sold, said the chairman of the harbour."),
        ("windows-1251", "cp1251", "Причал не продан."),
        ("koi8-r", "koi8-r", "Причал не продан."),
        ("no-such-charset", "cp1252", "The board’s café was “never” sold, said the chairman of the harbour."),
    ],
)
def test_html_declares_its_encoding(tmp_path, declared, encoding, text):
    page = f'<html><head><meta charset="{declared}"></head><body><p>{text}</p></body></html>'
    assert read(write(tmp_path / "pier.html", page.encode(encoding))).text == text


def test_html_in_utf16(tmp_path):
    assert read(write(tmp_path / "pier", PAGE.encode("utf-16"))).text.startswith("Pier not sold")


# PDF


@pytest.mark.parametrize("name", ["pier.pdf", "pier.txt"])
def test_pdf_pages_are_joined(tmp_path, name):
    path = write(tmp_path / name, pdf(["The board denied", "that the pier was sold."], ["Rain fell."]))
    assert " ".join(read(path).text.split()) == "The board denied that the pier was sold. Rain fell."


def test_pdf_hyphenated_words_are_rejoined(tmp_path):
    path = write(tmp_path / "pier.pdf", pdf(["The minis-", "try and the Anglo-", "Norse league met in 2019-", "20."]))
    assert " ".join(read(path).text.split()) == "The ministry and the Anglo-Norse league met in 2019- 20."


def test_pdf_with_an_owner_password_only(tmp_path):
    assert "denied" in read(write(tmp_path / "pier.pdf", encrypted_pdf(user_password=""))).text


# DOCX


@pytest.mark.parametrize("name", ["pier.docx", "pier.bin"])
def test_docx_paragraphs_and_cells_in_order(tmp_path, name):
    data = word("The board denied it.", " ", cells=("Length", "410 metres"), after=("Rain fell.",))
    assert read(write(tmp_path / name, data)).text == "The board denied it.\n\nLength\n\n410 metres\n\nRain fell."


def test_docx_keeps_tabs_breaks_links_and_insertions(tmp_path):
    document = docx.Document()
    paragraph = document.add_paragraph("The board\tdenied ")
    insertion = docx.oxml.OxmlElement("w:ins")
    insertion.append(document.add_paragraph().add_run("all of ")._r)
    link = docx.oxml.OxmlElement("w:hyperlink")
    link.append(document.add_paragraph().add_run("it.\nRain fell.")._r)
    paragraph._p.extend([insertion, link])
    document.save(tmp_path / "pier.docx")
    assert read(str(tmp_path / "pier.docx")).text == "The board\tdenied all of it.\nRain fell."


# JSONL and CSV


def test_jsonl_records(tmp_path):
    lines = [
        json.dumps({"id": i, "text": text}) for i, text in enumerate(["Sold.", "", "One.\r\nTwo.", "Über \u2028 it"])
    ]
    document = read(write(tmp_path / "pier.jsonl", "\ufeff" + "\n\n".join(lines) + "\n"))
    assert document.text == "Sold.\n\nOne.\nTwo.\nÜber \u2028 it"
    assert records(document) == ["Sold.", "", "One.\nTwo.", "Über \u2028 it"]


def test_lone_surrogates_are_replaced(tmp_path):
    document = read(write(tmp_path / "pier.ndjson", r'{"text": "Sold \ud83d by \ud83d\ude42."}'))
    assert records(document) == ["Sold \ufffd by 🙂."]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("header", ["text", "sentence", " Text "])
def test_csv_column_and_delimiter(tmp_path, header, delimiter):
    rows = [["id", header, "date"], ["1", '"Sold, he said; ""yes""\tthen."', "2021"], ["2", '"One.\r\nTwo."', ""]]
    content = "\r\n".join(map(delimiter.join, rows)) + "\r\n\r\n"
    assert records(read(write(tmp_path / "pier.csv", content))) == ['Sold, he said; "yes"\tthen.', "One.\nTwo."]


def test_csv_of_one_column(tmp_path):
    assert records(read(write(tmp_path / "a.csv", 'text\nSold, he said.\n"Denied, too."\n'))) == [
        "Sold, he said.",
        "Denied, too.",
    ]
    assert records(read(write(tmp_path / "b.tsv", "It was sold.\nNo, it was not.\n"))) == [
        "It was sold.",
        "No, it was not.",
    ]


# What cannot be read

BAD = [
    ("empty.txt", b"", "text"),
    ("blank.txt", b" \n\t\r\n", "text"),
    ("blank16.txt", " \n ".encode("utf-16"), "text"),
    ("picture.png", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00", "PDF, DOCX"),
    ("nul.txt", b"The board denied\0 it.", "PDF, DOCX"),
    ("late-nul.txt", b"The board denied it. " * 1000 + b"\0", "PDF, DOCX"),
    ("marked-nul.txt", b"\xef\xbb\xbfSold.\0", "PDF, DOCX"),
    ("controls.txt", bytes(range(1, 32)) * 20, "PDF, DOCX"),
    ("things.zip", archive(a=b"Sold."), "PDF, DOCX"),
    ("undecodable.txt", bytes(range(128, 256)) * 9, "UTF-8"),
    ("broken.pdf", b"%PDF-1.7\nnothing else", "export"),
    ("cut.pdf", pdf(["Sold."])[:120], "export"),
    ("text.pdf", PROSE.encode(), "export"),
    ("secret.pdf", encrypted_pdf(user_password="herring"), "without password"),
    ("scanned.pdf", pdf([]), "OCR"),
    ("broken.docx", word("Sold.")[:900], "save it again"),
    ("text.docx", PROSE.encode(), "save it again"),
    ("other.docx", archive(a=b"Sold."), "save it again"),
    ("hollow.docx", archive(word__document_xml=b"<w"), "save it again"),
    ("empty.docx", word(""), "no text"),
    ("old.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "DOCX"),
    ("secret.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "without password"),
    ("rich.rtf", rb"{\rtf1\ansi The board denied it.}", "DOCX"),
    ("bare.html", b"<!doctype html><html><head><title>Pier</title></head><body></body></html>", "article"),
    ("menu.html", b"<html><body><nav><a href='/'>Front page</a></nav><script>x = 1</script></body></html>", "article"),
    ("text.jsonl", b'{"text": "Sold."}\nThe board denied it.\n', "one JSON object a line"),
    ("deep.jsonl", b"[" * 100_000, "one JSON object a line"),
    ("keyless.jsonl", b'{"title": "Sold."}', '{"text"'),
    ("number.jsonl", b'{"text": 7}', '{"text"'),
    ("list.jsonl", b'["text"]', '{"text"'),
    ("blank.jsonl", b'{"text": " "}', "hold text"),
    ("columns.csv", b"id,headline\n1,Sold.\n", "name a column `text`"),
    ("blank.csv", b"text,id\n,\n", "hold text"),
    ("short.csv", b"id,text\n1,Sold.\n2\n", "in quotes"),
    ("long.csv", b"id,text\n1,Sold, he said.\n", "in quotes"),
    ("unclosed.csv", b'id,text\n1,"Sold, he said.\n2,Denied.\n', "in quotes"),
]


@pytest.mark.parametrize(("name", "content", "remedy"), BAD, ids=[name for name, _, _ in BAD])
def test_bad_file_is_one_line_with_name_and_remedy(tmp_path, capfd, caplog, recwarn, name, content, remedy):
    path = write(tmp_path / name, content)
    assert complaint(path, remedy).startswith(path)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    assert not recwarn.list


def complaint(path: str, remedy: str, **options) -> str:
    with pytest.raises(InputError) as caught:
        read(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert remedy in message
    return message


@pytest.mark.parametrize(("name", "line"), [("text.jsonl", 2), ("short.csv", 3), ("long.csv", 2), ("unclosed.csv", 3)])
def test_bad_line_is_numbered(tmp_path, name, line):
    content = next(content for bad, content, _ in BAD if bad == name)
    path = write(tmp_path / name, content)
    assert complaint(path, "").startswith(f"{path}:{line}: ")


def test_missing_file(tmp_path):
    path = str(tmp_path / "nowhere.txt")
    assert complaint(path, "check the path").startswith(path)


def test_folder_is_no_file(tmp_path):
    assert complaint(str(tmp_path), "name a file").startswith(str(tmp_path))


def test_no_permission(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    path = write(tmp_path / "pier.txt", PROSE)
    monkeypatch.setattr(builtins, "open", refuse)
    assert complaint(path, "chmod").startswith(path)


@pytest.mark.parametrize("path", ["", "a\0b", "pier\n.txt"])
def test_odd_path_is_shown_on_one_line(path):
    complaint(path, "check the path")


def test_bad_standard_input_is_named():
    assert "standard input" in complaint("-", "give", stdin=io.BytesIO(b""))


@pytest.mark.parametrize(
    ("limit", "name", "content"),
    [
        ("TEXT_LIMIT", "pier.txt", PROSE.encode()),
        ("HTML_LIMIT", "pier.html", PAGE.encode()),
        ("PAGES_LIMIT", "pier.pdf", pdf(["Sold."])),
        ("PAGES_LIMIT", "pier.docx", word("Sold.")),
        ("UNZIPPED_LIMIT", "pier.docx", word("Sold.")),
    ],
)
def test_too_large(tmp_path, monkeypatch, limit, name, content):
    monkeypatch.setattr(reading, limit, 10)
    path = write(tmp_path / name, content)
    assert complaint(path, "split it").startswith(path)


def test_limits():
    assert (reading.TEXT_LIMIT, reading.PAGES_LIMIT, reading.UNZIPPED_LIMIT) == (200e6, 50e6, 500e6)


def test_zip_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "UNZIPPED_LIMIT", 1_000_000)
    monkeypatch.setattr(reading, "apart", None)
    complaint(write(tmp_path / "bomb.docx", archive(word__document_xml=bytes(5_000_000))), "split it")


def test_what_a_library_raises_becomes_an_input_error(tmp_path, monkeypatch):
    def fail(*_):
        raise RecursionError("too deep")

    monkeypatch.setattr(pypdf.PageObject, "extract_text", fail)
    with pytest.raises(InputError, match="pier.pdf: the PDF is broken; export"):
        reading.pdf_text("pier.pdf", pdf(["Sold."]))


# Finding files


def test_find_yields_files_as_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / ".hidden.txt", PROSE)
    write(tmp_path / "picture.png", b"\x89PNG\0")
    given = ["./.hidden.txt", "-", "picture.png"]
    assert list(find(given)) == given


def test_find_walks_folders_in_sorted_order(tmp_path):
    names = ["a.txt", "b/c.html", "b/d/e.pdf", "b.csv", "z.docx"]
    for name in reversed(names):
        write(tmp_path / name, word("Sold.") if name.endswith("docx") else "Sold.")
    write(tmp_path / "no-suffix", word("Sold."))
    for skipped in (".hidden.txt", ".git/config", "b/.x/y.txt"):
        write(tmp_path / skipped, PROSE)
    write(tmp_path / "picture.png", b"\x89PNG\r\n\0\0")
    write(tmp_path / "things.zip", archive(a=b"Sold."))
    write(tmp_path / "table.xls", b"\xd0\xcf\x11\xe0" + bytes(99))
    os.symlink(tmp_path / "gone", tmp_path / "broken-link")
    found = [os.path.relpath(path, tmp_path) for path in find([str(tmp_path)])]
    assert found == ["a.txt", "b/c.html", "b/d/e.pdf", "b.csv", "no-suffix", "z.docx"]


def test_find_keeps_what_was_meant_to_be_read(tmp_path):
    """A broken article in a folder is reported, not passed over."""
    write(tmp_path / "a.pdf", b"\0\0")
    write(tmp_path / "b.docx", b"PK\x03\x04")
    write(tmp_path / "c.doc", b"\xd0\xcf\x11\xe0" + bytes(99))
    write(tmp_path / "d", ("“Sold?” 🙂" * 2000).encode("utf-16-le"))
    write(tmp_path / "e", PROSE.encode("utf-32"))
    write(tmp_path / "f.txt", b"Sold\0")
    write(tmp_path / "g", b"Sold, \0\0 he said")
    assert "".join(os.path.basename(path)[0] for path in find([str(tmp_path)])) == "abcdef"


def test_find_survives_loops(tmp_path):
    write(tmp_path / "a" / "pier.txt", PROSE)
    os.symlink(tmp_path, tmp_path / "a" / "up", target_is_directory=True)
    os.symlink(tmp_path / "self", tmp_path / "self")
    assert list(find([str(tmp_path)])) == [str(tmp_path / "a" / "pier.txt")]


def test_find_goes_on_after_a_bad_path(tmp_path):
    path = write(tmp_path / "full" / "pier.txt", PROSE)
    write(tmp_path / "bare" / "picture.png", b"\x89PNG\0")
    bare, gone = str(tmp_path / "bare"), str(tmp_path / "gone")
    first, second, third, fourth = find([gone, bare, "a\0b", path])
    assert isinstance(first, InputError)
    assert str(first).startswith(gone)
    assert "check the path" in str(first)
    assert isinstance(second, InputError)
    assert str(second).startswith(bare)
    assert "add text" in str(second)
    assert isinstance(third, InputError)
    assert fourth == path


def test_find_reports_a_closed_folder(tmp_path, monkeypatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", refuse)
    (error,) = find([str(tmp_path)])
    assert isinstance(error, InputError)
    assert "chmod" in str(error)


@pytest.fixture
def small_parts(monkeypatch):
    """Every file counts as a large one and comes in many parts."""
    monkeypatch.setattr(reading, "PART", 60)


def whole(parts: list[Document]) -> Document:
    """Parts put together again."""
    text, rows = "", []
    for part in parts:
        assert len(text) <= part.start <= len(text) + 1
        text = text.ljust(part.start, "\n") + part.text
        rows += [(start + part.start, end + part.start) for start, end in part.rows or ()]
    return Document(parts[0].file, text, tuple(rows) if parts[0].rows else None)


RECORDS = ["The ministry denied it.", "", "Rain is expected\nin the north.", "Déjà vu, “again”.", "x" * 200] * 4
LARGE = {
    "a.jsonl": "\ufeff" + "\r\n".join(json.dumps({"text": text, "id": n}) for n, text in enumerate(RECORDS)) + "\n\n",
    "b.csv": "\n\nid,text\r\n" + "".join(f'{n},"{text}"\r\n' for n, text in enumerate(RECORDS)),
    "c.txt": "\n\n".join(RECORDS) + "\r\n\r\nThe end.\n",
    "d.txt": "\n".join(text for text in RECORDS if text),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_large_file_comes_in_parts_that_make_up_what_read_gives(name, tmp_path, small_parts):
    path = tmp_path / name
    path.write_bytes(LARGE[name].encode())
    found = list(parts(str(path)))
    assert len(found) > 3
    assert whole(found) == read(str(path))
    if not name.endswith(".csv"):  # standard input has no suffix: a table is taken for text
        piped = parts("-", stdin=io.BytesIO(path.read_bytes()))
        assert list(piped) == [replace(part, file="-") for part in found]


@pytest.mark.parametrize(
    ("name", "last", "said"),
    [
        ("a.jsonl", b"{]\n", "a.jsonl:22: the line is not JSON"),
        ("b.csv", b"1,2,3,4,5\n", "the row has 5 cells instead of 2"),
    ],
)
def test_a_fault_at_the_end_of_a_large_file_is_said_before_anything_is_given(name, last, said, tmp_path, small_parts):
    path = tmp_path / name
    path.write_bytes(LARGE[name].encode() + last)
    with pytest.raises(InputError, match=said):
        next(parts(str(path)))


def test_a_large_file_that_is_not_utf8_or_is_of_another_kind_comes_whole(tmp_path, small_parts):
    path = tmp_path / "old.txt"
    path.write_bytes(("Die Behörde dementiert, daß Züge fahren. " * 9).encode("latin-1"))
    page = tmp_path / "page.html"
    page.write_text("<html><body>" + "<p>The ministry denied on Monday that the dam had been mined.</p>" * 9)
    for file in (path, page):
        assert list(parts(str(file))) == [read(str(file))]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b"\n" * 500),
        ("a.jsonl", b"\n" * 500),
        ("a.jsonl", b'{"text": " "}\n' * 50),
        ("a.csv", b"text\n" + b"\n" * 500),
    ],
)
def test_a_large_file_without_text_is_refused(name, content, tmp_path, small_parts):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="empty"):
        list(parts(str(tmp_path / name)))


def test_a_long_run_of_blank_records_is_kept_where_records_follow(tmp_path, small_parts):
    path = tmp_path / "a.jsonl"
    texts = ["The mayor denied it."] * 5 + [""] * 200 + ["Rain fell."] * 5
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    assert whole(list(parts(str(path)))) == read(str(path))


def test_text_that_begins_with_blank_lines_is_cut_all_the_same(tmp_path, small_parts):
    path = tmp_path / "a.txt"
    path.write_text("\n\n" + "The mayor denied it.\n" * 200)
    found = list(parts(str(path)))
    assert max(len(part.text) for part in found) < 200
    assert whole(found) == read(str(path))


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.txt", b""), ("a.txt", b" \n"), ("a.pdf", b"%PDF-1.4 broken"), ("a.jsonl", b"{]"), ("a.csv", b"a,b\n1,2\n")],
)
def test_parts_says_of_a_faulty_file_what_read_says(name, content, tmp_path):
    path = str(tmp_path / name)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        list(parts(path))
    with pytest.raises(InputError) as expected:
        read(path)
    assert str(caught.value) == str(expected.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_fault_in_a_named_pipe_names_the_pipe(tmp_path):
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    writer = subprocess.Popen([sys.executable, "-c", "import sys; open(sys.argv[1], 'w').write('')", pipe])
    with pytest.raises(InputError, match="pipe: the file is empty"):
        list(parts(pipe))
    assert writer.wait() == 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("text", [PROSE, PROSE * 200])
def test_a_named_pipe_is_read(text, tmp_path, small_parts):
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    writer = subprocess.Popen(
        [sys.executable, "-c", "import sys; open(sys.argv[1], 'w').write(sys.argv[2])", pipe, text]
    )
    found = whole(list(parts(pipe)))
    assert writer.wait() == 0
    assert (found.file, found.text) == (pipe, text)


def test_what_parts_cannot_open_is_refused_as_by_read(tmp_path):
    for path in (str(tmp_path / "none.txt"), str(tmp_path)):
        with pytest.raises(InputError) as caught:
            list(parts(path))
        with pytest.raises(InputError) as expected:
            read(path)
        assert str(caught.value) == str(expected.value)
