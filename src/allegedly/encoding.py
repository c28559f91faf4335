"""Texts in, token ids out: the only call to a tokenizer, shared by training, prediction and serving."""

from collections.abc import Iterator, Sequence
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


def batches(encodings: Sequence[Encoding], *, batch_size: int, pad_id: int) -> Iterator[tuple[np.ndarray, dict]]:
    """Group encodings of like length, so that little is padded.

    Yields (positions in ``encodings``, {"input_ids", "attention_mask"}), the arrays int64 of shape
    (n_sentences, n_tokens of the longest).
    """
    order = sorted(range(len(encodings)), key=lambda i: len(encodings[i].ids))
    for first in range(0, len(order), batch_size):
        positions = order[first : first + batch_size]
        width = len(encodings[positions[-1]].ids)
        input_ids = np.full((len(positions), width), pad_id, dtype=np.int64)
        attention_mask = np.zeros((len(positions), width), dtype=np.int64)
        for row, position in enumerate(positions):
            ids = encodings[position].ids
            input_ids[row, : len(ids)] = ids
            attention_mask[row, : len(ids)] = 1
        yield np.array(positions), {"input_ids": input_ids, "attention_mask": attention_mask}
