"""Texts in, token ids out: the only call to a tokenizer, shared by training, prediction and serving."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from tokenizers import Encoding, Tokenizer


def clean(text: str) -> str:
    """Undo line breaks and runs of blanks, which carry no meaning within a sentence.

    >>> clean("The ministry\\n  denied it.")
    'The ministry denied it.'
    """
    return " ".join(text.split())


def load_tokenizer(path: Path, *, max_length: int) -> Tokenizer:
    """Read ``tokenizer.json``; sentences are cut after ``max_length`` tokens and never padded here."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Encoding]:
    """Encode texts, in order; lone surrogates, which UTF-8 cannot carry, become "?"."""
    return tokenizer.encode_batch_fast([clean(text).encode("utf-8", "replace").decode("utf-8") for text in texts])


def batches(
    encodings: Sequence[Encoding], *, batch_size: int | None = None, batch_tokens: int | None = None
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Group encodings of one length, of at most ``batch_size`` sentences or ``batch_tokens`` tokens; longest first.

    Nothing is padded, so that no work is wasted and what a sentence gets does not depend on its neighbours. Yields
    (positions in ``encodings``, {"input_ids", "attention_mask"}), the arrays int64 of shape (n_sentences, n_tokens).
    """
    order = sorted(range(len(encodings)), key=lambda i: -len(encodings[i].ids))
    for length, group in groupby(order, key=lambda i: len(encodings[i].ids)):
        positions = list(group)
        most = batch_size or max(1, (batch_tokens or len(positions) * length) // length)
        for first in range(0, len(positions), most):
            chosen = positions[first : first + most]
            input_ids = np.array([encodings[i].ids for i in chosen], dtype=np.int64)
            yield np.array(chosen), {"input_ids": input_ids, "attention_mask": np.ones_like(input_ids)}
