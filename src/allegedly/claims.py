"""Groups of claims, each written around one piece of evidence, in; pairs of claim and evidence with their verdicts out.

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
from typing import Any

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
    "close": "a claim, or a sentence, beside the very text from which it differs by one change: the easiest",
    "adversarial": "a pair that somebody wrote to mislead",
    "own": "any other pair that somebody wrote and labelled",
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


def read(folder: str | Path, *, splits: Sequence[str] = SPLITS) -> dict[str, list[Group | Pair]]:
    """Read and check the ``train.jsonl``, ``validation.jsonl`` and ``test.jsonl`` of a folder.

    A line is a group (the fields of `Group`) or a pair that somebody labelled: id, article, claim, evidence (a list of
    sentences), label. Raises InputError naming file and line of the first thing that is wrong: a missing or empty file,
    a line that is neither, an id used twice, an article divided between splits.
    """
    found: dict[str, list[Group | Pair]] = {}
    seen: dict[str, str] = {}
    split_of: dict[str, str] = {}
    for split in splits:
        path = Path(folder) / f"{split}.jsonl"
        found[split] = []
        for where, line in _lines(path):
            if line.id in seen:
                raise InputError(f"{where}: id {line.id!r} stands at {seen[line.id]} already; ids must differ")
            seen[line.id] = where
            other = split_of.setdefault(line.article, split)
            if other != split:
                raise InputError(
                    f"{where}: article {line.article!r} is in {other}.jsonl too; keep all of it in one split"
                )
            found[split].append(line)
        if not found[split]:
            raise InputError(f"{path}: is empty; put at least one group of claims into it")
    return found


def _lines(path: Path) -> Iterator[tuple[str, Group | Pair]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error}); check the file") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            row = None
            try:
                row = json.loads(line)
                yield f"{path}:{number}", _pair(row) if "claim" in row else _group(row)
            except (ValueError, TypeError, KeyError):
                shape = _SHAPES[isinstance(row, dict) and "claim" in row]
                raise InputError(f"{path}:{number}: {shape}") from None


_SHAPES = {
    False: "is not a group of claims; write an object with the lists evidence and flipped, the texts id, article, "
    "supported, refuted, change and style, and both or neither of open and settling",
    True: f"is not a pair; write an object with the texts id, article, claim and label (one of {', '.join(VERDICTS)}) "
    "and the list evidence",
}


def _group(row: dict[str, Any]) -> Group:
    texts = {key: _text(row[key]) for key in ("id", "article", "supported", "refuted", "change", "style")}
    lists = {key: _sentences(row[key]) for key in ("evidence", "flipped")}
    extra = {key: _text(row[key]) for key in ("open", "settling") if row.get(key) is not None}
    if len(extra) == 1:
        raise ValueError
    return Group(**texts, **lists, **{"open": None, "settling": None} | extra)


def _pair(row: dict[str, Any]) -> Pair:
    texts = {key: _text(row[key]) for key in ("id", "article", "claim", "label")}
    if texts["label"] not in VERDICTS:
        raise ValueError
    return Pair(**texts, evidence=_sentences(row["evidence"]), origin=_text(row.get("origin", "own")))


def _sentences(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError
    return tuple(map(_text, value))


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value


def pairs(lines: Sequence[Group | Pair], *, seed: int = 0, close: bool = True) -> list[Pair]:
    """All pairs of one split, in order: those that its groups give (`ORIGINS` tells how) and those labelled by hand.

    Equal for equal ``seed``, which draws neighbours and orders. ``close`` False leaves out the easiest, which would
    flatter a score.
    """
    rng = np.random.default_rng(seed)
    groups = [line for line in lines if isinstance(line, Group)]
    of_article: dict[str, list[Group]] = {}
    for group in groups:
        of_article.setdefault(group.article, []).append(group)
    found = [line for line in lines if isinstance(line, Pair)]
    for group in groups:
        beside = [other for other in of_article[group.article] if other is not group]
        made = [*_own(group), *_close(group, rng), *_among_others(group, beside, rng)]
        made += _neighbours(group, beside or _elsewhere(group, groups, rng), rng)
        found += [
            Pair(f"{group.id}/{number}", group.article, claim, tuple(evidence), label, origin)
            for number, (claim, evidence, label, origin) in enumerate(made)
            if close or origin != "close"
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


def _close(group: Group, rng: np.random.Generator) -> Iterator[Made]:
    """The group's texts beside each other: how a change of a few words turns a verdict is learnt here first."""
    supported, refuted, unsettled = VERDICTS
    apart = [(group.supported, group.refuted)]
    if len(group.evidence) == len(group.flipped) == 1:
        apart.append((group.evidence[0], group.flipped[0]))
    for texts in apart:
        claim, evidence = (texts[i] for i in rng.permutation(2))
        yield claim, [evidence], refuted, "close"
        claim = texts[rng.integers(2)]
        yield claim, [claim], supported, "close"  # or it would learn that a text beside its like is refuted
    if group.open is not None:
        yield group.open, [group.supported], unsettled, "close"


def _among_others(group: Group, beside: Sequence[Group], rng: np.random.Generator) -> Iterator[Made]:
    """Evidence, as it is or flipped, among one to three other sentences of the article, in any order."""
    others = [sentence for other in beside for sentence in other.evidence if sentence not in group.evidence]
    claim, evidence, verdict = [
        (group.supported, group.evidence, VERDICTS[0]),
        (group.supported, group.flipped, VERDICTS[1]),
        (group.refuted, group.evidence, VERDICTS[1]),
        (group.refuted, group.flipped, VERDICTS[0]),
    ][rng.integers(4)]
    drawn = [others[i] for i in rng.permutation(len(others))[: rng.integers(1, 4)]]
    drawn = [sentence for sentence in dict.fromkeys(drawn) if not _telling(claim, sentence)]
    if drawn:
        mixed = [*evidence, *drawn]
        yield claim, [mixed[i] for i in rng.permutation(len(mixed))], verdict, "distracted"


def _neighbours(group: Group, beside: Sequence[Group], rng: np.random.Generator) -> Iterator[Made]:
    """A claim with evidence that was not written for it: nothing is settled."""
    claim = (group.supported, group.refuted)[rng.integers(2)]
    for i in rng.permutation(len(beside)):
        evidence = beside[i].evidence
        if not set(evidence) & set(group.evidence) and not _telling(claim, " ".join(evidence)):
            yield claim, evidence, VERDICTS[2], "neighbour"
            return


def _elsewhere(group: Group, groups: Sequence[Group], rng: np.random.Generator) -> list[Group]:
    """A few groups of other articles, for one that is alone in its own."""
    drawn = [groups[i] for i in rng.integers(len(groups), size=8)]
    return [other for other in drawn if other.article != group.article]


def _telling(claim: str, evidence: str) -> bool:
    """Whether evidence shares so many words with a claim that it may settle it, though it was not written for it."""
    words = _words(claim)
    return len(words & _words(evidence)) >= TELLING_OVERLAP * max(len(words), 1)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w{4,}|\d+", text.casefold()))
