"""Scores by small examples worked by hand; labels are 0 warning, 1 denial, 2 allegation, 3 background."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from allegedly.evaluation import (
    confusion,
    expected_calibration_error,
    intervals,
    macro_f1,
    reliability,
    score,
    score_with_intervals,
    table,
)
from allegedly.labels import LABELS

# true     0 0 1 1 2 3 3 3
# predicted 0 3 1 1 3 3 3 0
TRUE = np.array([0, 0, 1, 1, 2, 3, 3, 3])
PREDICTED = np.array([0, 3, 1, 1, 3, 3, 3, 0])


def sure(predicted: np.ndarray, probability: float = 0.7) -> np.ndarray:
    """Probabilities that put ``probability`` on the predicted label and share the rest."""
    probabilities = np.full((len(predicted), 4), (1 - probability) / 3)
    probabilities[np.arange(len(predicted)), predicted] = probability
    return probabilities


def test_macro_f1_is_the_plain_mean_of_four():
    # warning: P 1/2, R 1/2; denial: 1, 1; allegation: 0, 0; background: P 2/4, R 2/3 -> F1 4/7
    assert macro_f1(TRUE, PREDICTED) == pytest.approx((1 / 2 + 1 + 0 + 4 / 7) / 4)


def test_score_gives_every_label_its_precision_recall_and_f1():
    scores = score(TRUE, sure(PREDICTED))
    expected = {
        "warning": (1 / 2, 1 / 2, 1 / 2),
        "denial": (1, 1, 1),
        "allegation": (0, 0, 0),
        "background": (1 / 2, 2 / 3, 4 / 7),
    }
    for label, values in expected.items():
        found = [scores[f"{metric}_{label}"] for metric in ("precision", "recall", "f1")]
        assert found == pytest.approx(values), label
    assert scores["macro_f1"] == pytest.approx((1 / 2 + 1 + 0 + 4 / 7) / 4)
    assert scores["accuracy"] == pytest.approx(5 / 8)


def test_score_gives_log_loss_and_calibration_error():
    scores = score(TRUE, sure(PREDICTED))  # the true label got 0.7 five times, 0.1 three times
    assert scores["log_loss"] == pytest.approx(-(5 * np.log(0.7) + 3 * np.log(0.1)) / 8)
    assert scores["expected_calibration_error"] == pytest.approx(0.7 - 5 / 8)


def test_score_holds_plain_floats_only():
    assert {type(value) for value in score(TRUE, sure(PREDICTED)).values()} == {float}


def test_log_loss_stays_finite_when_the_true_label_got_zero():
    scores = score(np.array([0]), np.array([[0.0, 1.0, 0.0, 0.0]]))
    assert scores["log_loss"] == pytest.approx(-np.log(1e-12))


def test_a_label_that_never_occurs_scores_zero():
    labels = np.array([0, 1, 3])
    scores = score(labels, sure(labels))
    assert (scores["precision_allegation"], scores["recall_allegation"], scores["f1_allegation"]) == (0, 0, 0)
    assert scores["macro_f1"] == macro_f1(labels, labels) == 0.75


def test_confusion_has_true_labels_in_rows_and_all_four_labels():
    assert confusion(TRUE, PREDICTED).tolist() == [[1, 0, 0, 1], [0, 2, 0, 0], [0, 0, 0, 1], [1, 0, 0, 2]]
    assert confusion(np.array([1]), np.array([2])).tolist() == [[0] * 4, [0, 0, 1, 0], [0] * 4, [0] * 4]


def test_reliability_bins_by_the_probability_of_the_predicted_label():
    probabilities = np.array([[0.62, 0.38, 0, 0], [0.64, 0.36, 0, 0], [0, 0, 0.1, 0.9], [0, 1.0, 0, 0]])
    labels = np.array([0, 1, 3, 1])
    # ten bins: two sentences at 0.6-0.7, one right; 0.9 and 1.0 share the last bin, both right
    assert reliability(labels, probabilities, n_bins=10) == pytest.approx(np.array([[0.63, 0.5, 2], [0.95, 1, 2]]))


def test_expected_calibration_error_weighs_bins_by_their_sentences():
    probabilities = np.vstack([sure(np.zeros(3, int), 0.55), sure(np.zeros(1, int), 0.95)])
    labels = np.array([0, 1, 2, 0])
    # 3 sentences say .55 and are right once in three, 1 sentence says .95 and is right
    expected = 3 / 4 * (0.55 - 1 / 3) + 1 / 4 * (1 - 0.95)
    assert expected_calibration_error(labels, probabilities) == pytest.approx(expected)


def test_expected_calibration_error_is_zero_where_shares_match():
    assert expected_calibration_error(np.array([0, 0, 0, 1]), sure(np.zeros(4, int), 0.75)) == pytest.approx(0)


@pytest.fixture
def drawn() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    labels = rng.choice(4, size=300, p=[0.1, 0.1, 0.2, 0.6])
    return labels, np.where(rng.random(300) < 0.75, labels, rng.integers(0, 4, 300))


def test_interval_contains_the_point_estimate(drawn):
    low, high = intervals(*drawn, n_resamples=300)["macro_f1"]
    assert 0 < low < macro_f1(*drawn) < high < 1


def test_interval_is_the_same_each_time_and_follows_the_seed(drawn):
    assert intervals(*drawn, n_resamples=100) == intervals(*drawn, n_resamples=100)
    assert intervals(*drawn, n_resamples=100, seed=1) != intervals(*drawn, n_resamples=100)


def test_interval_resamples_the_f1_that_sklearn_computes(drawn):
    labels, predicted = drawn
    rows = np.random.default_rng(7).integers(0, 300, 300)
    found = intervals(*drawn, n_resamples=1, seed=7)
    f1 = f1_score(labels[rows], predicted[rows], labels=range(4), average=None, zero_division=0)
    for name, expected in {"macro_f1": f1.mean(), "f1_warning": f1[0], "f1_background": f1[3]}.items():
        assert found[name] == pytest.approx((expected, expected), abs=1e-12)


def test_interval_counts_a_label_that_was_not_drawn_as_zero():
    same = np.array([0, 0, 1, 1])
    assert intervals(same[:2], same[:2], n_resamples=5)["macro_f1"] == (0.25, 0.25)
    low, high = intervals(same, same, n_resamples=200)["macro_f1"]
    assert (low, high) == (0.25, 0.5)  # one or two of the four labels are drawn, all of them right


def test_interval_is_narrower_with_more_sentences(drawn):
    low, high = intervals(*drawn, n_resamples=200)["macro_f1"]
    many = [np.tile(values, 9) for values in drawn]
    many_low, many_high = intervals(*many, n_resamples=200)["macro_f1"]
    assert many_high - many_low < (high - low) / 2


def test_the_final_scores_have_an_interval_for_every_f1(drawn):
    labels, predicted = drawn
    scores = score_with_intervals(labels, sure(predicted))
    assert scores.items() >= score(labels, sure(predicted)).items()
    for name in ("macro_f1", *(f"f1_{label}" for label in LABELS)):
        assert scores[f"{name}_low"] < scores[name] < scores[f"{name}_high"]


def test_table_shows_the_numbers():
    text = table(score(TRUE, sure(PREDICTED)), confusion(TRUE, PREDICTED))
    rows = [line.split() for line in text.splitlines()]
    assert ["warning", "0.500", "0.500", "0.500", "2"] in rows
    assert ["denial", "1.000", "1.000", "1.000", "2"] in rows
    assert ["allegation", "0.000", "0.000", "0.000", "1"] in rows
    assert ["background", "0.500", "0.667", "0.571", "3"] in rows
    assert ["true", "/", "predicted", *LABELS] in rows
    assert ["background", "1", "0", "0", "2"] in rows
    assert "macro-F1 0.518   accuracy 0.625   expected calibration error 0.075" in text
