"""Temperature scaling: hand-worked numbers, no overflow, labels never change, a planted temperature is found."""

import numpy as np
import pytest

from allegedly.calibration import apply, fit


def log_odds(*shares: float) -> np.ndarray:
    return np.log(np.array([shares], dtype=float))


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    return float(-np.log(apply(logits, temperature)[np.arange(len(labels)), labels]).mean())


def test_apply_gives_shares_of_weights_at_temperature_one():
    assert apply(log_odds(1, 2, 5), 1.0) == pytest.approx(np.array([[1 / 8, 2 / 8, 5 / 8]]))


def test_apply_takes_the_root_of_weights_at_temperature_two():
    # dividing log-weights by 2 takes the square root of the weights: 1, 4, 25 become 1, 2, 5
    assert apply(log_odds(1, 4, 25), 2.0) == pytest.approx(np.array([[1 / 8, 2 / 8, 5 / 8]]))


def test_apply_squares_weights_at_temperature_one_half():
    assert apply(log_odds(1, 2, 3), 0.5) == pytest.approx(np.array([[1 / 14, 4 / 14, 9 / 14]]))


def test_apply_treats_every_row_by_itself():
    logits = np.array([[0.0, np.log(3)], [np.log(9), 0.0], [7.0, 7.0]])
    assert apply(logits, 1.0) == pytest.approx(np.array([[0.25, 0.75], [0.9, 0.1], [0.5, 0.5]]))


@pytest.mark.parametrize("size", [1e4, -1e4, 1e300])
def test_apply_does_not_overflow(size):
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        probabilities = apply(np.array([[size, size, size - abs(size), size]]), 1.0)
    assert probabilities == pytest.approx(np.array([[1 / 3, 1 / 3, 0, 1 / 3]]))


def test_apply_leaves_its_input_alone_and_computes_in_double_precision():
    logits = np.array([[3.0, 1.0]], dtype=np.float32)
    probabilities = apply(logits, 1.0)
    assert logits.tolist() == [[3.0, 1.0]]
    assert probabilities.dtype == np.float64
    assert probabilities.sum() == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize("temperature", [0.05, 0.5, 1.0, 3.0, 20.0])
def test_temperature_never_changes_the_label(temperature):
    logits = np.random.default_rng(3).normal(size=(500, 4)) * 5
    assert (apply(logits, temperature).argmax(axis=1) == logits.argmax(axis=1)).all()


def test_a_higher_temperature_is_less_sure():
    logits = np.random.default_rng(4).normal(size=(50, 4))
    assert (apply(logits, 3.0).max(axis=1) < apply(logits, 1.0).max(axis=1)).all()


@pytest.mark.parametrize("planted", [0.5, 1.0, 2.5])
def test_fit_recovers_a_planted_temperature(planted):
    rng = np.random.default_rng(11)
    logits = rng.normal(size=(20_000, 4)) * 2
    cumulated = apply(logits, planted).cumsum(axis=1)
    labels = (rng.random((len(logits), 1)) > cumulated[:, :3]).sum(axis=1)
    assert fit(logits, labels) == pytest.approx(planted, rel=0.05)


def test_fit_gives_the_most_likely_temperature():
    rng = np.random.default_rng(5)
    logits, labels = rng.normal(size=(200, 4)) * 4, rng.integers(0, 4, 200)
    labels[:120] = logits[:120].argmax(axis=1)
    best = fit(logits, labels)
    found = negative_log_likelihood(logits, labels, best)
    assert found < negative_log_likelihood(logits, labels, best * 1.02)
    assert found < negative_log_likelihood(logits, labels, best / 1.02)


def test_fit_solves_the_two_label_case_exactly():
    # right 9 times in 10 at a margin of 4: the probability is 0.9 when 4 / T = ln 9
    logits, labels = np.array([[4.0, 0.0]] * 10), np.array([0] * 9 + [1])
    assert fit(logits, labels) == pytest.approx(4 / np.log(9), rel=1e-6)


def test_fit_stops_at_the_lower_bound_when_every_sentence_is_right():
    logits = np.array([[0.5, 0.0, 0.0, 0.0], [0.0, 0.4, 0.0, 0.0]])
    assert fit(logits, np.array([0, 1])) == pytest.approx(0.05, rel=1e-6)
    assert fit(logits, np.array([0, 1]), bounds=(0.3, 5.0)) == pytest.approx(0.3, rel=1e-6)


def test_fit_stops_at_the_upper_bound_when_every_sentence_is_wrong():
    logits = np.array([[0.5, 0.0, 0.0, 0.0], [0.0, 0.4, 0.0, 0.0]])
    assert fit(logits, np.array([1, 2])) == pytest.approx(20, rel=1e-6)
    assert fit(logits, np.array([1, 2]), bounds=(0.3, 5.0)) == pytest.approx(5, rel=1e-6)


def test_fit_works_with_huge_logits():
    assert 0.05 <= fit(np.array([[1e4, 0.0], [1e4, 0.0]]), np.array([0, 1])) <= 20.0001
