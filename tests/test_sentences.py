"""Sentence splitting against the gold cases in `tests/data/sentences.jsonl`, and what must hold for any text."""

import json
from pathlib import Path

import pytest

from allegedly.sentences import BLANK, Sentence, lines, split

CASES = [json.loads(line) for line in (Path(__file__).parent / "data" / "sentences.jsonl").open(encoding="utf-8")]

# Cases the splitter is known to get wrong; strict, so that one that comes right must be taken off the list.
HARD = {
    "us then name",
    "us then people",
    "lower-case furniture",
}

# What the splitter reaches on the gold cases, rounded down.
REACHED = 0.99

NASTY = [
    "",
    " ",
    "\ufeff",
    "\u200b\n\u200b",
    ".",
    "...",
    ". . . .",
    "?!?!?! ",
    '"',
    '."',
    '. "',
    "1.",
    "1. 2. 3.",
    "- \n- \n• ",
    "A.B.C. D. E.",
    "\r\n\r\r\n\n",
    "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg",
    "He left.\x00 She stayed.",
    "He left. \ud800 She stayed.",
    "😀. 😀! 😀? 😀",
    "“‘«([{ . }])»’”",
    "said.The said.\u200bThe said.\u200b The",
    "ｗｉｄｅ。ｗｉｄｅ！ｗｉｄｅ？",
    "مرحبا؟ نعم. لا",
    "e\u0301. E\u0301. ",
    "[1][2].[3] .[4]",
]


def case(gold: dict):
    marks = pytest.mark.xfail(strict=True) if gold["name"] in HARD else ()
    return pytest.param(gold, id=gold["name"], marks=marks)


@pytest.mark.parametrize("gold", [case(gold) for gold in CASES])
def test_gold(gold):
    assert [sentence.text for sentence in split(gold["text"])] == gold["sentences"]


def test_hard_cases_exist():
    assert HARD.issubset(gold["name"] for gold in CASES)


def test_gold_boundaries():
    right = found = wanted = 0
    for gold in CASES:
        ours, theirs = boundaries([sentence.text for sentence in split(gold["text"])]), boundaries(gold["sentences"])
        right, found, wanted = right + len(ours & theirs), found + len(ours), wanted + len(theirs)
    assert 2 * right / (found + wanted) >= REACHED


def boundaries(pieces: list[str]) -> set[int]:
    """Takes the sentences of a text; gives the places between them, counted in characters that are not blank."""
    places, place = [], 0
    for piece in pieces:
        place += sum(char not in BLANK for char in piece)
        places.append(place)
    return set(places) - {0, place}


@pytest.mark.parametrize("cut", [split, lines])
@pytest.mark.parametrize("text", [gold["text"] for gold in CASES] + NASTY)
def test_sentences_cover_the_text(cut, text):
    covered, last = "", 0
    for sentence in cut(text):
        assert text[sentence.start : sentence.end] == sentence.text
        assert sentence.text == sentence.text.strip(BLANK) != ""
        assert text[last : sentence.start].strip(BLANK) == ""
        covered, last = covered + sentence.text, sentence.end
    assert text[last:].strip(BLANK) == ""


@pytest.mark.parametrize("text", [gold["text"] for gold in CASES])
def test_line_ends_do_not_matter(text):
    unix = text.replace("\r\n", "\n")
    dos = unix.replace("\n", "\r\n")
    assert [one.text.replace("\r\n", "\n") for one in split(dos)] == [one.text for one in split(unix)]


def test_sentences_carry_their_place():
    assert split("\ufeffGen. Ryder spoke.\nHe left. ") == [
        Sentence("Gen. Ryder spoke.", 1, 18),
        Sentence("He left.", 19, 27),
    ]


def test_lines():
    assert lines("\ufeffOne. Two.\r\n\r\n \u00a0\n  Gen.\nthree ") == [
        Sentence("One. Two.", 1, 10),
        Sentence("Gen.", 19, 23),
        Sentence("three", 24, 29),
    ]


@pytest.mark.parametrize(
    "text",
    [
        *(char * 10_000_000 for char in "a.\n"),
        *(char * 1_000_000 for char in " \"'?…-1(\u200b"),
        "word " * 200_000,
        "U.S. " * 200_000,
        '." ' * 300_000,
        "Who? Anna Berg " * 70_000,
        ".[1]" * 300_000,
        "1. " * 300_000,
        "tiny\n" * 100_000,
        "- \n" * 100_000,
        "“" * 1_000_000 + ". " + "”" * 1_000_000,
        "x" * 1_000_000 + "@" + "y." * 500_000,
    ],
    ids=lambda text: ascii(text[:8]),
)
def test_large_texts_complete(text):
    assert sum(len(sentence.text) for sentence in split(text)) <= len(text)
    assert sum(len(sentence.text) for sentence in lines(text)) <= len(text)
