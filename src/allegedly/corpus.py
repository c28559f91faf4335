"""Folder of labelled JSON lines in, validated Examples of the three splits out, for either task.

A corpus is a folder with ``train.jsonl``, ``validation.jsonl`` and ``test.jsonl``; every line is an object with at
least ``id``, ``article``, ``text`` and ``label``, and at will ``kind`` and ``doubt`` (see `Example`). No article stands
in two splits: sentences of one article resemble each other, and a split that divides it would flatter the scores.

For verification the lines are those of `allegedly.claims`.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from allegedly import claims
from allegedly.encoding import Text
from allegedly.errors import InputError
from allegedly.labels import LABELS, STANCE, VERIFICATION, Task

SPLITS: tuple[str, ...] = ("train", "validation", "test")
FIELDS: tuple[str, ...] = ("id", "article", "text", "label")


@dataclass(frozen=True)
class Example:
    """One labelled sentence, or one claim with its ``evidence``; ``article`` names the text that it comes from.

    ``kind`` tells how it came about ("contrast": written at the border between two labels), ``doubt`` how many
    annotators hesitated.
    """

    id: str
    article: str
    text: str
    label: str
    kind: str = ""
    doubt: int = 0
    evidence: str | None = None

    @property
    def input(self) -> Text:
        """What a classifier reads."""
        return self.text if self.evidence is None else (self.text, self.evidence)


def read(folder: str | Path, *, splits: Sequence[str] = SPLITS, task: Task = STANCE) -> dict[str, list[Example]]:
    """Read and check a corpus: all of it, or those of its ``splits`` that are named; the other files stay closed.

    Raises InputError naming file and line of the first thing that is wrong: a missing or empty file, a line that is
    not a JSON object, a missing field, an unknown label, an id used twice, a sentence that stands in two splits, an
    article divided between splits, a label that the training split lacks.
    """
    if task is VERIFICATION:
        found = {
            split: [
                Example(
                    pair.id, pair.article, pair.claim, pair.label, kind=pair.origin, evidence=" ".join(pair.evidence)
                )
                for pair in claims.pairs(lines, close=split == "train")
            ]
            for split, lines in claims.read(folder, splits=splits).items()
        }
        _refuse_shared(found)
        return found
    folder = Path(folder)
    found: dict[str, list[Example]] = {}
    seen_ids: dict[str, str] = {}
    seen_texts: dict[str, tuple[str, str]] = {}
    split_of: dict[str, str] = {}
    for split in splits:
        found[split] = []
        for where, example in _examples(folder / f"{split}.jsonl"):
            if example.id in seen_ids:
                raise InputError(
                    f"{where}: id {example.id!r} stands at {seen_ids[example.id]} already; ids must differ"
                )
            other = split_of.setdefault(example.article, split)
            if other != split:
                raise InputError(
                    f"{where}: article {example.article!r} is in {other}.jsonl too; keep all of it in one split"
                )
            words = " ".join(example.text.split()).casefold()
            first_split, first_where = seen_texts.setdefault(words, (split, where))
            if first_split != split:
                raise InputError(f"{where}: the same sentence stands at {first_where}; keep it in one split")
            seen_ids[example.id] = where
            found[split].append(example)
    for label in LABELS:
        if all(example.label != label for example in found["train"]):
            raise InputError(f"{folder / 'train.jsonl'}: no sentence is labelled {label!r}; every label needs examples")
    return found


def _refuse_shared(splits: Mapping[str, Sequence[Example]]) -> None:
    """Raise InputError if the same claim stands with the same evidence in two splits."""
    seen: dict[tuple[str, ...], str] = {}
    for split, examples in splits.items():
        for example in examples:
            texts = tuple(" ".join(text.split()).casefold() for text in example.input)
            if seen.setdefault(texts, split) != split:
                raise InputError(
                    f"{split}.jsonl: {example.id!r} is a claim with evidence that {seen[texts]}.jsonl holds too; keep "
                    "it in one split"
                )


def _examples(path: Path) -> Iterator[tuple[str, Example]]:
    try:
        content = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; a corpus folder holds {', '.join(f'{s}.jsonl' for s in SPLITS)}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error}); check the file") from None
    empty = True
    for number, line in enumerate(content.split("\n"), 1):
        if line.strip():
            empty = False
            yield f"{path}:{number}", _example(line, f"{path}:{number}")
    if empty:
        raise InputError(f"{path}: is empty; put at least one labelled sentence into it")


def _example(line: str, where: str) -> Example:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{where}: is not JSON ({error.msg} at column {error.colno}); write one object a line"
        ) from None
    if not isinstance(row, dict):
        raise InputError(f"{where}: holds {type(row).__name__}, not an object; write one object a line")
    for field in FIELDS:
        if not isinstance(row.get(field), str) or not row[field].strip():
            raise InputError(f"{where}: field {field!r} is missing, empty or not a string; every line needs {FIELDS}")
    if row["label"] not in LABELS:
        raise InputError(f"{where}: label {row['label']!r} is not one of {', '.join(LABELS)}")
    kind, doubt = row.get("kind", ""), row.get("doubt", 0)
    if not isinstance(kind, str) or type(doubt) is not int or doubt < 0:
        raise InputError(f"{where}: kind is text and doubt a number of annotators; leave them out if there are none")
    return Example(*(row[field] for field in FIELDS), kind=kind, doubt=doubt)


def select(
    examples: Sequence[Example],
    maximum: int | None,
    *,
    seed: int,
    hard_share: float = 0.0,
    teacher: Mapping[str, np.ndarray] | None = None,
) -> list[Example]:
    """At most ``maximum`` examples, in order: a share that the teacher finds hardest, the others drawn from the rest.

    Hardest are those whose own label the teacher gives the least probability: they teach most when time is short
    (compare Swayamdipta et al. 2020, "Dataset Cartography", section 3, on training with ambiguous instances).
    """
    if maximum is None or maximum >= len(examples):
        return list(examples)
    order = np.random.default_rng(seed).permutation(len(examples))
    if hard_share:
        held = soft_labels(examples, teacher or {})[np.arange(len(examples)), label_ids(examples)]
        hard = order[np.argsort(held[order], kind="stable")][: round(hard_share * maximum)]
        order = np.concatenate([hard, order[~np.isin(order, hard)]])
    return [examples[i] for i in np.sort(order[:maximum])]


def label_ids(examples: Sequence[Example], names: Sequence[str] = LABELS) -> np.ndarray:
    """The labels of examples as positions in ``names``, int64 of shape (n_examples,)."""
    return np.array([names.index(example.label) for example in examples], dtype=np.int64)


def soft_labels(examples: Sequence[Example], teacher: Mapping[str, np.ndarray]) -> np.ndarray:
    """The teacher's probabilities for every example, shape (n_sentences, n_labels).

    Raises InputError for an example that the teacher lacks.
    """
    missing = next((example.id for example in examples if example.id not in teacher), None)
    if missing is not None:
        raise InputError(
            f"corpus.teacher: holds no probabilities for sentence {missing!r}; write them anew with 'python -m teach', "
            "or train on the labels alone with trainer.distillation=0 trainer.hard_share=0"
        )
    return np.array([teacher[example.id] for example in examples])


def borderline(examples: Sequence[Example], *, at_least: int = 100) -> np.ndarray:
    """Which examples stand at a border between labels, bool of shape (n_sentences,).

    Those are the contrast sentences and those over which an annotator hesitated. In a corpus with fewer than
    ``at_least`` of them, all examples count.
    """
    found = np.array([example.kind == "contrast" or example.doubt > 0 for example in examples], dtype=bool)
    return found if found.sum() >= at_least else np.ones(len(examples), dtype=bool)


def read_teacher(path: str | Path) -> dict[str, np.ndarray]:
    """Read a teacher's probabilities, JSON lines of ``id`` and ``probabilities`` by label: id -> shape (n_labels,).

    Raises InputError naming file and line of the first thing that is wrong.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"corpus.teacher: {path} cannot be read ({error}); python -m teach writes it") from None
    teacher = {}
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            probabilities = np.array([row["probabilities"][label] for label in LABELS], dtype=float)
            right = isinstance(row["id"], str) and (probabilities >= 0).all() and abs(probabilities.sum() - 1) < 0.01
        except (ValueError, TypeError, KeyError):
            right = False
        if not right:
            raise InputError(
                f"{path}:{number}: is not an object with an id and probabilities of {', '.join(LABELS)} that add up to "
                "one; write the file anew with 'python -m teach'"
            )
        teacher[row["id"]] = probabilities / probabilities.sum()
    return teacher


def digest(splits: Mapping[str, Sequence[Example]]) -> str:
    """The sha256 of all examples in order: equal for equal corpora, wherever they lie."""
    state = hashlib.sha256()
    for split, examples in splits.items():
        for example in examples:
            state.update(json.dumps([split, *astuple(example)]).encode())
    return state.hexdigest()


def test_digest(examples: Sequence[Example], names: Sequence[str]) -> str:
    """The sha256 of the sentences, their labels and the label set: scores on equal ones can be compared."""
    return hashlib.sha256(json.dumps([names, [(e.input, e.label) for e in examples]]).encode()).hexdigest()
