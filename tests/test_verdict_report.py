"""How findings are shown: a table that fits, a page that holds what decides in its place and runs nothing."""

import io
import re

import pytest

from allegedly.claim_reading import Claim, Source
from allegedly.report import digest
from allegedly.verdict_report import CAVEAT, Mark, excerpts, write
from allegedly.verification import Evidence, Finding

TEXT = "Dam holds\n\nThe dam held on Monday. " + "Rain fell. " * 200 + "The mayor left. End."
ARTICLE = "The paper says the dam burst. Snow fell."


def evidence(text, index, score=0.9, file="a.txt"):
    start = TEXT.index(text)
    return Evidence(file, index, start, start + len(text), text, score)


def finding(verdict, *rationale, claim="The dam burst.", number="1", given=None, source=None):
    others = [name for name in ("SUPPORTED", "REFUTED", "NOT_ENOUGH_INFO") if name != verdict]
    probabilities = {verdict: 0.9} | dict.fromkeys(others, 0.05)
    return Finding(Claim(number, claim, given, source), verdict, 0.9, probabilities, tuple(rationale))


FINDINGS = [
    finding("REFUTED", evidence("The dam held on Monday.", 1), source=Source("news.txt", 0, 29, ARTICLE[:29])),
    finding(
        "SUPPORTED", evidence("The dam held on Monday.", 1, 0.7), evidence("The mayor left.", 202), claim="It held."
    ),
    finding("NOT_ENOUGH_INFO", claim="Cheese <b>rules</b> & more."),
    finding("SUPPORTED", Evidence(None, 1, None, None, "It rained.", 0.8), claim="Wet.", given=("x", "It rained.")),
]


def written(format, findings=FINDINGS, **options):
    stream = io.StringIO()
    write(findings, stream, format=format, **options)
    return stream.getvalue()


def page(findings=FINDINGS):
    return written("html", findings, full_text={"a.txt": TEXT, "news.txt": ARTICLE})


@pytest.mark.parametrize("width", [24, 40, 80])
def test_the_table_fits_and_ends_with_counts_and_caveat(width):
    lines = written("table", width=width).splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    assert text.endswith(f"4 claims: 2 supported, 1 refuted, 1 not settled {CAVEAT}")
    assert "nothing relevant found" in text


def test_the_table_is_coloured_only_on_request():
    assert "\x1b[31mREFUTED" in written("table", color=True, width=80)
    assert "\x1b" not in written("table", width=80)


def test_terminal_commands_in_claims_are_not_passed_on():
    assert "\x1b" not in written("table", [finding("SUPPORTED", claim="\x1b[31mred\x1b[0m")], width=80)


def test_every_link_of_the_page_leads_somewhere():
    text = page()
    targets = re.findall(r'href="#([^"]+)"', text)
    assert targets
    for target in targets:
        assert text.count(f'id="{target}"') == 1


def test_the_page_marks_what_decides_in_its_document():
    text = page()
    marks = re.findall(r"<mark[^>]*>(.*?)</mark>", text, re.S)
    held = [mark for mark in marks if "The dam held on Monday." in mark]
    assert len(held) == 1
    assert "claim 1: refuted" in held[0]
    assert "claim 2: supported" in held[0]
    assert "Dam holds" in text  # what stands around it
    assert text.count("Rain fell.") < 200  # not all of it


def test_the_page_shows_where_an_article_alleges_a_claim():
    assert re.search(
        r'<mark class="REFUTED" id="a1">.*?claim 1: refuted.*?The paper says the dam burst\.</mark>', page()
    )


def test_the_page_says_what_a_verdict_is():
    assert CAVEAT in page()


def test_what_is_not_on_hand_is_shown_alone():
    text = written("html")
    assert "The mayor left." in text
    assert "<article" not in text


def test_the_page_runs_nothing_and_loads_nothing():
    text = page([finding("REFUTED", claim="<script>alert(1)</script>"), *FINDINGS])
    assert "<script" not in text
    assert "Cheese &lt;b&gt;rules&lt;/b&gt; &amp; more." in text
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.S)
    policy = f"default-src 'none'; style-src 'sha256-{digest(style)}'; base-uri 'none'; form-action 'none'"
    assert f'content="{policy}"' in text
    assert "style=" not in text


def test_excerpts_join_what_is_near_and_cut_no_word():
    marks = [
        Mark(2000, 2010, 5, 1, "REFUTED", 0.9),
        Mark(2100, 2110, 6, 1, "REFUTED", 0.8),
        Mark(9000, 9005, 9, 2, "SUPPORTED", 1.0),
    ]
    text = ("abcdefghi " * 1200).strip()
    near, far = excerpts(text, reversed(marks))
    assert [len(piece.marks) for piece in near.pieces] == [0, 1, 0, 1, 0]
    assert near.cut_before
    assert near.cut_after
    for excerpt in (near, far):
        assert set("".join(piece.text for piece in excerpt.pieces).split()) == {"abcdefghi"}
    whole = excerpts("One. Two.", [Mark(0, 4, 0, 1, "REFUTED", 0.9)])[0]
    assert not whole.cut_before
    assert not whole.cut_after
    assert "".join(piece.text for piece in whole.pieces) == "One. Two."
