"""Claims and documents in, one Finding a claim out: what the evidence says of it, and the sentences that decide.

Sentences are found (`allegedly.retrieval`), the nearest are read one by one with the claim, and the best of them
together; a judge, the embedded verifier or another NLI model, says whether they support or refute the claim.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import numpy as np

from allegedly.claim_reading import Claim
from allegedly.classifier import Prediction
from allegedly.labels import VERDICTS

if TYPE_CHECKING:  # a server of the verifier has evidence with every claim, and need not have what an index needs
    from allegedly.retrieval import Index

SUPPORTED, REFUTED, UNSETTLED = VERDICTS
CANDIDATES = 20  # sentences that are read one by one with a claim
RELEVANCE_WEIGHT = 0.2  # of a sentence's relevance beside its nearness, when the candidates are put in order
RELEVANT = 0.3  # relevance from which on a sentence is read as evidence; below a half: what is less is NOT_ENOUGH_INFO
FRAME = 4  # tokens at most that mark where claim and evidence begin and end
CLAIMS_AT_ONCE = 64


class Judge(Protocol):
    """What says whether evidence settles a claim; `allegedly.classifier.Classifier` is one."""

    @property
    def max_length(self) -> int:
        """Tokens of claim and evidence together that it reads."""

    def predict(self, texts: Sequence[tuple[str, str]]) -> list[Prediction]:
        """The verdict on each claim with its evidence."""

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens that each text takes."""


@dataclass(frozen=True)
class Evidence:
    """A sentence of the rationale.

    Of a document: ``index`` counts the file's sentences as `predict` does, ``start`` and ``end`` are offsets into its
    extracted text. Of the evidence that came with the claim: ``index`` is the place in that list, the others are None.
    score: the probability of the verdict if this sentence alone were read.
    """

    file: str | None
    index: int
    start: int | None
    end: int | None
    text: str
    score: float


@dataclass(frozen=True)
class Finding:
    """What the given evidence says of a claim, the probability of each verdict, and the sentences that decide.

    The rationale is ordered by score, the best first. With NOT_ENOUGH_INFO it holds what was read and leaves the claim
    open, the most relevant first, and is empty where nothing relevant was found.
    """

    claim: Claim
    verdict: str
    probability: float
    probabilities: dict[str, float]
    rationale: tuple[Evidence, ...]


@dataclass(frozen=True)
class Candidate:
    """A sentence that was read alone with a claim.

    read_as: the sentence as the judge reads it, after the title of its document. order: its place among all sentences.
    nearness: how near retrieval says it is to the claim.
    """

    file: str | None
    index: int
    start: int | None
    end: int | None
    text: str
    read_as: str
    order: int
    nearness: float
    alone: Prediction

    @property
    def relevance(self) -> float:
        """How much the sentence settles the claim, either way."""
        return relevance(self.alone)

    @property
    def score(self) -> float:
        """By which candidates are put in order."""
        return self.nearness + RELEVANCE_WEIGHT * self.relevance


def verify(claims: Iterable[Claim], judge: Judge, index: "Index | None" = None, *, top_k: int = 5) -> Iterator[Finding]:
    """Check claims, in order, against the passages of ``index``; without one, against the evidence that they came with.

    At most ``top_k`` sentences of an index are read together. Evidence that came with a claim is read as it is, all of
    it. Raises ValueError for a claim without evidence where there is no index.
    """
    claims = iter(claims)
    while window := list(islice(claims, CLAIMS_AT_ONCE)):
        read = given(window, judge) if index is None else found(window, judge, index)
        chosen = read if index is None else [_relevant(candidates, top_k) for candidates in read]
        chunks = [
            (claim.text, _chunks(judge, claim.text, [candidate.read_as for candidate in candidates]))
            for claim, candidates in zip(window, chosen, strict=True)
        ]
        for claim, all_read, together, verdicts in zip(window, read, chosen, _judged(judge, chunks), strict=True):
            yield _finding(claim, all_read, together, verdicts)


def found(claims: Sequence[Claim], judge: Judge, index: "Index") -> list[list[Candidate]]:
    """For each claim the passages that are nearest to it, read one by one and put in order, the best first."""
    hits = index.search([claim.text for claim in claims], CANDIDATES)
    passages = [[index.passages[hit.position] for hit in near] for near in hits]
    asked = [(claim.text, [p.titled for p in near]) for claim, near in zip(claims, passages, strict=True)]
    return [
        sorted(
            (
                Candidate(p.file, p.index, p.start, p.end, p.text, p.titled, hit.position, hit.score, alone)
                for hit, p, alone in zip(*rows, strict=True)
            ),
            key=lambda candidate: -candidate.score,
        )
        for rows in zip(hits, passages, _judged(judge, asked), strict=True)
    ]


def given(claims: Sequence[Claim], judge: Judge) -> list[list[Candidate]]:
    """For each claim the evidence that it came with, read one by one, in its order."""
    for claim in claims:
        if claim.evidence is None:
            raise ValueError(f"claim {claim.id!r} came without evidence")
    alone = _judged(judge, [(claim.text, claim.evidence) for claim in claims])
    return [
        [
            Candidate(None, place, None, None, text, text, place, 0.0, prediction)
            for place, (text, prediction) in enumerate(zip(claim.evidence, predictions, strict=True))
        ]
        for claim, predictions in zip(claims, alone, strict=True)
    ]


def _relevant(candidates: Sequence[Candidate], top_k: int) -> list[Candidate]:
    """The relevant ones of ordered candidates, at most ``top_k``, in the order of their documents."""
    best = [candidate for candidate in candidates if candidate.relevance >= RELEVANT][:top_k]
    return sorted(best, key=lambda candidate: candidate.order)


def _judged(judge: Judge, asked: Sequence[tuple[str, Sequence[str]]]) -> list[list[Prediction]]:
    """Verdicts on each claim with each of its texts; all claims are judged at once, which fills the batches."""
    predictions = iter(judge.predict([(claim, text) for claim, texts in asked for text in texts]))
    return [list(islice(predictions, len(texts))) for _, texts in asked]


def relevance(prediction: Prediction) -> float:
    """How much a text settles a claim, either way."""
    return 1 - prediction.probabilities[UNSETTLED]


def _chunks(judge: Judge, claim: str, sentences: Sequence[str]) -> list[str]:
    """Sentences joined as far as the judge can read them at once with the claim; one too long stands alone."""
    claim_length, *lengths = judge.lengths([claim, *sentences])
    room = judge.max_length - FRAME - claim_length
    chunks: list[list[str]] = []
    left = 0
    for sentence, length in zip(sentences, lengths, strict=True):
        if length > left or not chunks:
            chunks.append([])
            left = room
        chunks[-1].append(sentence)
        left -= length
    return [" ".join(chunk) for chunk in chunks]


def _aggregate(chunks: Sequence[Prediction]) -> dict[str, float]:
    """One verdict of several: the mean of their probabilities, each weighed by its relevance.

    A chunk that leaves the claim open hardly counts beside one that settles it; two that settle it in opposite ways
    leave no verdict a high probability.
    """
    weights = np.array([max(relevance(chunk), 1e-6) for chunk in chunks])
    rows = np.array([[chunk.probabilities[verdict] for verdict in VERDICTS] for chunk in chunks])
    return dict(zip(VERDICTS, (weights @ rows / weights.sum()).tolist(), strict=True))


def _finding(
    claim: Claim, read: Sequence[Candidate], together: Sequence[Candidate], verdicts: Sequence[Prediction]
) -> Finding:
    """What was ``read`` alone, what was read ``together`` and the verdicts on it, as one finding."""
    if together:
        probabilities = _aggregate(verdicts)
    else:  # nothing is relevant: what comes nearest to it says how surely
        probabilities = max(read, key=lambda candidate: candidate.relevance).alone.probabilities
    verdict = max(probabilities, key=probabilities.__getitem__)
    if verdict == UNSETTLED:
        deciding = [candidate for candidate in together if candidate.relevance >= RELEVANT]
        deciding.sort(key=lambda candidate: -candidate.relevance)
    else:  # those that speak for the verdict, or all if it comes out only of reading them together
        deciding = [c for c in together if c.alone.probabilities[verdict] >= RELEVANT] or list(together)
        deciding.sort(key=lambda candidate: -candidate.alone.probabilities[verdict])
    rationale = tuple(
        Evidence(c.file, c.index, c.start, c.end, c.text, c.alone.probabilities[verdict]) for c in deciding
    )
    return Finding(claim, verdict, probabilities[verdict], probabilities, rationale)
