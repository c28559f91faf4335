"""Files that were made to do harm, for the tests and for fuzzing: a name and what makes the bytes."""

import io
import random
import zipfile
import zlib
from collections.abc import Callable

MB = 1_000_000
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"


def fill(piece: str | bytes, size: int, before: str | bytes = "") -> bytes:
    """``before``, then ``piece`` again and again up to ``size`` bytes."""
    piece, before = (part.encode() if isinstance(part, str) else part for part in (piece, before))
    return before + piece * ((size - len(before)) // len(piece))


def docx(body: str, *, prolog: str = "") -> bytes:
    stream = io.BytesIO()
    kind = "application/vnd.openxmlformats"
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{PACKAGE}/content-types">'
            f'<Default Extension="rels" ContentType="{kind}-package.relationships+xml"/>'
            '<Override PartName="/word/document.xml" '
            f'ContentType="{kind}-officedocument.wordprocessingml.document.main+xml"/></Types>',
        )
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{PACKAGE}/relationships">'
            f'<Relationship Id="r" Type="{OFFICE}" Target="word/document.xml"/></Relationships>',
        )
        document = f'<w:document xmlns:w="{WORD}"><w:body>{body}</w:body></w:document>'
        archive.writestr("word/document.xml", prolog + document)
    return stream.getvalue()


def laughs() -> bytes:
    """Entities that double thirty times."""
    entities = "".join(f'<!ENTITY a{i} "&a{i - 1};&a{i - 1};">' for i in range(1, 31))
    prolog = f'<!DOCTYPE x [<!ENTITY a0 "ha">{entities}]>'
    return docx("<w:p><w:r><w:t>Sold. &a30;</w:t></w:r></w:p>", prolog=prolog)


def outside() -> bytes:
    """An entity that asks for a file of this machine."""
    prolog = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    return docx("<w:p><w:r><w:t>Sold. &a;</w:t></w:r></w:p>", prolog=prolog)


def pdf(*objects: str | bytes, trailer: str = "") -> bytes:
    data, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%b\nendobj\n" % (number, body.encode() if isinstance(body, str) else body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R {trailer}>>\nstartxref\n{len(data)}\n%%EOF\n".encode()
    return data + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + end


def page(content: bytes, kind: str = "") -> bytes:
    """A PDF of one page."""
    return pdf(
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Count 1 /Kids [4 0 R] >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Resources << /Font << /F 3 0 R >> >> /Contents 5 0 R >>",
        b"<< /Length %d %b >>\nstream\n%b\nendstream" % (len(content), kind.encode(), content),
    )


def endless() -> bytes:
    """Ten times ten times … pages, thirty times over, out of 33 objects."""
    nodes = [f"<< /Type /Pages /Count {10**20} /Kids [{f'{3 + i} 0 R ' * 10}] >>" for i in range(30)]
    return pdf("<< /Type /Catalog /Pages 2 0 R >>", *nodes, "<< /Type /Page /MediaBox [0 0 9 9] >>")


def noise(low: int) -> bytes:
    return bytes(random.Random(3).choices(range(low, 256), k=10 * MB))


BODY = "<html><body>"
FILES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "one line of 10 MB": ("a.txt", lambda: fill("word ", 10 * MB)),
    "one word of 10 MB": ("a.txt", lambda: fill("x", 10 * MB)),
    "letters of 10 MB": ("a.txt", lambda: fill("a ", 10 * MB)),
    "stops of 10 MB": ("a.txt", lambda: fill('."', 10 * MB)),
    "notes of 10 MB": ("a.txt", lambda: fill("[1]", 10 * MB, "Sold.")),
    "blanks around one word": ("a.txt", lambda: fill(" ", 5 * MB) + b"x" + fill("\u200b", 5 * MB)),
    "100,000 tiny lines": ("a.txt", lambda: b"No.\n" * 100_000),
    "accents without end": ("a.txt", lambda: fill("\u0301", 10 * MB, "e")),
    "an old code page": ("a.txt", lambda: fill("Die Behörde bestritt es auch. ".encode("latin-1"), 10 * MB)),
    "UTF-16 without a mark": ("a.txt", lambda: fill("Die Behörde bestritt es.\n".encode("utf-16-le"), 10 * MB)),
    "noise": ("a.txt", lambda: noise(32)),
    "high noise": ("a.txt", lambda: noise(128)),
    "NUL in UTF-8": ("a.txt", lambda: fill("The mayor denied it. ", 9 * MB) + b"\0"),
    "comments that could end in many ways": ("a", lambda: fill("<!---->", 8 * MB)),
    "deep HTML": ("a.html", lambda: fill("<div>", 9 * MB, BODY)),
    "paragraphs without end": ("a.html", lambda: fill("<p>a", 9 * MB, BODY)),
    "links without end": ("a.html", lambda: fill("<a href=x>a</a>", 9 * MB, BODY)),
    "tables in tables": ("a.html", lambda: fill("<table><tr><td>a", 9 * MB, BODY)),
    "only <": ("a.html", lambda: fill("<", 9 * MB)),
    "a bomb of empty paragraphs": ("a.docx", lambda: docx("<w:p/>" * (10 * MB))),
    "a bomb of text": ("a.docx", lambda: docx("<w:p><w:r><w:t>The mayor denied it.</w:t></w:r></w:p>" * MB)),
    "a bomb of entities": ("a.docx", laughs),
    "a file of this machine": ("a.docx", outside),
    "an endless PDF": ("a.pdf", endless),
    "a PDF whose pages hold each other": (
        "a.pdf",
        lambda: pdf("<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Count 9 /Kids [2 0 R 2 0 R] >>"),
    ),
    "a PDF bomb": ("a.pdf", lambda: page(zlib.compress(b" " * (500 * MB)), "/Filter /FlateDecode")),
    "a PDF of brackets": ("a.pdf", lambda: page(fill("[", 9 * MB))),
    "a line of JSON": ("a.jsonl", lambda: fill("word ", 10 * MB, '{"text": "') + b'"}'),
    "deep JSON": ("a.jsonl", lambda: fill("[", 10 * MB)),
    "lists in JSON": ("a.jsonl", lambda: fill("[],", 10 * MB, '{"text": "a", "b": [') + b"1]}"),
    "a number in JSON": ("a.jsonl", lambda: fill("9", 10 * MB, '{"text": "a", "b": ') + b"}"),
    "100,000 records": ("a.jsonl", lambda: b'{"text": "No."}\n' * 100_000),
    "commas": ("a.csv", lambda: fill(",", 10 * MB, "text,b\n")),
    "a heading of commas": ("a.csv", lambda: fill(",", 10 * MB)),
    "a quotation without end": ("a.csv", lambda: fill("a", 10 * MB, 'text,b\n"')),
}
