"""Folder of labelled JSON lines in, validated Examples of the three splits out.

A corpus is a folder with ``train.jsonl``, ``validation.jsonl`` and ``test.jsonl``; every line is an object with at
least ``id``, ``article``, ``text`` and ``label``. No article stands in two splits: sentences of one article resemble
each other, and a split that divides it would flatter the scores.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from allegedly.errors import InputError
from allegedly.labels import LABELS

SPLITS: tuple[str, ...] = ("train", "validation", "test")
FIELDS: tuple[str, ...] = ("id", "article", "text", "label")


@dataclass(frozen=True)
class Example:
    """One labelled sentence; ``article`` names the text that it comes from."""

    id: str
    article: str
    text: str
    label: str


def read(folder: str | Path) -> dict[str, list[Example]]:
    """Read and check the three splits of a corpus.

    Raises InputError naming file and line of the first thing that is wrong: a missing or empty file, a line that is
    not a JSON object, a missing field, an unknown label, an id used twice, a sentence that stands in two splits, an
    article divided between splits, a label that the training split lacks.
    """
    folder = Path(folder)
    splits: dict[str, list[Example]] = {}
    seen_ids: dict[str, str] = {}
    seen_texts: dict[str, tuple[str, str]] = {}
    split_of: dict[str, str] = {}
    for split in SPLITS:
        splits[split] = []
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
            splits[split].append(example)
    for label in LABELS:
        if all(example.label != label for example in splits["train"]):
            raise InputError(f"{folder / 'train.jsonl'}: no sentence is labelled {label!r}; every label needs examples")
    return splits


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
    return Example(*(row[field] for field in FIELDS))


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
            state.update(json.dumps([split, example.id, example.article, example.text, example.label]).encode())
    return state.hexdigest()
