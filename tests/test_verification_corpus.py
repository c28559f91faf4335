"""The embedded claims keep the promises of their datasheet: size, splits, sources, no shortcut through the claim."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from allegedly import claims
from allegedly.labels import VERDICTS

ROOT = Path(__file__).parents[1]
DATA = ROOT / "data"
DATASHEET = (DATA / "verification" / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def lines():
    return claims.read(DATA / "verification")


@pytest.fixture(scope="module")
def pairs(lines):
    return {split: claims.pairs(found, close=split == "train") for split, found in lines.items()}


def test_there_are_five_thousand_groups_and_thirty_thousand_pairs(lines, pairs):
    groups = [line for found in lines.values() for line in found if isinstance(line, claims.Group)]
    assert len(groups) >= 5_000
    assert sum(map(len, pairs.values())) >= 30_000
    assert f"{len(groups):,} groups" in DATASHEET


def test_the_datasheet_counts_every_kind_in_every_split(pairs):
    rows = dict(re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*\|[^|]*\|[^|]*)\|$", DATASHEET, re.MULTILINE))
    counted = {split: Counter(pair.origin for pair in found) for split, found in pairs.items()}
    for origin in claims.ORIGINS.keys() - {"own"}:
        stated = [int(cell.strip().replace(",", "").replace("–", "0")) for cell in rows[origin].split("|")]
        assert stated == [counted[split][origin] for split in claims.SPLITS], origin


@pytest.mark.parametrize("split", claims.SPLITS)
def test_every_verdict_has_its_share(pairs, split):
    shares = Counter(pair.label for pair in pairs[split])
    assert min(shares[verdict] for verdict in VERDICTS) > 0.2 * len(pairs[split])


def test_evidence_from_articles_stands_there_and_in_the_same_split(lines):
    articles = {}
    for split in claims.SPLITS:
        for row in map(json.loads, (DATA / "stance" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()):
            articles.setdefault(row["article"], (split, set()))[1].add(row["text"])
    taken = 0
    for split, found in lines.items():
        for line in found:
            if line.article in articles:
                home, sentences = articles[line.article]
                assert home == split
                assert set(line.evidence) <= sentences
                taken += 1
    assert taken > 3_000


def test_no_claim_stands_in_two_splits(pairs):
    seen = {}
    for split, found in pairs.items():
        for pair in found:
            words = " ".join(re.findall(r"\w+", pair.claim.casefold()))
            assert seen.setdefault(words, split) == split, pair.id


def test_the_claim_alone_tells_next_to_nothing_of_the_verdict(pairs):
    train, test = pairs["train"], pairs["test"]
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True).fit(pair.claim for pair in train)
    model = LogisticRegression(max_iter=500, class_weight="balanced")
    model.fit(words.transform(pair.claim for pair in train), [pair.label for pair in train])
    found = model.predict(words.transform(pair.claim for pair in test))
    assert f1_score([pair.label for pair in test], found, average="macro") < 0.40  # chance: 0.33
