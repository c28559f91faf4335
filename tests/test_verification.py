"""From claims and sentences to findings, with a judge that can be foretold."""

import numpy as np
import pytest

from allegedly.claim_reading import Claim
from allegedly.classifier import Classifier, Prediction
from allegedly.labels import VERDICTS, VERIFICATION
from allegedly.retrieval import Hit, Passage
from allegedly.verification import verify


class Judge:
    """Counts "confirmed" and "denied" in the evidence; remembers what it was asked."""

    max_length = 40

    def __init__(self):
        self.asked = []

    def lengths(self, texts):
        return [len(text.split()) for text in texts]

    def predict(self, texts):
        self.asked += texts
        return [self.verdict(evidence) for _, evidence in texts]

    @staticmethod
    def verdict(evidence):
        weights = np.array([4.0 * evidence.count("confirmed"), 4.0 * evidence.count("denied"), 1.0])
        row = dict(zip(VERDICTS, (weights / weights.sum()).tolist(), strict=True))
        verdict = max(row, key=row.__getitem__)
        return Prediction(verdict, row[verdict], row)


class Nearest:
    """An index that finds all passages, in their order."""

    def __init__(self, *texts, file="a.txt"):
        self.passages = [Passage(file, i, 10 * i, 10 * i + 5, text, "Title") for i, text in enumerate(texts)]

    def search(self, claims, k):
        return [[Hit(i, 1 - i / 100) for i in range(min(k, len(self.passages)))] for _ in claims]


def check(*texts, judge=None, top_k=5):
    return next(verify([Claim("1", "It burst.")], judge or Judge(), Nearest(*texts), top_k=top_k))


def test_the_sentence_that_decides_is_named_with_its_place():
    finding = check("Rain fell.", "He denied it.", "Snow fell.")
    assert finding.verdict == "REFUTED"
    (evidence,) = finding.rationale
    assert (evidence.file, evidence.index, evidence.start, evidence.end) == ("a.txt", 1, 10, 15)
    assert evidence.text == "He denied it."
    assert evidence.score == pytest.approx(0.8)


def test_probabilities_are_those_of_all_verdicts():
    finding = check("They confirmed it.")
    assert list(finding.probabilities) == list(VERDICTS)
    assert sum(finding.probabilities.values()) == pytest.approx(1)
    assert finding.probability == finding.probabilities["SUPPORTED"] == max(finding.probabilities.values())


def test_where_nothing_is_relevant_nothing_is_guessed():
    judge = Judge()
    finding = check("Rain fell.", "Snow fell.", judge=judge)
    assert finding.verdict == "NOT_ENOUGH_INFO"
    assert finding.rationale == ()
    assert len(judge.asked) == 2  # each sentence alone, nothing together


def test_the_rationale_comes_best_first_and_is_read_in_the_order_of_the_document():
    judge = Judge()
    finding = check("One confirmed it.", "Two confirmed, confirmed it.", judge=judge)
    assert [evidence.index for evidence in finding.rationale] == [1, 0]
    assert judge.asked[-1] == ("It burst.", "Title: One confirmed it. Title: Two confirmed, confirmed it.")


def test_what_leaves_a_claim_open_comes_by_its_relevance():
    class Torn(Judge):
        @staticmethod
        def verdict(evidence):
            open_ = {"one": 0.65, "two": 0.55}.get(evidence, 0.8)
            row = dict(zip(VERDICTS, (1 - open_, 0.0, open_), strict=True))
            return Prediction("NOT_ENOUGH_INFO", open_, row)

    (finding,) = verify([Claim("1", "It burst.", ("one", "two"))], Torn())
    assert finding.verdict == "NOT_ENOUGH_INFO"
    assert [(evidence.index, evidence.score) for evidence in finding.rationale] == [(1, 0.55), (0, 0.65)]


def test_no_more_than_top_k_are_read_together():
    finding = check(*(f"{n} confirmed it." for n in range(9)), top_k=2)
    assert len(finding.rationale) == 2


def test_a_relevant_sentence_passes_nearer_ones():
    finding = check(*["Rain fell."] * 10, "They confirmed it.")
    assert [evidence.index for evidence in finding.rationale] == [10]


def test_what_does_not_fit_is_read_in_chunks():
    judge = Judge()
    finding = check(*(" ".join(["confirmed", *["word"] * 15]) for _ in range(4)), judge=judge, top_k=4)
    together = judge.asked[4:]
    assert len(together) == 2
    assert all(4 + sum(judge.lengths(pair)) <= judge.max_length for pair in together)
    assert finding.verdict == "SUPPORTED"
    assert len(finding.rationale) == 4


def test_a_sentence_longer_than_the_judge_reads_is_read_all_the_same():
    assert check(" ".join(["confirmed", *["word"] * 100])).verdict == "SUPPORTED"


def test_chunks_that_contradict_each_other_leave_no_verdict_sure():
    long = " ".join(["word"] * 25)
    finding = check(f"confirmed {long}", f"denied {long}")
    assert finding.probability < 0.5


def test_what_speaks_against_the_verdict_is_not_among_what_decides():
    finding = check("They confirmed, confirmed, confirmed it.", "One denied it.")
    assert finding.verdict == "SUPPORTED"
    assert [evidence.index for evidence in finding.rationale] == [0]


def test_evidence_that_came_with_a_claim_is_read_as_it_is():
    judge = Judge()
    claims = [Claim("1", "It burst.", ("Rain fell.", "He denied it."))]
    (finding,) = verify(claims, judge)
    assert finding.verdict == "REFUTED"
    assert judge.asked[-1] == ("It burst.", "Rain fell. He denied it.")
    (evidence,) = finding.rationale
    assert (evidence.file, evidence.index, evidence.start, evidence.end) == (None, 1, None, None)


def test_sentences_that_decide_only_together_are_all_named():
    class Together(Judge):
        @staticmethod
        def verdict(evidence):
            return Judge.verdict("confirmed" if "one" in evidence and "two" in evidence else "")

    (finding,) = verify([Claim("1", "It burst.", ("one", "two"))], Together())
    assert finding.verdict == "SUPPORTED"
    assert {evidence.text for evidence in finding.rationale} == {"one", "two"}


def test_a_claim_without_any_evidence_is_refused():
    with pytest.raises(ValueError, match="without evidence"):
        next(verify([Claim("7", "It burst.")], Judge()))


def test_claims_come_back_in_order_and_alike_however_many_there_are():
    claims = [Claim(str(n), f"Claim {n}.", ("He denied it.",) if n % 3 else ("Rain fell.",)) for n in range(150)]
    findings = list(verify(claims, Judge()))
    assert [finding.claim for finding in findings] == claims
    assert [finding.verdict for finding in findings] == [
        ("NOT_ENOUGH_INFO", "REFUTED", "REFUTED")[n % 3] for n in range(150)
    ]


def test_a_bundle_is_a_judge(word_verifier):
    judge = Classifier.load(word_verifier, device="cpu", task=VERIFICATION)
    assert judge.max_length == 48
    assert judge.lengths(["He denied it.", "one two"]) == [4, 2]
    findings = verify([Claim("1", "It burst.", ("Rain fell.", "He denied it."))], judge)
    assert next(findings).verdict == "REFUTED"
