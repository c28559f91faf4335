"""True label ids and probabilities in, scores out: per label, macro-F1, confusion, calibration, intervals."""

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support

from allegedly.labels import LABELS


def score(labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str] = LABELS) -> dict[str, float]:
    """Score probabilities of shape (n_sentences, n_labels) against n_sentences label ids; ``names`` are the labels.

    Returns macro_f1, accuracy, log_loss, expected_calibration_error and precision_, recall_, f1_ of every label. A
    label that occurs neither among the true nor among the predicted ones scores zero.
    """
    predicted = probabilities.argmax(axis=1)
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, predicted, labels=range(len(names)), zero_division=0
    )
    chosen = probabilities[np.arange(len(labels)), labels]
    scores = {
        "macro_f1": float(f1.mean()),
        "accuracy": float((predicted == labels).mean()),
        "log_loss": float(-np.log(np.clip(chosen, 1e-12, 1)).mean()),
        "expected_calibration_error": expected_calibration_error(labels, probabilities),
    }
    for i, label in enumerate(names):
        scores |= {
            f"precision_{label}": float(precision[i]),
            f"recall_{label}": float(recall[i]),
            f"f1_{label}": float(f1[i]),
        }
    return scores


def macro_f1(labels: np.ndarray, predicted: np.ndarray, names: Sequence[str] = LABELS) -> float:
    """The mean F1 of all labels, each counting the same however rare it is.

    >>> round(macro_f1(np.array([0, 1, 2, 3]), np.array([0, 1, 2, 2])), 3)  # F1 1, 1, 2/3, 0
    0.667
    """
    return float(f1_score(labels, predicted, labels=range(len(names)), average="macro", zero_division=0))


def reliability(labels: np.ndarray, probabilities: np.ndarray, *, n_bins: int = 15) -> np.ndarray:
    """Bin sentences by the probability of their predicted label.

    Returns an array of shape (n_filled_bins, 3): mean probability, share that was right, number of sentences.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    return np.array(
        [[confidence[bins == b].mean(), right[bins == b].mean(), (bins == b).sum()] for b in np.unique(bins)]
    )


def risk_coverage(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """What is wrong among the sentences that are kept when those below a probability are left unlabelled.

    Returns an array of shape (n_thresholds, 3), surest first: share of sentences that are kept, share of these whose
    label is wrong, the lowest probability among them. El-Yaniv & Wiener 2010, "On the Foundations of Noise-free
    Selective Classification"; Geifman & El-Yaniv 2017, section 2.

    >>> curve = risk_coverage(np.array([0, 0, 1, 1]), np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.4, 0.6]]))
    >>> curve.round(2).tolist()
    [[0.25, 0.0, 0.9], [0.5, 0.0, 0.8], [0.75, 0.33, 0.7], [1.0, 0.25, 0.6]]
    """
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    wrong = (probabilities.argmax(axis=1) != labels)[order]
    kept = np.arange(1, len(labels) + 1)
    last = np.append(np.diff(confidence[order]) < 0, True)  # a threshold keeps or leaves equals together
    return np.stack([kept / len(labels), wrong.cumsum() / kept, confidence[order]], axis=1)[last]


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray, *, n_bins: int = 15) -> float:
    """How far stated probability and share of right labels lie apart, on average (Guo et al. 2017, section 2).

    >>> round(expected_calibration_error(np.array([0, 0, 0, 1]), np.array([[0.9, 0.1]] * 4)), 2)  # says .90, right .75
    0.15
    """
    mean_probability, share_right, count = reliability(labels, probabilities, n_bins=n_bins).T
    return float(np.sum(np.abs(mean_probability - share_right) * count) / count.sum())


def confusion(labels: np.ndarray, predicted: np.ndarray, names: Sequence[str] = LABELS) -> np.ndarray:
    """Counts of shape (n_labels, n_labels): row = true label, column = predicted label."""
    return confusion_matrix(labels, predicted, labels=range(len(names)))


def intervals(
    labels: np.ndarray, predicted: np.ndarray, names: Sequence[str] = LABELS, *, n_resamples: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """The 95 % percentile bootstrap intervals of macro_f1 and of every label's f1_, over sentences.

    Efron & Tibshirani 1993, chapter 13.
    """
    rng = np.random.default_rng(seed)
    counts = np.zeros((n_resamples, len(names), len(names)))
    for n in range(n_resamples):
        drawn = rng.integers(0, len(labels), len(labels))
        np.add.at(counts[n], (labels[drawn], predicted[drawn]), 1)
    hits = np.diagonal(counts, axis1=1, axis2=2)
    totals = counts.sum(axis=1) + counts.sum(axis=2)
    f1 = np.divide(2 * hits, totals, out=np.zeros_like(hits), where=totals > 0)
    resampled = {"macro_f1": f1.mean(axis=1)} | {f"f1_{label}": f1[:, i] for i, label in enumerate(names)}
    return {name: tuple(np.percentile(values, [2.5, 97.5]).tolist()) for name, values in resampled.items()}


def score_with_intervals(
    labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str] = LABELS
) -> dict[str, float]:
    """What `score` returns, each F1 followed by the ends of its `intervals` as NAME_low and NAME_high."""
    found = intervals(labels, probabilities.argmax(axis=1), names)
    scores = {}
    for name, value in score(labels, probabilities, names).items():
        scores[name] = value
        if name in found:
            scores[f"{name}_low"], scores[f"{name}_high"] = found[name]
    return scores


def table(scores: Mapping[str, float], counts: np.ndarray, names: Sequence[str] = LABELS) -> str:
    """Lay out the result of `score` and `confusion` for a terminal."""
    width = max(12, 2 + max(map(len, names)))
    lines = [f"{'':{width}}{'precision':>10}{'recall':>10}{'F1':>10}{'number':>11}"]
    for i, label in enumerate(names):
        values = (scores[f"{metric}_{label}"] for metric in ("precision", "recall", "f1"))
        lines.append(f"{label:{width}}" + "".join(f"{value:10.3f}" for value in values) + f"{counts[i].sum():11d}")
    lines += ["", f"{'true / predicted':18}" + "".join(f"{label:>{width}}" for label in names)]
    lines += [f"{label:18}" + "".join(f"{n:{width}d}" for n in row) for label, row in zip(names, counts, strict=True)]
    lines += ["", f"macro-F1 {scores['macro_f1']:.3f}   accuracy {scores['accuracy']:.3f}   "
              f"expected calibration error {scores['expected_calibration_error']:.3f}"]  # fmt: skip
    return "\n".join(lines)
