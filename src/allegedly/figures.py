"""Labels, probabilities and scores in, matplotlib figures out: F1, confusion, curves of precision, risk and learning.

Made for a browser: `SIZE` inches at 100 dots an inch fill the pane beside the list of artifacts without scrolling.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import average_precision_score, precision_recall_curve

from allegedly.evaluation import confusion, reliability, risk_coverage
from allegedly.labels import LABELS

SIZE = (7, 5.2)
COLORS = {
    **{"warning": "#d98c00", "denial": "#0077aa", "allegation": "#c0392b", "background": "#777777"},
    **{"SUPPORTED": "#2e7d32", "REFUTED": "#c0392b", "NOT_ENOUGH_INFO": "#777777"},
}


def f1(runs: Mapping[str, Mapping[str, float]], labels: Sequence[str] = LABELS) -> Figure:
    """F1 of every label and their mean with 95 % intervals; ``runs`` names what `score_with_intervals` found."""
    names = {f"f1_{label}": label for label in labels} | {"macro_f1": "mean (macro-F1)"}
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(runs)
    for n, (run, scores) in enumerate(runs.items()):
        values, low, high = (np.array([scores[f"{name}{end}"] for name in names]) for end in ("", "_low", "_high"))
        places = np.arange(len(names)) + (n - (len(runs) - 1) / 2) * height
        colors = [COLORS.get(name, "#333333") for name in names.values()] if len(runs) == 1 else f"C{n}"
        errors = np.maximum([values - low, high - values], 0)  # an interval need not hold the value
        axes.barh(places, values, 0.9 * height, xerr=errors, color=colors, label=run, error_kw={"ecolor": "black"})
        for place, value, end in zip(places, values, np.maximum(values, high), strict=True):
            axes.text(end + 0.01, place, f"{value:.3f}", va="center", fontsize=9)
    axes.set_yticks(range(len(names)), names.values())
    axes.invert_yaxis()
    axes.set(xlabel="F1 on the test split", xlim=(0, 1.1), title="F1 per label with 95 % intervals")
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    if len(runs) > 1:
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(runs))
    return figure


def confusion_matrix(labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str] = LABELS) -> Figure:
    """Counts and, below them and as colour, the share of the true label (each row adds up to 100 %)."""
    counts = confusion(labels, probabilities.argmax(axis=1), names)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        color = "white" if share > 0.5 else "black"
        axes.text(column, row, f"{counts[row, column]}\n{share:.0%}", ha="center", va="center", color=color)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted", ylabel="true", title="Confusion matrix: sentences, and share of the true label")
    figure.colorbar(image, ax=axes, label="share of the true label", format="{x:.0%}")
    return figure


def precision_recall(labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str] = LABELS) -> Figure:
    """One curve a label, each against all others; AP is its average precision."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    for i, label in enumerate(names):
        if not (labels == i).any():
            continue
        precision, recall, _ = precision_recall_curve(labels == i, probabilities[:, i])
        ap = average_precision_score(labels == i, probabilities[:, i])
        axes.plot(recall, precision, color=COLORS[label], label=f"{label} (AP {ap:.2f})")
    axes.set(
        xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.01), title="Precision and recall per label"
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    return figure


def reliability_diagram(labels: np.ndarray, probabilities: np.ndarray) -> Figure:
    """Stated probability against the share that was right; on the diagonal the two agree."""
    mean_probability, share_right, count = reliability(labels, probabilities).T
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#999999", linestyle="--", label="perfectly calibrated")
    axes.plot(mean_probability, share_right, color="#0077aa", marker="o", label="classifier")
    for x, y, n in zip(mean_probability, share_right, count, strict=True):
        axes.annotate(f"{int(n)}", (x, y), textcoords="offset points", xytext=(5, -10), fontsize=8)
    axes.set(
        xlabel="mean probability of the predicted label", ylabel="share that was right", xlim=(0, 1.01), ylim=(0, 1.01),
        title="Reliability (numbers: sentences in the bin)",
    )  # fmt: skip
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    return figure


def risk_coverage_curve(labels: np.ndarray, probabilities: np.ndarray) -> Figure:
    """The share of wrong labels among the surest sentences; the marks name the probability that leaves so many."""
    coverage, risk, probability = risk_coverage(labels, probabilities).T
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    axes.plot(coverage, risk, color="#0077aa")
    for level in (0.5, 0.6, 0.7, 0.8, 0.9):
        if (probability >= level).any():
            i = np.flatnonzero(probability >= level)[-1]
            axes.plot(coverage[i], risk[i], color="#0077aa", marker="o")
            axes.annotate(f"{level}", (coverage[i], risk[i]), textcoords="offset points", xytext=(-4, 8), ha="right")
    axes.set(
        xlabel="share of sentences that keep their label", ylabel="share of these that is wrong", xlim=(0, 1.01),
        ylim=(0, None), title="Risk and coverage (marks: --min-probability)",
    )  # fmt: skip
    axes.grid(alpha=0.3)
    return figure


def learning_curve(loss: Sequence[tuple[int, float]], macro_f1: Sequence[tuple[int, float]]) -> Figure:
    """(step, training loss) and (step, validation macro-F1), one above the other over the same steps."""
    figure = Figure(figsize=SIZE, layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    above.plot(*zip(*loss, strict=True), color="#555555")
    above.set(ylabel="training loss", ylim=(0, 1.05 * max(value for _, value in loss)), title="Learning curve")
    below.plot(*zip(*macro_f1, strict=True), color="#0077aa", marker="o")
    step, best = max(macro_f1, key=lambda point: point[1])
    away = 8 if best < 0.5 else -16  # points, towards the middle of the picture
    below.annotate(f"{best:.3f}", (step, best), textcoords="offset points", xytext=(0, away), ha="center")
    below.set(xlabel="optimizer steps", ylabel="validation macro-F1", ylim=(0, 1.02))
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (above, below):
        axes.grid(alpha=0.3)
    return figure
