"""Logits in, honest probabilities out.

One number, the temperature, divides every logit before the softmax. It changes how sure the classifier says it is,
never which label it prefers (Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2). It is fitted
on sentences that were not trained on; fitted on training sentences it would trust an overfitted model.
"""

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
