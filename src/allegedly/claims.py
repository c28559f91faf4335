"""Groups of claims written around one piece of evidence in, pairs of claim and evidence with their verdicts out.

A group holds evidence, a claim that it supports, one that it refutes, and flipped evidence under which the two change
places; most also hold an open claim and the one more sentence that would settle it. Every claim thus meets evidence of
each verdict: what a claim says alone does not tell its verdict (compare Schuster, Fisch & Barzilay 2021, "Get Your
Vitamin C!", section 3).
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from allegedly.errors import InputError
from allegedly.labels import VERDICTS

SPLITS: tuple[str, ...] = ("train", "validation", "test")
TELLING_OVERLAP = 0.6  # share of a claim's words in a neighbour's evidence from which on it may settle the claim
ORIGINS: dict[str, str] = {
    "composed": "the evidence with the claim written for it",
    "flipped": "the evidence rewritten so that the verdicts change places",
    "open": "the evidence with a claim that goes beyond it",
    "settled": "the same with the sentence that settles the claim",
    "neighbour": "a claim with other evidence from the same article, or with that of another passage",
    "distracted": "the evidence among other sentences of its article",
}


@dataclass(frozen=True)
class Group:
    """Claims around one piece of evidence; ``article`` is the stance article that it is taken from, or its own id."""

    id: str
    article: str
    evidence: tuple[str, ...]
    flipped: tuple[str, ...]
    supported: str
    refuted: str
    open: str | None
    settling: str | None
    change: str  # what makes the refuted claim differ: number, negation, role, …
    style: str


@dataclass(frozen=True)
class Pair:
    """One claim, the sentences it is checked against, and the verdict that they allow."""

    id: str
    article: str
    claim: str
    evidence: tuple[str, ...]
    label: str
    origin: str


def read(folder: str | Path, *, splits: Sequence[str] = SPLITS) -> dict[str, list[Group]]:
    """Read and check the groups of a corpus folder: ``train.jsonl``, ``validation.jsonl`` and ``test.jsonl``.

    Raises InputError naming file and line of the first thing that is wrong: a missing or empty file, a line that is
    not an object with the fields of `Group`, an id used twice, an article divided between splits.
    """
    found: dict[str, list[Group]] = {}
    seen: dict[str, str] = {}
    split_of: dict[str, str] = {}
    for split in splits:
        path = Path(folder) / f"{split}.jsonl"
        found[split] = []
        for where, group in _groups(path):
            if group.id in seen:
                raise InputError(f"{where}: id {group.id!r} stands at {seen[group.id]} already; ids must differ")
            seen[group.id] = where
            other = split_of.setdefault(group.article, split)
            if other != split:
                raise InputError(
                    f"{where}: article {group.article!r} is in {other}.jsonl too; keep all of it in one split"
                )
            found[split].append(group)
        if not found[split]:
            raise InputError(f"{path}: is empty; put at least one group of claims into it")
    return found


def _groups(path: Path) -> Iterator[tuple[str, Group]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error}); check the file") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            lists = {key: tuple(row[key]) for key in ("evidence", "flipped")}
            texts = {key: row[key] for key in ("id", "article", "supported", "refuted", "change", "style")}
            extra = {key: row.get(key) for key in ("open", "settling")}
            sound = all(isinstance(row[key], list) and row[key] for key in lists) and all(
                isinstance(text, str) and text.strip() for text in (*sum(lists.values(), ()), *texts.values())
            )
            sound &= len({text is None for text in extra.values()}) == 1
        except (ValueError, TypeError, KeyError):
            sound = False
        if not sound:
            raise InputError(
                f"{path}:{number}: is not a group of claims; write an object with the lists evidence and flipped, the "
                "texts id, article, supported, refuted, change and style, and both or neither of open and settling"
            )
        yield f"{path}:{number}", Group(**texts, **lists, **extra)


def pairs(groups: Sequence[Group], *, seed: int = 0) -> list[Pair]:
    """All pairs that groups of one split give, in order; equal for equal ``seed``. `ORIGINS` tells how each is made."""
    rng = np.random.default_rng(seed)
    of_article: dict[str, list[Group]] = {}
    for group in groups:
        of_article.setdefault(group.article, []).append(group)
    found = []
    for group in groups:
        beside = [other for other in of_article[group.article] if other is not group]
        made = list(_own(group)) + list(_among_others(group, beside, rng))
        made += _neighbours(group, beside or [groups[int(rng.integers(len(groups)))]], rng)
        found += [
            Pair(f"{group.id}/{number}", group.article, claim, tuple(evidence), label, origin)
            for number, (claim, evidence, label, origin) in enumerate(made)
        ]
    return found


Made = tuple[str, Sequence[str], str, str]  # claim, evidence, label, origin


def _own(group: Group) -> Iterator[Made]:
    supported, refuted, unsettled = VERDICTS
    yield group.supported, group.evidence, supported, "composed"
    yield group.refuted, group.evidence, refuted, "composed"
    yield group.supported, group.flipped, refuted, "flipped"
    yield group.refuted, group.flipped, supported, "flipped"
    if group.open is not None and group.settling is not None:
        yield group.open, group.evidence, unsettled, "open"
        yield group.open, (*group.evidence, group.settling), supported, "settled"


def _among_others(group: Group, beside: Sequence[Group], rng: np.random.Generator) -> Iterator[Made]:
    """The evidence, or the flipped evidence, among one to three other sentences of the article, in any order."""
    others = [sentence for other in beside for sentence in other.evidence if sentence not in group.evidence]
    if not others:
        return
    supported, refuted, _ = VERDICTS
    evidence, verdicts = (
        (group.evidence, (supported, refuted)) if rng.random() < 0.5 else (group.flipped, (refuted, supported))
    )
    for claim, verdict in zip((group.supported, group.refuted), verdicts, strict=True):
        drawn = [others[i] for i in rng.permutation(len(others))[: rng.integers(1, 4)]]
        drawn = [sentence for sentence in dict.fromkeys(drawn) if not _telling(claim, sentence)]
        if drawn:
            mixed = [*evidence, *drawn]
            yield claim, [mixed[i] for i in rng.permutation(len(mixed))], verdict, "distracted"


def _neighbours(group: Group, beside: Sequence[Group], rng: np.random.Generator) -> Iterator[Made]:
    """Both claims with evidence that was not written for them: nothing is settled."""
    for claim in (group.supported, group.refuted):
        for i in rng.permutation(len(beside)):
            evidence = beside[i].evidence
            apart = not set(evidence) & set(group.evidence)
            if beside[i] is not group and apart and not _telling(claim, " ".join(evidence)):
                yield claim, evidence, VERDICTS[2], "neighbour"
                break


def _telling(claim: str, evidence: str) -> bool:
    """Whether evidence shares so many words with a claim that it may settle it, though it was not written for it."""
    words = _words(claim)
    return len(words & _words(evidence)) >= TELLING_OVERLAP * max(len(words), 1)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w{4,}|\d+", text.casefold()))
