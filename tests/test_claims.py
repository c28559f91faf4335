"""Groups of claims become pairs whose verdicts follow from how they are made, and a claim alone tells no verdict."""

import json

import numpy as np
import pytest

from allegedly import claims, corpus
from allegedly.errors import InputError
from allegedly.labels import VERDICTS, VERIFICATION

SUPPORTED, REFUTED, UNSETTLED = VERDICTS

EASY_TO_HARD = ("composed", "flipped", "open", "settled")


def group(article: str, number: int = 0, **changes) -> dict:
    """The group of an invented bridge, as it stands in a file."""
    return {
        "id": f"{article}/{number}", "article": article, "change": "number", "style": "plain",
        "evidence": [f"The bridge at {article} has {number + 3} arches."],
        "flipped": [f"The bridge at {article} has {number + 9} arches."],
        "supported": f"There are {number + 3} arches under the {article} crossing.",
        "refuted": f"There are {number + 9} arches under the {article} crossing.",
        "open": f"The {article} crossing is the oldest in the county.",
        "settling": "No older one stands in the county.",
    } | changes  # fmt: skip


def write(folder, **splits):
    folder.mkdir(exist_ok=True)
    for split in claims.SPLITS:
        rows = splits.get(split, [group(f"{split}ville", n) for n in range(3)])
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def test_each_pair_has_the_verdict_that_its_making_implies(tmp_path):
    (one,) = claims.read(write(tmp_path, train=[group("Ford")]))["train"]
    found = {(pair.claim, pair.evidence): pair.label for pair in claims.pairs([one]) if pair.origin in EASY_TO_HARD}
    assert found == {
        (one.supported, one.evidence): SUPPORTED,
        (one.refuted, one.evidence): REFUTED,
        (one.supported, one.flipped): REFUTED,
        (one.refuted, one.flipped): SUPPORTED,
        (one.open, one.evidence): UNSETTLED,
        (one.open, (*one.evidence, one.settling)): SUPPORTED,
    }


def test_texts_beside_each_other_teach_what_one_change_does(tmp_path):
    (one,) = claims.read(write(tmp_path, train=[group("Ford")]))["train"]
    found = {(pair.claim, *pair.evidence): pair.label for pair in claims.pairs([one]) if pair.origin == "close"}
    labels = {frozenset(texts): label for texts, label in found.items()}
    assert labels.pop(frozenset([one.supported, one.refuted])) == REFUTED
    assert labels.pop(frozenset([one.evidence[0], one.flipped[0]])) == REFUTED
    assert labels.pop(frozenset([one.open, one.supported])) == UNSETTLED
    assert [(len(texts), label) for texts, label in labels.items()] == [(1, SUPPORTED)] * 2


def test_a_group_without_an_open_claim_gives_none(tmp_path):
    rows = [group("Ford", open=None, settling=None)]
    origins = {pair.origin for pair in claims.pairs(claims.read(write(tmp_path, train=rows))["train"])}
    assert not origins & {"open", "settled"}


def test_other_evidence_of_the_article_settles_nothing_unless_it_shares_the_claims_words(tmp_path):
    other = group("Ford", 1, evidence=["Trains to the coast leave hourly."], flipped=["Trains leave daily."])
    telling = group(
        "Ford", 2, evidence=["Under the Ford crossing there are 3 or 9 arches."], flipped=["There are none."]
    )
    found = claims.pairs(claims.read(write(tmp_path, train=[group("Ford"), other, telling]))["train"])
    (neighbour,) = [pair for pair in found if pair.origin == "neighbour" and pair.id.startswith("Ford/0/")]
    assert (neighbour.evidence, neighbour.label) == (("Trains to the coast leave hourly.",), UNSETTLED)


def test_among_other_sentences_the_evidence_keeps_its_verdict(tmp_path):
    rows = [group("Ford", n, evidence=[f"The bridge at Ford has {n + 3} arches."]) for n in range(30)]
    rows.append(group("Ford", 99, evidence=["Trains to the coast leave hourly."]))
    groups = claims.read(write(tmp_path, train=rows))["train"]
    whole = {(pair.claim, pair.evidence): pair.label for pair in claims.pairs(groups) if pair.origin != "neighbour"}
    distracted = [pair for pair in claims.pairs(groups) if pair.origin == "distracted"]
    assert distracted
    for pair in distracted:
        own = [evidence for evidence in pair.evidence if whole.get((pair.claim, (evidence,))) == pair.label]
        assert own


def test_equal_groups_give_equal_pairs(tmp_path):
    groups = claims.read(write(tmp_path))["train"]
    assert claims.pairs(groups) == claims.pairs(groups)
    assert len({pair.id for pair in claims.pairs(groups)}) == len(claims.pairs(groups))


def test_supported_and_refuted_claims_meet_each_verdict_as_often(tmp_path):
    groups = claims.read(write(tmp_path, train=[group(f"town{n}", n) for n in range(200)]))["train"]
    supported, refuted = {one.supported for one in groups}, {one.refuted for one in groups}
    made = [pair for pair in claims.pairs(groups) if pair.origin != "close"]
    shares = [
        np.array([sum(pair.label == label for pair in made if pair.claim in kind) for label in VERDICTS])
        for kind in (supported, refuted)
    ]
    assert (abs(shares[0] / shares[0].sum() - shares[1] / shares[1].sum()) < 0.05).all()


def test_pairs_that_were_labelled_by_hand_are_taken_as_they_are(tmp_path):
    row = {
        "id": "p1",
        "article": "a",
        "claim": "It rained.",
        "evidence": ["Rain fell.", "All day."],
        "label": SUPPORTED,
    }
    found = claims.pairs(claims.read(write(tmp_path, train=[row]))["train"])
    assert found == [claims.Pair("p1", "a", "It rained.", ("Rain fell.", "All day."), SUPPORTED, "own")]


def test_a_training_reads_claim_and_joined_evidence(tmp_path):
    row = {
        "id": "p1",
        "article": "a",
        "claim": "It rained.",
        "evidence": ["Rain fell.", "All day."],
        "label": SUPPORTED,
    }
    (example,) = corpus.read(write(tmp_path, train=[row]), task=VERIFICATION)["train"]
    assert example.input == ("It rained.", "Rain fell. All day.")
    assert (example.label, example.kind) == (SUPPORTED, "own")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"evidence": []}, "is not a group of claims"),
        ({"flipped": "one text"}, "is not a group of claims"),
        ({"supported": " "}, "is not a group of claims"),
        ({"open": None}, "is not a group of claims"),
        ({"open": "", "settling": []}, "is not a group of claims"),
        ({"supported": " ", "refuted": "A claim."}, "is not a group of claims"),
        ({"claim": "It rained.", "label": "TRUE"}, "is not a pair"),
        ({"article": "validationville"}, "article 'validationville' is in"),
    ],
)
def test_faults_name_file_and_line(tmp_path, changes, message):
    folder = write(tmp_path, train=[group("trainville"), group("trainville", 1) | changes])
    with pytest.raises(InputError, match=message) as caught:
        claims.read(folder)
    assert ".jsonl:" in str(caught.value)


def test_an_id_stands_once(tmp_path):
    with pytest.raises(InputError, match=r"train.jsonl:2: id 'Ford/0' stands at .*train.jsonl:1 already"):
        claims.read(write(tmp_path, train=[group("Ford"), group("Ford")]))


@pytest.mark.parametrize("content", [None, b"", b"\n\n", b"{", b"[]", b"\xff"])
def test_missing_empty_and_broken_files_are_refused(tmp_path, content):
    path = write(tmp_path) / "test.jsonl"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(InputError, match="test.jsonl"):
        claims.read(tmp_path)


def test_the_same_pair_in_two_splits_is_refused(tmp_path):
    rows = [
        {"id": str(n), "article": str(n), "claim": "It rained.", "evidence": ["Rain fell."], "label": SUPPORTED}
        for n in range(2)
    ]
    with pytest.raises(InputError, match=r"test.jsonl: '1' is a claim with evidence that train.jsonl holds too"):
        corpus.read(write(tmp_path, train=rows[:1], test=rows[1:]), task=VERIFICATION)
