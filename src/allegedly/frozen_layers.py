"""An encoder's lower layers in, their output for every sentence out, once, so that only the upper layers train.

Frozen layers give the same output in every epoch. It is kept in memory (two bytes a number: 1.5 KiB a token for
768 units) and fed to the layers above, which spares their forward pass in every epoch but the first.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from tokenizers import Encoding

from allegedly.encoding import batches
from allegedly.errors import InputError
from allegedly.first_token import ARCHITECTURES


def freeze(model: torch.nn.Module, trained_layers: int) -> int:
    """Freeze the embeddings and all but the upper ``trained_layers``; returns the number of frozen layers.

    Raises InputError for an architecture whose layers are not known here, or for more layers than there are.
    """
    if model.config.model_type not in ARCHITECTURES:
        raise InputError(
            f"trainer.trained_layers: not for {model.config.model_type!r} encoders (for {', '.join(ARCHITECTURES)}); "
            "leave it null to train all layers"
        )
    layers = model.base_model.encoder.layer
    if trained_layers > len(layers):
        raise InputError(
            f"trainer.trained_layers: {trained_layers}, but the encoder has {len(layers)}; give at most that, or null"
        )
    frozen = len(layers) - trained_layers
    for module in (model.base_model.embeddings, *layers[:frozen]):
        module.requires_grad_(False)
    if frozen and hasattr(model.base_model.encoder, "relative_attention_bias"):  # MPNet's, shared by all layers
        model.base_model.encoder.relative_attention_bias.requires_grad_(False)
    return frozen


class _Given(torch.nn.Module):
    """Stands in for the embeddings: what is given as embeddings already is the output of the frozen layers."""

    def forward(self, input_ids=None, inputs_embeds=None, **unused):
        return inputs_embeds


@contextmanager
def cut_off(model: torch.nn.Module, frozen: int) -> Iterator[None]:
    """Within, the model takes the output of its ``frozen`` lower layers as ``inputs_embeds``; later it is whole."""
    base = model.base_model
    embeddings, layers = base.embeddings, base.encoder.layer
    base.embeddings, base.encoder.layer = _Given(), layers[frozen:]
    try:
        yield
    finally:
        base.embeddings, base.encoder.layer = embeddings, layers


def outputs(
    model: torch.nn.Module,
    encodings: Sequence[Encoding],
    *,
    frozen: int,
    device: str,
    dtype: torch.dtype = torch.float32,
    batch_size: int = 32,
) -> list[np.ndarray]:
    """What the frozen layers give for every sentence: float16 arrays of shape (n_tokens, hidden_size), in order.

    ``dtype`` is that of the matrix products, as in the training that follows.
    """
    base = model.base_model
    layers = base.encoder.layer
    base.encoder.layer = layers[:frozen]
    model.to(device).eval()
    found: list[np.ndarray] = [np.empty(0)] * len(encodings)
    try:
        for positions, arrays in batches(encodings, batch_size=batch_size):
            inputs = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
            with torch.inference_mode(), torch.autocast(device.split(":")[0], dtype, enabled=dtype != torch.float32):
                hidden = base(**inputs).last_hidden_state.to("cpu", torch.float16).numpy()
            for position, rows in zip(positions, hidden, strict=True):
                found[position] = rows.copy()
    finally:
        base.encoder.layer = layers
    return found
