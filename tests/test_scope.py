"""What is no English prose is told by kind; English prose, however short, odd or full of foreign names, passes."""

import json
from collections import Counter

import pytest
from conftest import ROOT

from allegedly.scope import REASONS, reason

CASES = [json.loads(line) for line in (ROOT / "tests/data/scope.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("kind", REASONS)
def test_nine_in_ten_of_each_kind_are_flagged(kind):
    texts = [case["text"] for case in CASES if case["reason"] == kind]
    missed = [text for text in texts if reason(text) is None]
    assert len(texts) >= 15
    assert len(missed) <= 0.1 * len(texts), missed


def test_english_news_is_hardly_ever_flagged():
    rows = [json.loads(line) for line in (ROOT / "data/stance/test.jsonl").read_text(encoding="utf-8").splitlines()]
    flagged = Counter(reason(row["text"]) for row in rows)
    assert 1 - flagged[None] / len(rows) <= 0.005, flagged


@pytest.mark.parametrize(
    "text",
    [
        "",
        "42",
        "…",
        "Iran denied it.",
        "MAYOR DENIES TAKING BRIBE",
        "By Bryn Wójcik-Dłużniewska, Łódź",
        'He "[did not] recall" the [second] meeting.',
        "The firm lost $1.2bn in 2019, $900m in 2020 and £450m in 2021.",
        "The Größer family met Szőke László and Krzysztof Wiśniewski in Wałbrzych.",
        "Write to news@example.org or visit https://example.org/a?b=c&d=e for more.",
        "“Not true,” she said – «c'est faux» in her own words to the court.",
    ],
)
def test_english_prose_passes(text):
    assert reason(text) is None


@pytest.mark.parametrize(
    "text", ["\x00\x01", "\ud800 \udfff", "a\x00b" * 50, "\u202e\u200b" * 30, "🙂" * 40, "\U000e0041 x"]
)
def test_any_string_gets_an_answer(text):
    assert reason(text) in (None, *REASONS)


def test_without_the_language_identifier_shape_and_script_still_tell(monkeypatch):
    from allegedly import scope

    monkeypatch.setattr(scope, "_cld2", lambda: None)
    assert not scope.checks_languages()
    assert reason("Der Minister wies die Vorwürfe am Dienstag zurück.") is None
    assert reason("Министр опроверг обвинения.") == "language"
    assert reason("Albania 2.1 -3.5 4.0 2.2") == "table"
