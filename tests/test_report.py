"""What the four report formats promise, above all towards hostile articles and file names."""

import csv
import io
import json
import re
import time
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

import pytest

from allegedly import report
from allegedly.errors import InputError
from allegedly.labels import LABELS
from allegedly.report import CSV_COLUMNS, FORMATS, FORMULA, Labelled, columns, guarded, write

SCRIPT = "<script>alert(1)</script>"
IMAGE = '"><img src=x onerror=alert(1)>'


def sentence(text, label="background", index=0, file="news.txt", start=0, probability=0.87654321):
    rest = (1 - probability) / 3
    probabilities = {name: probability if name == label else rest for name in LABELS}
    return Labelled(file, index, start, start + len(text), text, label, probability, probabilities)


def article(source, *labelled, file="news.txt"):
    """Return a row for each (text, label), its offsets found in source."""
    rows, end = [], 0
    for index, (text, label) in enumerate(labelled):
        start = source.index(text, end)
        end = start + len(text)
        rows.append(sentence(text, label, index, file, start))
    return rows


def written(rows, format, **options):
    stream = io.StringIO(newline="")
    write(rows, stream, format=format, **options)
    return stream.getvalue()


def records(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


class Page(HTMLParser):
    """The tags, ids, links and visible text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.attributes, self.words = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.attributes.extend((tag, name, value) for name, value in attrs.items())
        if "id" in attrs:
            self.ids.append(attrs["id"])
        if "href" in attrs:
            self.links.append(attrs["href"])

    def handle_data(self, data):
        if self.tags and self.lasttag != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join("".join(self.words).split())


MIXED = [
    *(sentence(f"Warned {i}.", "warning", i) for i in range(2)),
    sentence("Denied.", "denial", 2),
    *(sentence(f"Alleged {i}.", "allegation", i) for i in range(3, 6)),
    *(sentence(f"Said {i}.", "background", i) for i in range(6, 14)),
]
HOSTILE = [
    sentence(SCRIPT, "warning", 0, file=IMAGE),
    sentence(IMAGE, "denial", 1, file=IMAGE),
    sentence("' onmouseover='alert(1)", "background", 2, file=IMAGE),
    sentence("</style></mark>{{ 7 * 7 }}&lt;", "allegation", 0, file=SCRIPT),
]


def test_formats():
    assert FORMATS == ("table", "jsonl", "csv", "html")


def test_unknown_format_is_refused():
    with pytest.raises(ValueError, match="xml.*table, jsonl, csv, html"):
        written(MIXED, "xml")


@pytest.mark.parametrize("format", FORMATS)
def test_no_rows(format):
    text = written([], format)
    assert {"jsonl": text == "", "csv": records(text) == []}.get(format, True)


@pytest.mark.parametrize("format", FORMATS)
def test_lone_surrogates_become_replacement_characters(format):
    text = written([sentence("A \ud800 b \udcff c.", "denial", file="bad\udce9.txt")], format)
    assert "A \ufffd b \ufffd c." in text
    assert "bad\ufffd.txt" in text
    text.encode("utf-8")


# jsonl


def test_jsonl_fields_in_order():
    line, end = written([sentence("He “denied” it – 政府.", "denial", 3, start=10)], "jsonl").split("\n")
    assert end == ""
    assert "He “denied” it – 政府." in line
    assert list(json.loads(line).items()) == [
        ("file", "news.txt"),
        ("index", 3),
        ("start", 10),
        ("end", 30),
        ("text", "He “denied” it – 政府."),
        ("label", "denial"),
        ("probability", 0.8765),
        ("probabilities", {"warning": 0.0412, "denial": 0.8765, "allegation": 0.0412, "background": 0.0412}),
        ("out_of_scope", None),
    ]
    assert list(json.loads(line)["probabilities"]) == list(LABELS)


def test_jsonl_keeps_an_object_on_its_line():
    text = written([sentence("One\r\ntwo\nthree."), sentence("Four.", index=1)], "jsonl")
    assert [json.loads(line)["text"] for line in text.split("\n")[:-1]] == ["One\r\ntwo\nthree.", "Four."]


def test_jsonl_refuses_what_is_not_json():
    with pytest.raises(ValueError, match="JSON compliant"):
        written([sentence("A.", probability=float("nan"))], "jsonl")


@pytest.mark.parametrize(("format", "header"), [("jsonl", 0), ("csv", 1), ("table", 1)])
def test_rows_are_written_as_they_come(format, header):
    def rows():
        for index in range(3):
            yield sentence(f"Sentence {index}.", index=index)
            assert stream.getvalue().count("\n") == header + index + 1
        raise RuntimeError("the model is gone")

    stream = io.StringIO(newline="")
    with pytest.raises(RuntimeError):
        write(rows(), stream, format=format)
    assert stream.getvalue().count("\n") == header + 3


# csv


def test_csv_round_trips():
    text = 'She said: "No, never",\r\nand left; so\ndid\rhe.'
    (record,) = records(written([sentence(text, "denial", 4, 'a, "b".txt', 7)], "csv"))
    assert tuple(record) == CSV_COLUMNS
    assert record == {
        "file": 'a, "b".txt',
        "index": "4",
        "start": "7",
        "end": str(7 + len(text)),
        "label": "denial",
        "probability": "0.8765",
        "p_warning": "0.0412",
        "p_denial": "0.8765",
        "p_allegation": "0.0412",
        "p_background": "0.0412",
        "out_of_scope": "",
        "text": text,
    }


def test_csv_columns_and_line_ends():
    text = written(MIXED, "csv")
    header = "file,index,start,end,label,probability,p_warning,p_denial,p_allegation,p_background,out_of_scope,text"
    assert text.startswith(header + "\r\n")
    assert text.count("\r\n") == text.count("\n") == 1 + len(MIXED)


@pytest.mark.parametrize(
    "cell",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\tA", "\rA", "\nA", "  =1", " \t\n@A", "\ufeff=1", "\u200b=1", "＝1", "\u00a0-1"],
)
def test_csv_guards_formulas(cell):
    (record,) = records(written([sentence(cell, file=cell)], "csv"))
    assert record["text"] == record["file"] == "'" + cell


@pytest.mark.parametrize("cell", ["", "A = b", "'Tis so.", "(=1)", " plain", "1-2", "“-”"])
def test_csv_leaves_other_cells_alone(cell):
    (record,) = records(written([sentence(cell)], "csv"))
    assert record["text"] == cell


@pytest.mark.parametrize("cell", ["=1", "'=1", "''-1", "'Tis so.", "plain", "\t", "'"])
def test_csv_guard_can_be_taken_off(cell):
    kept = guarded(cell)
    assert (kept[1:] if kept.startswith("'") and FORMULA.match(kept) else kept) == cell


# table

LONG = "The foreign minister urged the neighbouring country to refrain from any delivery of weapons. " * 4


def test_table_shows_label_probability_and_text():
    lines = written([sentence("They  denied\n it.", "denial")], "table", width=80).splitlines()
    assert lines == [
        "news.txt",
        "denial      0.88  They denied it.",
        "1 sentence: 0 warnings, 1 denial, 0 allegations, 0 background",
    ]


def test_table_counts():
    last = written(MIXED, "table", width=80).splitlines()[-1]
    assert last == "14 sentences: 2 warnings, 1 denial, 3 allegations, 8 background"


def test_table_sums_up_each_file():
    text = written([sentence("A.", "denial", file="a"), sentence("B.", "warning", file="b")], "table", width=80)
    assert text.count("1 sentence: ") == 2
    assert text.index("a\n") < text.index("1 denial") < text.index("b\n") < text.index("1 warning")


def test_table_tells_a_file_given_twice_apart():
    assert written([sentence("A."), sentence("A.")], "table", width=80).count("news.txt") == 2


@pytest.mark.parametrize("width", [18, 20, 33, 34, 40, 80, 200])
@pytest.mark.parametrize(
    "text", [LONG, "x" * 300, "政府は武器の売却に反対した。" * 20, "e\u0301" * 100, LONG + "y" * 90]
)
def test_table_stays_within_width(width, text):
    table = written([sentence(text, "allegation", file="a/long/path/" * 9)], "table", width=width)
    assert max(map(columns, table.splitlines())) <= width
    assert re.sub(r"\s", "", text) in re.sub(r"\s", "", table)


def test_table_indents_further_lines():
    first, *rest = written([sentence(LONG, "allegation")], "table", width=70).splitlines()[1:-1]
    assert first.startswith("allegation  0.88  The")
    assert rest
    assert all(re.match(r" {18}\S", line) for line in rest)


def test_table_takes_the_width_of_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    assert 40 < max(map(len, written([sentence(LONG)], "table").splitlines()[:-1])) <= 50


def test_table_colors_the_labels():
    text = written([sentence("A.", label, index) for index, label in enumerate(LABELS)], "table", color=True, width=80)
    for label, code in {"warning": 33, "denial": 36, "allegation": 31, "background": 2}.items():
        assert f"\x1b[{code}m{label}" in text
    assert "\x1b" not in written(MIXED, "table", color=False, width=80)


@pytest.mark.parametrize(
    "command",
    [
        "\x1b[31m",
        "\x1b[2J",
        "\x1b]0;title\x07",
        "\x1b]8;;http://example.org\x1b\\",
        "\x9b1m",
        "\x07",
        "\x00",
        "\x7f",
        "\x1b[?25l",
        "\u202e",
        "\u2066",
        "\x08",
        "\x85",
        "\U000e0041",
    ],
)
def test_table_and_page_strip_terminal_commands(command):
    rows = [sentence(f"He {command}left.", file=f"a{command}b")]
    table = written(rows, "table", width=80).splitlines()
    assert table[0] in ("ab", "a b")
    assert table[1] == "background  0.88  He left."
    assert command not in written(rows, "html")


@pytest.mark.parametrize("text", ["\x9d" * 200_000, "\x1b[" * 200_000, "\x1b]" * 200_000, "'" * 200_000, " " * 200_000])
def test_hostile_repetition_takes_no_time(text):
    begun = time.perf_counter()
    for format in FORMATS:
        written([sentence(text)], format)
    assert time.perf_counter() - begun < 5


def test_an_open_terminal_command_hides_no_text():
    assert "]0;He left." in written([sentence("\x1b]0;He left.")], "table", width=80)


# html

SOURCE = "A headline\n\nThey warned him. He denied it.\nAn aide  said he lied.\n\nSubscribe now."
STORY = article(
    SOURCE,
    ("A headline", "background"),
    ("They warned him.", "warning"),
    ("He denied it.", "denial"),
    ("An aide  said he lied.", "allegation"),
    ("Subscribe now.", "background"),
)


def test_page_escapes_hostile_text_and_names():
    text = written(HOSTILE, "html", full_text={IMAGE: SCRIPT})
    assert "<script" not in text.lower()
    assert "<img" not in text.lower()
    page = Page(text)
    assert SCRIPT in page.text
    assert IMAGE in page.text
    assert "{{ 7 * 7 }}&lt;" in page.text
    assert not [name for _, name, _ in page.attributes if name.startswith("on") or name == "style"]


def test_page_loads_nothing_and_allows_only_its_own_style():
    text = written(HOSTILE + STORY, "html")
    page = Page(text)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    hashed = b64encode(sha256(style.encode()).digest()).decode()
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', text)
    assert policy == f"default-src 'none'; style-src 'sha256-{hashed}'; base-uri 'none'; form-action 'none'"
    assert not {"script", "img", "link", "iframe", "object", "embed", "form", "base"} & set(page.tags)
    assert not [name for _, name, _ in page.attributes if name in ("src", "srcset", "action", "data")]
    assert not re.search(r"url\(|@import|https?:", text)
    assert all(link.startswith("#") for link in page.links)


def test_page_links_each_finding_to_its_sentence():
    page = Page(written([*STORY, *STORY, *HOSTILE], "html"))
    assert len(page.links) == 3 + 3 + 3
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_page_shows_prose_with_paragraphs():
    text = written(STORY, "html", full_text={"news.txt": SOURCE})
    found = [Page(part).text for part in re.findall(r'<p dir="auto">.*?</p>', text, re.DOTALL)]
    assert found == [
        "A headline",
        "warning 0.88 They warned him. denial 0.88 He denied it.",
        "allegation 0.88 An aide said he lied.",
        "Subscribe now.",
    ]
    assert written(STORY, "html").count('<p dir="auto">') == 1


def test_page_breaks_hard_wrapped_text_at_empty_lines_only():
    source = "They warned\nhim. He left.\nHe denied it.\n\nThe end."
    rows = article(
        source,
        ("They warned\nhim.", "warning"),
        ("He left.", "background"),
        ("He denied it.", "denial"),
        ("The end.", "background"),
    )
    assert written(rows, "html", full_text={"news.txt": source}).count('<p dir="auto">') == 2


def test_page_puts_no_blank_where_the_source_has_none():
    source = "政府は警告した。同省は否定した。"
    rows = article(source, ("政府は警告した。", "background"), ("同省は否定した。", "background"))
    assert source in Page(written(rows, "html", full_text={"news.txt": source})).text


def test_page_names_each_label_beside_its_sentence():
    text = written(STORY, "html", full_text={"news.txt": SOURCE})
    for label, words in [("warning", "They warned him."), ("denial", "He denied it.")]:
        assert re.search(rf'<mark class="{label}"[^>]*><span class="tag">{label} 0\.88</span> {words}</mark>', text)
    assert 'title="warning 0.88, denial 0.04, allegation 0.04, background 0.04"' in text
    assert "<mark" not in written([sentence("Nothing here.")], "html")


def test_page_filters_by_label_with_counts():
    text = written(MIXED, "html")
    for label, words in zip(LABELS, ["2 warnings", "1 denial", "3 allegations", "8 background"], strict=True):
        assert re.search(rf'<input type="checkbox" id="show-{label}" checked>{words}</label>', text)
        assert f"#show-{label}:not(:checked)" in text
    assert "14 sentences: 2 warnings, 1 denial, 3 allegations, 8 background" in text


def test_page_says_what_a_label_is_and_serves_dark_print_and_phone():
    text = written(STORY, "html")
    assert "A label says what a sentence does, not whether it is true." in Page(text).text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert 'name="viewport"' in text


def test_a_page_that_no_browser_shows_is_refused(monkeypatch):
    monkeypatch.setattr(report, "MOST_ON_A_PAGE", 13)
    with pytest.raises(InputError, match="news.txt: makes the page longer than 13 sentences.*--format jsonl"):
        written(MIXED, "html")
    assert written(MIXED[:13], "html")


def test_page_says_so_when_nothing_was_found():
    assert "No warning, denial or allegation." in written([sentence("It rained.")], "html")
