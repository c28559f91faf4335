"""Which sentences are found for a claim, and what is known of each."""

from operator import attrgetter

import numpy as np
import pytest

from allegedly.classifier import Classifier
from allegedly.labelling import label
from allegedly.reading import Document
from allegedly.retrieval import LEXICAL_WEIGHT, Index, Passage, passages

ARTICLE = "Dam holds after flood\n\nThe dam held on Monday. It was built in 1950.\n"


class Letters:
    """An embedder for which two texts are near if they begin alike."""

    def embed(self, texts):
        rows = np.full((len(texts), 26), 0.01, dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[(ord(text.strip()[0].lower()) - 97) % 26] = 1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def embed_groups(self, groups):
        return [self.embed(group).astype(np.float16) for group in groups]


def index(*texts):
    return Index.build([Passage("a.txt", i, 0, 0, text) for i, text in enumerate(texts)], Letters())


def found(searched, claim, k=10):
    return [searched.passages[hit.position].text for hit in searched.search([claim], k)[0]]


def test_passages_know_their_place_and_title():
    document = Document("news/a.txt", ARTICLE)
    rows = list(passages([document, Document("flood_report-2024.txt", "Rain fell.")]))
    assert [row.text for row in rows[:3]] == [
        "Dam holds after flood",
        "The dam held on Monday.",
        "It was built in 1950.",
    ]
    assert all(ARTICLE[row.start : row.end] == row.text for row in rows[:3])
    assert [row.titled for row in rows] == [
        "Dam holds after flood",
        "Dam holds after flood: The dam held on Monday.",
        "Dam holds after flood: It was built in 1950.",
        "flood report 2024: Rain fell.",
    ]
    assert [(row.file, row.index) for row in rows[2:]] == [("news/a.txt", 2), ("flood_report-2024.txt", 0)]


def test_records_are_documents_of_their_own():
    texts = ["Dam holds\n\nIt held.", "Rain fell. Snow fell."]
    text = "\n".join(texts)
    start = len(texts[0]) + 1
    document = Document("a.jsonl", text, rows=((0, len(texts[0])), (start, len(text))))
    rows = list(passages([document]))
    assert [row.titled for row in rows] == ["Dam holds", "Dam holds: It held.", "Rain fell.", "Snow fell."]
    assert [row.index for row in rows] == [0, 1, 2, 3]
    assert all(text[row.start : row.end] == row.text for row in rows)


def test_a_further_part_of_a_file_keeps_title_and_count():
    parts = [Document("a.txt", "Dam holds\n\nIt held.\n\n"), Document("a.txt", "Rain fell.", start=21)]
    last = list(passages(parts))[-1]
    assert (last.index, last.start, last.titled) == (2, 21, "Dam holds: Rain fell.")


def test_sentences_are_counted_and_placed_as_predict_does(tiny_bundle):
    records = ["Dam holds\n\nIt held.", " \x1c ", "\x1c Rain fell. \u2028Snow fell. "]
    ends = np.cumsum([len(record) + 1 for record in records]) - 1
    rows = tuple((int(end) - len(record), int(end)) for record, end in zip(records, ends, strict=True))
    documents = [Document("a.jsonl", "\n".join(records), rows=rows), Document("a.txt", ARTICLE)]
    labelled = label(documents, Classifier.load(tiny_bundle, device="cpu"))
    place = attrgetter("file", "index", "start", "end", "text")
    assert [place(passage) for passage in passages(documents)] == [place(row) for row in labelled]


def test_shared_words_and_nearness_both_count():
    assert found(index("Zebras graze.", "Apples ripen."), "another matter", 1) == ["Apples ripen."]
    searched = index("Bats fly.", "Bridges collapse.", "Apples ripen.")
    assert found(searched, "bridges", 2) == ["Bridges collapse.", "Bats fly."]


def test_a_score_is_cosine_and_weighted_words():
    searched = index("Bats fly.", "Bridges collapse.")
    (hits,) = searched.search(["bridges"], 2)
    assert [hit.score for hit in hits] == pytest.approx([1 + LEXICAL_WEIGHT, 1], abs=1e-3)


def test_a_second_encoder_orders_what_is_found():
    class Lengths(Letters):
        """Two texts are near if their lengths are."""

        def embed(self, texts):
            angles = np.array([len(text) / 50 for text in texts])
            return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)

    passages = [
        Passage("a.txt", i, 0, 0, text) for i, text in enumerate(["Ants ate all of it, slowly.", "Ants.", "Bees."])
    ]
    first, both = Index.build(passages, Letters()), Index.build(passages, Letters(), Lengths())
    assert found(first, "another one", 2) == ["Ants ate all of it, slowly.", "Ants."]
    assert found(both, "another one", 2) == ["Ants.", "Ants ate all of it, slowly."]


def test_all_come_back_where_fewer_than_k_are_there():
    assert sorted(found(index("One.", "Two."), "three", 20)) == ["One.", "Two."]


@pytest.mark.parametrize("claim", ["it is the", "...", "¿?", "unheard"])
def test_a_claim_without_known_words_is_found_by_nearness_alone(claim):
    (hits,) = index("Iron rusts.", "Snow falls.").search([claim], 2)
    assert len(hits) == 2
    assert all(hit.score <= 1.001 for hit in hits)


def test_passages_without_words_can_be_searched():
    assert found(index("It is.", "..."), "is it so", 1) == ["It is."]


def test_many_claims_get_what_each_gets_alone():
    searched = index(*(f"{letter} sentence about {letter}{letter}." for letter in "abcdefghij"))
    claims = [f"{letter}{letter} matters" for letter in "jihgfedcba"] * 20
    together = [hits[0].position for hits in searched.search(claims, 1)]
    assert together == [hits[0].position for claim in claims for hits in searched.search([claim], 1)]
    assert together == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0] * 20
