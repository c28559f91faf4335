"""Logits and target distributions in, the training loss out: class weights, label smoothing, soft labels, R-Drop.

A target is a distribution over the labels: one-hot, smoothed, or mixed with a teacher's probabilities.
"""

import numpy as np
import torch

from allegedly.config import ClassWeights


def targets(
    labels: np.ndarray,
    n_labels: int,
    *,
    label_smoothing: float = 0.0,
    teacher: np.ndarray | None = None,
    distillation: float = 0.0,
) -> np.ndarray:
    """Distributions of shape (n_sentences, n_labels), float32, from label ids of shape (n_sentences,).

    Label smoothing (Szegedy et al. 2016, section 7) spreads that much over all labels. ``distillation`` is the share
    that the ``teacher``'s probabilities, shape (n_sentences, n_labels), have in the target (Hinton et al. 2015, 2).

    >>> targets(np.array([0]), 4, label_smoothing=0.2).round(2).tolist()
    [[0.8500000238418579, 0.05000000074505806, 0.05000000074505806, 0.05000000074505806]]
    """
    distributions = np.eye(n_labels)[labels] * (1 - label_smoothing) + label_smoothing / n_labels
    if teacher is not None:
        distributions = (1 - distillation) * distributions + distillation * teacher
    return distributions.astype(np.float32)


def class_weights(labels: np.ndarray, n_labels: int, kind: ClassWeights) -> np.ndarray:
    """Weights of shape (n_labels,) whose mean over the sentences is one.

    >>> class_weights(np.array([0, 1, 2, 3, 3, 3]), 4, ClassWeights.balanced).round(2).tolist()
    [1.5, 1.5, 1.5, 0.5]
    """
    counts = np.bincount(labels, minlength=n_labels).astype(float)
    power = {ClassWeights.none: 0.0, ClassWeights.sqrt: 0.5, ClassWeights.balanced: 1.0}[kind]
    weights = np.maximum(counts, 1) ** -power
    return weights * counts.sum() / (weights * counts).sum()


def loss(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of target distributions, weighted by label; the sum over the batch.

    ``logits`` and ``targets`` have the shape (n_sentences, n_labels), ``weights`` (n_labels,).
    """
    return -(weights * targets * logits.float().log_softmax(dim=-1)).sum()


def disagreement(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Symmetric KL divergence between two passes with different dropout, summed over the batch.

    R-Drop (Liang et al. 2021, equation 3). Both logits have the shape (n_sentences, n_labels).
    """
    a, b = first.float().log_softmax(dim=-1), second.float().log_softmax(dim=-1)
    return ((a.exp() - b.exp()) * (a - b)).sum() / 2
