"""Labelled sentences in, a profile of their batch out; two profiles in, out comes in words what moved between them.

A profile counts labels, confidence, length and what is out of scope; it holds no text and no file name.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from allegedly import scope
from allegedly.errors import InputError
from allegedly.labels import LABELS
from allegedly.report import Labelled

CONFIDENCE = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # ends of the bins of the likeliest label's probability
WORDS = (5, 10, 15, 20, 25, 30, 40)
FEATURES: dict[str, tuple[str, ...]] = {
    "labels": LABELS,
    "confidence": tuple(f"{low}-{high}" for low, high in zip((0, *CONFIDENCE), (*CONFIDENCE, 1), strict=True)),
    "words": tuple(f"{low}-{high}" for low, high in zip((1, *WORDS), (*(w - 1 for w in WORDS), ""), strict=True)),
    "scope": ("English prose", *scope.REASONS),
}
SMALL, LARGE = 0.1, 0.25  # of the PSI; the customary limits, see `compare`
CERTAIN = 0.01  # p-value below which a difference is no accident of few sentences


class Tally:
    """Counts rows as they pass; `profile` is that of the rows so far.

    The labels that count are the likeliest ones, so that a profile does not depend on ``--min-probability``.
    """

    def __init__(self) -> None:
        self.counts = {feature: dict.fromkeys(bins, 0) for feature, bins in FEATURES.items()}

    def watch(self, rows: Iterable[Labelled]) -> Iterator[Labelled]:
        for row in rows:
            self.add(row.text, row.probabilities, row.out_of_scope)
            yield row

    def add(self, text: str, probabilities: Mapping[str, float], out_of_scope: str | None) -> None:
        label = max(probabilities, key=probabilities.__getitem__)
        self.counts["labels"][label] += 1
        confidence = int(np.searchsorted(CONFIDENCE, probabilities[label], side="right"))
        self.counts["confidence"][FEATURES["confidence"][confidence]] += 1
        words = int(np.searchsorted(WORDS, len(text.split()), side="right"))
        self.counts["words"][FEATURES["words"][words]] += 1
        self.counts["scope"][out_of_scope or "English prose"] += 1

    @property
    def profile(self) -> dict[str, Any]:
        return {"format": 1, "sentences": sum(self.counts["labels"].values()), **self.counts}


def read(path: str | Path) -> dict[str, Any]:
    """Read a profile, or that in the manifest of a bundle; InputError for anything else."""
    path = Path(path)
    file = path / "bundle.json" if path.is_dir() else path
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read ({error}); python -m predict --profile PATH writes one") from None
    if isinstance(found, dict) and "files" in found:  # a manifest
        found = found.get("profile")
        if found is None:
            raise InputError(f"{file}: this model holds no profile; train it again, or name a profile to compare with")
    try:
        sane = found["format"] == 1 and found["sentences"] > 0
        for feature, bins in FEATURES.items():
            counts = [found[feature][name] for name in bins]
            sane &= all(isinstance(n, int) and n >= 0 for n in counts) and sum(counts) == found["sentences"]
    except (KeyError, TypeError):
        sane = False
    if not sane:
        raise InputError(f"{file}: is no profile of one or more sentences; python -m predict --profile PATH writes one")
    return found


@dataclass(frozen=True)
class Shift:
    """How one feature of a profile differs from that of another."""

    feature: str
    psi: float
    p_value: float
    grew: str  # the bins whose shares went up and down the most, and by how many percentage points
    grew_by: float
    shrank: str
    shrank_by: float

    @property
    def size(self) -> str:
        if self.p_value >= CERTAIN or self.psi < SMALL:
            return "steady"
        return "moved" if self.psi < LARGE else "moved much"


def compare(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[Shift]:
    """Compare two profiles feature by feature.

    The size of a shift is the population stability index, the sum over bins of (a - b) ln(a / b): below 0.1 little,
    above 0.25 much, by the custom of credit scoring (Siddiqi 2006, "Credit Risk Scorecards", chapter 9). Empty bins
    count half a sentence. Whether it could be chance says a chi-square test of homogeneity; sentences of one article
    resemble each other, so that its p-values are somewhat too small.
    """
    shifts = []
    for feature, bins in FEATURES.items():
        counts = np.array([[profile[feature][name] for name in bins] for profile in (now, before)], dtype=float)
        a, b = (smoothed := np.maximum(counts, 0.5)) / smoothed.sum(axis=1, keepdims=True)
        change = 100 * (counts[0] / counts[0].sum() - counts[1] / counts[1].sum())
        up, down = int(change.argmax()), int(change.argmin())
        shifts.append(
            Shift(
                feature,
                psi=float(((a - b) * np.log(a / b)).sum()),
                p_value=_chi_square(counts),
                grew=bins[up], grew_by=float(change[up]), shrank=bins[down], shrank_by=float(-change[down]),
            )
        )  # fmt: skip
    return shifts


def _chi_square(counts: np.ndarray) -> float:
    from scipy.stats import chi2_contingency  # predict writes profiles and has no need of it

    seen = counts[:, counts.sum(axis=0) > 0]
    return float(chi2_contingency(seen, correction=False).pvalue) if seen.shape[1] > 1 else 1.0


def words(shifts: Iterable[Shift]) -> str:
    """One line a feature, the verdict first."""
    lines = []
    for shift in shifts:
        line = f"{shift.size:10}  {shift.feature:10}  PSI {shift.psi:.3f}, p {_rounded(shift.p_value)}"
        if shift.size != "steady":
            line += f": more {shift.grew} (+{shift.grew_by:.1f} points), fewer {shift.shrank} (-{shift.shrank_by:.1f})"
        lines.append(line)
    return "\n".join(lines)


def _rounded(p: float) -> str:
    return "< 0.001" if p < 0.001 or math.isnan(p) else f"{p:.3f}"
