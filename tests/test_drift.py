"""Profiles count what they say; the same batch is steady, a planted change is found and named, chance is not."""

import json

import numpy as np
import pytest
from conftest import run

from allegedly import drift
from allegedly.errors import InputError
from allegedly.labels import LABELS


def profile(shares, *, n=1000, seed=0, words=12):
    """Of ``n`` sentences whose labels are drawn with ``shares``."""
    tally, rng = drift.Tally(), np.random.default_rng(seed)
    for label in rng.choice(LABELS, n, p=shares):
        rest = dict.fromkeys(LABELS, 0.04)
        tally.add("word " * words, rest | {label: 0.88}, None)
    return tally.profile


EVEN = (0.1, 0.1, 0.1, 0.7)


def test_a_profile_counts_every_sentence_once_in_each_feature():
    tally = drift.Tally()
    tally.add("one two three four five", {"warning": 0.4, "denial": 0.2, "allegation": 0.2, "background": 0.2}, None)
    tally.add("x", {"warning": 0.0, "denial": 1.0, "allegation": 0.0, "background": 0.0}, "code")
    found = tally.profile
    assert found["sentences"] == 2
    assert {name: n for name, n in found["labels"].items() if n} == {"warning": 1, "denial": 1}
    assert {name: n for name, n in found["confidence"].items() if n} == {"0.4-0.5": 1, "0.95-1": 1}
    assert {name: n for name, n in found["words"].items() if n} == {"1-4": 1, "5-9": 1}
    assert {name: n for name, n in found["scope"].items() if n} == {"English prose": 1, "code": 1}


def test_the_index_is_that_of_a_hand_worked_example():
    now, before = profile(EVEN), profile(EVEN)
    now["labels"] = dict(zip(LABELS, (200, 100, 100, 600), strict=True))
    before["labels"] = dict(zip(LABELS, (100, 100, 100, 700), strict=True))
    shift = drift.compare(now, before)[0]
    assert shift.psi == pytest.approx(0.1 * np.log(2) - 0.1 * np.log(6 / 7))
    assert (shift.grew, shift.shrank) == ("warning", "background")
    assert (shift.grew_by, shift.shrank_by) == pytest.approx((10, 10))


def test_batches_of_one_kind_are_steady():
    for seed in range(1, 30):
        shifts = drift.compare(profile(EVEN, n=60, seed=seed), profile(EVEN, seed=100))
        assert [shift.size for shift in shifts] == ["steady"] * 4


def test_a_planted_change_is_found_and_said_in_words():
    shifts = drift.compare(profile((0.5, 0.1, 0.1, 0.3), words=32), profile(EVEN))
    assert {shift.feature: shift.size for shift in shifts} == {
        "labels": "moved much", "confidence": "steady", "words": "moved much", "scope": "steady"
    }  # fmt: skip
    said = drift.words(shifts)
    assert "more warning (+" in said
    assert "fewer background (-" in said
    assert "more 30-39" in said


def test_predict_writes_a_profile_and_drift_compares_it(tiny_bundle, tmp_path):
    (tmp_path / "a.txt").write_text(
        "The mayor denied it.\nDer Bürgermeister wies die Vorwürfe am Donnerstag zurück.\n" * 40
    )
    arguments = ("a.txt", "--lines", "--format", "jsonl", "--model", tiny_bundle, "--profile", "p.json")
    found = run("predict", *arguments, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    written = json.loads((tmp_path / "p.json").read_text())
    assert written["sentences"] == 80
    assert written["scope"]["language"] == 40
    assert run("drift", "p.json", "p.json", cwd=tmp_path).returncode == 0
    moved = run("drift", "p.json", tiny_bundle, cwd=tmp_path)
    assert moved.returncode == 1
    assert b"more language (+50.0 points)" in moved.stdout


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 1, "sentences": 3}', '{"files": {}}', '{"format": 2}', "\x00"]
)
def test_what_is_no_profile_gets_one_clear_line(text, tmp_path):
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(InputError, match=r"p\.json: .+;"):
        drift.read(tmp_path / "p.json")


def test_counts_that_do_not_add_up_are_refused(tmp_path):
    (tmp_path / "p.json").write_text(json.dumps(profile(EVEN) | {"sentences": 7}))
    with pytest.raises(InputError, match="is no profile"):
        drift.read(tmp_path / "p.json")
