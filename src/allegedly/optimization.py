"""A model in, what the optimizer steps on out: parameter groups by depth, and weights perturbed against the loss."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def parameter_groups(
    model: torch.nn.Module, *, learning_rate: float, layer_decay: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Groups for torch.optim: the head learns at ``learning_rate``, each layer at ``layer_decay`` times the one above.

    Layer-wise decay as in Howard & Ruder 2018 (section 3.2, discriminative fine-tuning); 1.0 treats all layers alike.
    Biases and layer norms are not decayed towards zero. Frozen parameters are left out.
    """
    layer = re.compile(r"\.layers?\.(\d+)\.")
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    found = [int(match[1]) for name, _ in named if (match := layer.search(name))]
    depth = max(found, default=-1) + 1
    groups: dict[tuple[int, float], dict[str, Any]] = {}
    for name, parameter in named:
        if match := layer.search(name):
            below_head = depth - int(match[1])
        else:
            below_head = depth + 1 if "embeddings" in name else 0
        decay = 0.0 if parameter.ndim < 2 else weight_decay
        group = {"params": [], "lr": learning_rate * layer_decay**below_head, "weight_decay": decay}
        groups.setdefault((below_head, decay), group)["params"].append(parameter)
    return list(groups.values())


@contextmanager
def perturbed(model: torch.nn.Module, size: float) -> Iterator[None]:
    """Move every trained matrix ``size`` times its norm along its gradient, and back on leaving.

    Adversarial weight perturbation (Wu et al. 2020, section 4): the loss inside is that of a worst near neighbour.
    """
    kept = []
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is None or parameter.ndim < 2:
                continue
            norm = parameter.grad.norm()
            if norm > 0:
                kept.append((parameter, parameter.detach().clone()))
                parameter.add_(parameter.grad * (size * parameter.norm() / norm))
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in kept:
                parameter.copy_(value)
