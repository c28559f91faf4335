"""A folder of templates and a classifier in; out comes how many of the behaviours that they ask for it shows.

The three kinds of test are those of CheckList (Ribeiro et al. 2020, "Beyond Accuracy: Behavioral Testing of NLP Models
with CheckList", section 2): minimum functionality, a sentence has its label; invariance, a change that does not matter
leaves the label; direction, a change that matters brings the label that it should.
"""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from allegedly.errors import InputError
from allegedly.labels import LABELS

TARGETS = {"minimum functionality": 0.95, "invariance": 0.97, "direction": 0.90}  # shares of cases, default model
FILLINGS = 2  # of each template
BOILERPLATE = (" (Reuters)", " Read more", " | The Evening Ledger", " Follow us on Facebook.")


@dataclass(frozen=True)
class Case:
    """``text`` should get ``label``; with ``changed`` that one should, or, if ``label`` is None, both the same."""

    test: str  # a key of TARGETS
    capability: str
    text: str
    changed: str | None = None
    label: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What a classifier made of a case; ``before`` and ``after`` are its labels of text and of changed, if any."""

    case: Case
    before: str
    after: str | None

    @property
    def passed(self) -> bool:
        return (self.after or self.before) == (self.case.label or self.before)


def read(folder: str | Path) -> list[Case]:
    """Read and fill the templates of a folder; InputError names file and line of the first thing that is wrong."""
    folder = Path(folder)
    slots = _slots(folder / "slots.json")
    cases = []
    for number, row in enumerate(_rows(folder / "minimum_functionality.jsonl", ("capability", "label", "text"))):
        texts = [_filled(row["text"], slots, number + n) for n in range(FILLINGS if "{" in row["text"] else 1)]
        cases += [Case("minimum functionality", row["capability"], text, label=row["label"]) for text in texts]
        cases += _unchanged(row, slots, number)
    for row in _rows(folder / "invariance.jsonl", ("capability", "text", "changed")):
        cases.append(Case("invariance", **row))
    for row in _rows(folder / "direction.jsonl", ("capability", "text", "changed", "label")):
        cases.append(Case("direction", **row))
    return cases


def check(cases: Sequence[Case], label: Callable[[list[str]], Sequence[str]]) -> list[Outcome]:
    """Have ``label`` label all sentences of the cases, and pair them."""
    texts = list(dict.fromkeys(text for case in cases for text in (case.text, case.changed) if text is not None))
    found = dict(zip(texts, label(texts), strict=True))
    return [Outcome(case, found[case.text], None if case.changed is None else found[case.changed]) for case in cases]


def rates(outcomes: Iterable[Outcome]) -> dict[str, float]:
    """The share of cases that passed, by test."""
    passed: dict[str, list[bool]] = {}
    for outcome in outcomes:
        passed.setdefault(outcome.case.test, []).append(outcome.passed)
    return {test: sum(found) / len(found) for test, found in passed.items()}


def table(outcomes: Sequence[Outcome]) -> str:
    """Pass rates by capability, then every case that failed."""
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.case.test, outcome.case.capability), []).append(outcome)
    overall = rates(outcomes)
    lines = [f"{'':34}{'passed':>8}{'cases':>8}{'target':>8}"]
    for test, target in TARGETS.items():
        total = sum(outcome.case.test == test for outcome in outcomes)
        lines.append(f"{test:34}{overall.get(test, 0):8.1%}{total:8d}{target:8.0%}")
        for (of, capability), found in groups.items():
            if of == test:
                share = sum(outcome.passed for outcome in found) / len(found)
                lines.append(f"  {capability:32}{share:8.1%}{len(found):8d}")
    lines += ["", "Failed:"]
    for outcome in outcomes:
        if not outcome.passed:
            case = outcome.case
            wanted = case.label or outcome.before
            lines.append(
                f"  {case.capability}: {outcome.after or outcome.before}, not {wanted}: {case.changed or case.text}"
            )
    return "\n".join(lines)


def _unchanged(row: Mapping[str, str], slots: Mapping[str, list[str]], number: int) -> Iterator[Case]:
    """The changes of a template that leave its label: another filling of one slot, other typography, furniture."""
    text = _filled(row["text"], slots, number)

    def case(capability: str, changed: str) -> Iterator[Case]:
        if changed != text:
            yield Case("invariance", capability, text, changed)

    for slot, values in slots.items():
        others = {slot: values[(number + 1) % len(values) :] + values[: (number + 1) % len(values)]}
        rest = {name: [filling[number % len(filling)]] for name, filling in slots.items()}
        yield from case(f"another {slot}", _filled(row["text"], {**rest, **others}, 0))
    yield from case("curly quotes", _curly(text))
    if row["capability"] == "headline":
        yield from case("upper-case headline", text.upper())
    elif row["capability"] != "furniture":
        yield from case("trailing boilerplate", text + BOILERPLATE[number % len(BOILERPLATE)])


def _curly(text: str) -> str:
    """Typographic quotes and apostrophes for straight ones.

    >>> _curly('"It\\'s a lie," he said.')
    '“It’s a lie,” he said.'
    """
    marks = itertools.cycle("“”")
    return "".join(next(marks) if c == '"' else "’" if c == "'" else c for c in text)


def _filled(template: str, slots: Mapping[str, list[str]], number: int) -> str:
    """The template with the ``number``-th value of each slot, its first letter a capital."""
    text = template.format(**{name: values[number % len(values)] for name, values in slots.items()})
    return text[0].upper() + text[1:]


def _slots(path: Path) -> dict[str, list[str]]:
    try:
        slots = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(value, str) for values in slots.values() for value in values) or not all(slots.values()):
            raise ValueError("every slot is a list of strings")
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); set corpus.behaviour=null to train without it") from None
    return slots


def _rows(path: Path, fields: tuple[str, ...]) -> Iterator[dict[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); set corpus.behaviour=null to train without it") from None
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            sane = row.keys() == set(fields) and all(isinstance(value, str) and value for value in row.values())
        except (ValueError, AttributeError):
            sane = False
        if not sane or row.get("label", LABELS[0]) not in LABELS:
            raise InputError(f"{path}:{number}: is not an object with {', '.join(fields)}; mend the line")
        yield row
