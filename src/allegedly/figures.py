"""Labels and probabilities in, matplotlib figures out: confusion, precision-recall, reliability."""

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, precision_recall_curve

from allegedly.evaluation import confusion, reliability
from allegedly.labels import LABELS

COLORS = {"warning": "#d98c00", "denial": "#0077aa", "allegation": "#c0392b", "background": "#777777"}


def confusion_matrix(labels: np.ndarray, probabilities: np.ndarray) -> Figure:
    """Counts in the cells, colour by the share of the true label."""
    counts = confusion(labels, probabilities.argmax(axis=1))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        color = "white" if share > 0.5 else "black"
        axes.text(column, row, f"{counts[row, column]}\n{share:.0%}", ha="center", va="center", color=color)
    axes.set_xticks(range(len(LABELS)), LABELS, rotation=20)
    axes.set_yticks(range(len(LABELS)), LABELS)
    axes.set(xlabel="predicted", ylabel="true", title="Confusion matrix")
    figure.colorbar(image, ax=axes, label="share of the true label")
    return figure


def precision_recall(labels: np.ndarray, probabilities: np.ndarray) -> Figure:
    """One curve a label, each against the three others; AP is its average precision."""
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    for i, label in enumerate(LABELS):
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
    figure = Figure(figsize=(6, 5), layout="constrained")
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
