"""The behavioural cases ask what they should, cover what is promised, and are counted right; no bundle is needed."""

import json

import pytest
from conftest import ROOT

from allegedly import behaviour
from allegedly.errors import InputError
from allegedly.labels import LABELS

FOLDER = ROOT / "data" / "behaviour"
CASES = behaviour.read(FOLDER)
FORMS = {"direct", "indirect", "passive", "quoted", "nominal", "headline"}


@pytest.mark.parametrize("label", LABELS)
def test_every_label_is_asked_for_in_every_form(label):
    asked = [case.capability for case in CASES if case.test == "minimum functionality" and case.label == label]
    assert {form for form in FORMS if asked.count(form) >= 6} == FORMS


@pytest.mark.parametrize(
    ("test", "capabilities"),
    [
        ("invariance", ["another person", "another place", "another outlet", "another number", "another date"]),
        ("invariance", ["curly quotes", "dashes", "upper-case headline", "trailing boilerplate"]),
        ("invariance", ["typos in non-cue words", "British and American spelling"]),
        ("direction", ["denied to alleged", "added negation", "denied bail", "admission", "a court's rejection"]),
        ("direction", ["claim of responsibility", "denial inside a relative clause"]),
    ],
)
def test_the_promised_changes_are_made(test, capabilities):
    found = {case.capability for case in CASES if case.test == test}
    assert set(capabilities) <= found


def test_no_slot_stays_open_and_every_change_changes_something():
    for case in CASES:
        for text in (case.text, case.changed or ""):
            assert not set("{}") & set(text)
        assert case.changed != case.text
        assert (case.label is None) == (case.test == "invariance")


def test_no_case_stands_in_the_training_corpus():
    trained = {
        json.loads(line)["text"].casefold()
        for line in (ROOT / "data/stance/train.jsonl").read_text(encoding="utf-8").splitlines()
    }
    # page furniture has only so many wordings
    ours = {case.text.casefold() for case in CASES if case.capability != "furniture"}
    assert not ours & trained


def test_pass_rates_are_shares_of_cases_by_what_each_test_promises():
    case = behaviour.Case
    cases = [
        case("minimum functionality", "direct", "a", label="denial"),
        case("minimum functionality", "direct", "b", label="denial"),
        case("invariance", "names", "a", "b"),
        case("direction", "admission", "a", "c", label="background"),
    ]
    labels = {"a": "denial", "b": "warning", "c": "background"}
    outcomes = behaviour.check(cases, lambda texts: [labels[text] for text in texts])
    assert [outcome.passed for outcome in outcomes] == [True, False, False, True]
    assert behaviour.rates(outcomes) == {"minimum functionality": 0.5, "invariance": 0, "direction": 1}
    said = behaviour.table(outcomes)
    assert "direct: warning, not denial: b" in said
    assert "names: warning, not denial: b" in said


@pytest.mark.parametrize("line", ["", "[]", '{"capability": "x"}', '{"capability": "x", "label": "lie", "text": "y"}'])
def test_a_faulty_line_is_named(line, tmp_path):
    (tmp_path / "slots.json").write_text('{"person": ["Ann"]}')
    (tmp_path / "minimum_functionality.jsonl").write_text(
        f'{{"capability": "x", "label": "denial", "text": "y"}}\n{line}\n'
    )
    with pytest.raises(InputError, match=r"minimum_functionality\.jsonl:2: "):
        behaviour.read(tmp_path)
