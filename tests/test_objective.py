"""The loss: plain cross-entropy where nothing is switched on, and each term does what its paper says."""

import numpy as np
import pytest
import torch

from allegedly.config import ClassWeights
from allegedly.objective import class_weights, disagreement, loss, targets

LOGITS = torch.tensor([[2.0, 0.5, -1.0, 0.0], [0.1, 0.2, 0.3, 0.4]])
LABELS = np.array([0, 3])
ONES = torch.ones(4)


def test_one_hot_targets_give_cross_entropy():
    found = loss(LOGITS, torch.from_numpy(targets(LABELS, 4)), ONES)
    assert found == pytest.approx(
        torch.nn.functional.cross_entropy(LOGITS, torch.from_numpy(LABELS), reduction="sum").item()
    )


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_label_smoothing_is_that_of_torch(smoothing):
    found = loss(LOGITS, torch.from_numpy(targets(LABELS, 4, label_smoothing=smoothing)), ONES)
    expected = torch.nn.functional.cross_entropy(
        LOGITS, torch.from_numpy(LABELS), reduction="sum", label_smoothing=smoothing
    )
    assert found == pytest.approx(expected.item())


def test_a_teacher_gets_its_share_of_the_target():
    teacher = np.array([[0.4, 0.3, 0.2, 0.1]])
    np.testing.assert_allclose(
        targets(np.array([1]), 4, teacher=teacher, distillation=0.5), [[0.2, 0.65, 0.1, 0.05]], atol=1e-6
    )
    np.testing.assert_allclose(targets(np.array([1]), 4, teacher=teacher, distillation=1.0), teacher, atol=1e-6)


def test_a_heavier_label_weighs_more():
    one_hot = torch.from_numpy(targets(LABELS, 4))
    heavier = torch.tensor([3.0, 1.0, 1.0, 1.0])
    parts = [loss(LOGITS[i : i + 1], one_hot[i : i + 1], ONES).item() for i in range(2)]
    assert loss(LOGITS, one_hot, heavier).item() == pytest.approx(3 * parts[0] + parts[1])


@pytest.mark.parametrize(("kind", "ratio"), [("none", 1), ("sqrt", 3), ("balanced", 9)])
def test_class_weights_average_one_and_favour_the_rare(kind, ratio):
    labels = np.array([0] * 10 + [3] * 90)
    weights = class_weights(labels, 4, ClassWeights(kind))
    assert weights[labels].mean() == pytest.approx(1)
    assert weights[0] / weights[3] == pytest.approx(ratio)


def test_two_equal_passes_do_not_disagree_and_order_does_not_matter():
    other = torch.roll(LOGITS, 1, dims=1)
    assert disagreement(LOGITS, LOGITS).item() == pytest.approx(0, abs=1e-6)
    assert disagreement(LOGITS, other).item() > 0.1
    assert disagreement(LOGITS, other).item() == pytest.approx(disagreement(other, LOGITS).item())


def test_disagreement_is_the_mean_of_both_divergences():
    other = torch.roll(LOGITS, 1, dims=1)
    a, b = LOGITS.log_softmax(-1), other.log_softmax(-1)
    both = [torch.nn.functional.kl_div(x, y, log_target=True, reduction="sum") for x, y in ((a, b), (b, a))]
    assert disagreement(LOGITS, other).item() == pytest.approx((sum(both) / 2).item(), rel=1e-5)
