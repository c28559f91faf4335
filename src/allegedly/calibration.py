"""Logits in, honest probabilities and sets of labels out.

One number, the temperature, divides every logit before the softmax. It changes how sure the classifier says it is,
never which label it prefers (Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2). It is fitted
on sentences that were not trained on; fitted on training sentences it would trust an overfitted model.
"""

import math

import numpy as np


def apply(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Turn logits of shape (n_sentences, n_labels) into probabilities of the same shape.

    >>> apply(np.array([[2.0, 0.0]]), temperature=1.0).round(2).tolist()
    [[0.88, 0.12]]
    >>> apply(np.array([[2.0, 0.0]]), temperature=4.0).round(2).tolist()
    [[0.62, 0.38]]
    """
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)  # exp overflows above 709
    weights = np.exp(scaled)
    return weights / weights.sum(axis=1, keepdims=True)


def fit(logits: np.ndarray, labels: np.ndarray, *, bounds: tuple[float, float] = (0.05, 20.0)) -> float:
    """Find the temperature that makes held-out labels most likely.

    ``logits`` has the shape (n_sentences, n_labels), ``labels`` holds n_sentences label ids. The search never leaves
    ``bounds``: a classifier that is right on every held-out sentence would drive the temperature to zero.

    >>> round(fit(np.array([[4.0, 0.0]] * 4), np.array([0, 0, 0, 1])), 2)  # sure at 0.98, right 3 times in 4
    3.64
    """
    logits = np.asarray(logits, dtype=np.float64)
    chosen = logits[np.arange(len(labels)), labels]
    low, high = 1 / bounds[1], 1 / bounds[0]
    for _ in range(60):
        inverse = (low + high) / 2
        # The slope of the mean negative log-likelihood only rises with 1/T: bisection finds its zero.
        slope = ((apply(logits, 1 / inverse) * logits).sum(axis=1) - chosen).mean()
        low, high = (inverse, high) if slope < 0 else (low, inverse)
    return float(1 / inverse)


def fit_label_sets(probabilities: np.ndarray, labels: np.ndarray, *, coverage: float = 0.95) -> float:
    """Find the probability above which a label belongs into a sentence's set, so that sets hold the true label.

    ``probabilities`` of shape (n_sentences, n_labels) and ``labels``, n_sentences label ids, are of sentences that
    were not trained on. On sentences like these (exchangeable with them) a set of all labels that are at least so
    probable holds the true one with probability ``coverage`` or more. Split conformal prediction with the least
    ambiguous sets: Sadinle, Lei & Wasserman 2019, "Least Ambiguous Set-Valued Classifiers with Bounded Error Levels";
    the rank is that of Vovk, Gammerman & Shafer 2005, section 2.2. Zero, every label, where sentences are too few.

    >>> truth = np.array([0.99, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])  # what nine true labels were given
    >>> round(fit_label_sets(np.stack([truth, 1 - truth], axis=1), np.zeros(9, dtype=int), coverage=0.8), 2)
    0.3
    """
    given = np.sort(np.asarray(probabilities)[np.arange(len(labels)), labels])[::-1]
    rank = math.ceil(round((len(given) + 1) * coverage, 9))
    return float(given[rank - 1]) if rank <= len(given) else 0.0


def label_sets(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """Which labels belong to the set of each sentence: booleans of the shape (n_sentences, n_labels).

    The likeliest label always does: an empty set would only say that nothing is likely.
    """
    probabilities = np.asarray(probabilities)
    return (probabilities >= threshold) | (probabilities == probabilities.max(axis=1, keepdims=True))
