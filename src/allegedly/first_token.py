"""A classifier in, the same classifier out whose last layer works for the first token alone: equal logits, less work.

The heads of these architectures read nothing but the first token's last hidden state. The last layer needs the other
tokens as keys and values; their queries, their feed-forward pass and the gradients of both would be computed in vain.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# embeddings, then encoder.layer; the head reads the first token
ARCHITECTURES = ("bert", "camembert", "electra", "mpnet", "roberta", "xlm-roberta")


class _FirstTokenLayer(torch.nn.Module):
    """An encoder layer that gives its output for the first token: (n, n_tokens, hidden_size) -> (n, 1, hidden_size)."""

    def __init__(self, layer: torch.nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, hidden_states, attention_mask=None, position_bias=None, **unused):
        attention = self.layer.attention
        if hasattr(attention, "attn"):  # MPNet
            inner = attention.attn
            query, key, value, output = inner.q, inner.k, inner.v, inner.o
            dropout, norm = attention.dropout, attention.LayerNorm
        else:
            inner = attention.self
            query, key, value, output = inner.query, inner.key, inner.value, attention.output.dense
            dropout, norm = attention.output.dropout, attention.output.LayerNorm

        def heads(projected: torch.Tensor) -> torch.Tensor:  # -> (n, n_heads, n_tokens, head_size)
            return projected.unflatten(-1, (inner.num_attention_heads, inner.attention_head_size)).transpose(1, 2)

        first = hidden_states[:, :1]
        bias = None if attention_mask is None else attention_mask[:, :, :1]
        if position_bias is not None:
            bias = position_bias[:, :, :1] if bias is None else position_bias[:, :, :1] + bias
        context = torch.nn.functional.scaled_dot_product_attention(
            heads(query(first)),
            heads(key(hidden_states)),
            heads(value(hidden_states)),
            attn_mask=bias,
            dropout_p=inner.dropout.p if inner.training else 0.0,
        )
        attended = norm(dropout(output(context.transpose(1, 2).flatten(2))) + first)
        found = self.layer.output(self.layer.intermediate(attended), attended)
        return (found,) if hasattr(attention, "attn") else found


@contextmanager
def only(model: torch.nn.Module) -> Iterator[None]:
    """Within, the last layer works for the first token only; models of other ARCHITECTURES stay as they are."""
    layers = model.base_model.encoder.layer if model.config.model_type in ARCHITECTURES else []
    if not len(layers):
        yield
        return
    last = layers[-1]
    layers[-1] = _FirstTokenLayer(last)
    try:
        yield
    finally:
        layers[-1] = last
