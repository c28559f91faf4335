"""Claims and documents in, one Finding a claim out: what the evidence says of it, and the sentences that decide.

Sentences are found (`allegedly.retrieval`), the nearest are read one by one with the claim, and the best of them
together; a judge, the embedded verifier or another NLI model, says whether they support or refute the claim.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np

from allegedly.claim_reading import Claim
from allegedly.classifier import Prediction
from allegedly.labels import VERDICTS
from allegedly.retrieval import Index

SUPPORTED, REFUTED, UNSETTLED = VERDICTS
CANDIDATES = 20  # sentences that are read one by one with a claim
RELEVANCE_WEIGHT = 0.5  # of a sentence's relevance beside its nearness, when the candidates are put in order
RELEVANT = 0.3  # relevance from which on a sentence is read as evidence
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

    The rationale is ordered by score. With NOT_ENOUGH_INFO it holds what was read and leaves the claim open, and is
    empty where nothing relevant was found.
    """

    claim: Claim
    verdict: str
    probability: float
    probabilities: dict[str, float]
    rationale: tuple[Evidence, ...]


@dataclass(frozen=True)
class _Candidate:
    """A sentence before a claim: where it stands, how it is read, how near it is."""

    file: str | None
    index: int
    start: int | None
    end: int | None
    text: str
    read_as: str
    order: int  # among all sentences
    nearness: float


def verify(claims: Iterable[Claim], judge: Judge, index: Index | None = None, *, top_k: int = 5) -> Iterator[Finding]:
    """Check claims, in order, against the passages of ``index``; without one, against the evidence that they came with.

    At most ``top_k`` sentences of an index are read together. Evidence that came with a claim is read as it is, all of
    it. Raises ValueError for a claim without evidence where there is no index.
    """
    claims = iter(claims)
    while window := list(islice(claims, CLAIMS_AT_ONCE)):
        candidates = _found(window, index) if index is not None else [_given(claim) for claim in window]
        alone = _judged(
            judge,
            [(claim.text, [c.read_as for c in some]) for claim, some in zip(window, candidates, strict=True)],
        )
        chosen = [
            list(range(len(some))) if index is None else _best(some, predictions, top_k)
            for some, predictions in zip(candidates, alone, strict=True)
        ]
        chunks = [
            _chunks(judge, claim.text, [some[i].read_as for i in places])
            for claim, some, places in zip(window, candidates, chosen, strict=True)
        ]
        together = _judged(judge, [(claim.text, texts) for claim, texts in zip(window, chunks, strict=True)])
        for claim, some, each, places, whole in zip(window, candidates, alone, chosen, together, strict=True):
            yield _finding(claim, some, each, places, whole)


def _found(claims: Sequence[Claim], index: Index) -> list[list[_Candidate]]:
    result = []
    for hits in index.search([claim.text for claim in claims], CANDIDATES):
        some = [(index.passages[hit.position], hit) for hit in hits]
        result.append(
            [_Candidate(p.file, p.index, p.start, p.end, p.text, p.titled, hit.position, hit.score) for p, hit in some]
        )
    return result


def _given(claim: Claim) -> list[_Candidate]:
    if claim.evidence is None:
        raise ValueError(f"claim {claim.id!r} came without evidence")
    return [_Candidate(None, place, None, None, text, text, place, 0.0) for place, text in enumerate(claim.evidence)]


def _judged(judge: Judge, asked: Sequence[tuple[str, Sequence[str]]]) -> list[list[Prediction]]:
    """Verdicts on each claim with each of its texts; all claims are judged at once, which fills the batches."""
    predictions = iter(judge.predict([(claim, text) for claim, texts in asked for text in texts]))
    return [list(islice(predictions, len(texts))) for _, texts in asked]


def relevance(prediction: Prediction) -> float:
    """How much a text settles a claim, either way."""
    return 1 - prediction.probabilities[UNSETTLED]


def _best(candidates: Sequence[_Candidate], alone: Sequence[Prediction], top_k: int) -> list[int]:
    """Places of the relevant candidates that are read together, at most ``top_k``, in the order of the documents."""
    scores = [c.nearness + RELEVANCE_WEIGHT * relevance(p) for c, p in zip(candidates, alone, strict=True)]
    ranked = sorted(range(len(candidates)), key=lambda i: -scores[i])
    best = [i for i in ranked if relevance(alone[i]) >= RELEVANT][:top_k]
    return sorted(best, key=lambda i: candidates[i].order)


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
    claim: Claim,
    candidates: Sequence[_Candidate],
    alone: Sequence[Prediction],
    chosen: Sequence[int],
    together: Sequence[Prediction],
) -> Finding:
    nothing_relevant = not chosen
    probabilities = _aggregate([max(alone, key=relevance)] if nothing_relevant else together)
    verdict = max(probabilities, key=probabilities.__getitem__)
    if nothing_relevant:
        assert verdict == UNSETTLED  # as RELEVANT is below a half
    deciding = [i for i in chosen if relevance(alone[i]) >= RELEVANT]
    if not deciding and verdict != UNSETTLED:
        deciding = list(chosen)  # only together do they settle it
    rationale = [
        Evidence(c.file, c.index, c.start, c.end, c.text, alone[i].probabilities[verdict])
        for i in deciding
        for c in [candidates[i]]
    ]
    rationale.sort(key=lambda evidence: -evidence.score)
    return Finding(claim, verdict, probabilities[verdict], probabilities, tuple(rationale))
