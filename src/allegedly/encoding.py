"""Texts in, token ids out: the only call to a tokenizer, shared by training, prediction and serving."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from tokenizers import Encoding, Tokenizer

LONGEST_TOKEN = 32  # characters, a blank included; in prose a token has four or five
Text = str | tuple[str, str]  # a sentence, or a claim and its evidence


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


def encode(tokenizer: Tokenizer, texts: Sequence[Text]) -> list[Encoding]:
    """Encode texts, in order; lone surrogates, which UTF-8 cannot carry, become "?".

    Of a text longer than LONGEST_TOKEN characters for each token that is kept the rest is not looked at: the tokenizer
    would first make tokens of all of it, in minutes and gigabytes for a line of a few megabytes.
    """
    most = LONGEST_TOKEN * tokenizer.truncation["max_length"]
    return tokenizer.encode_batch_fast(
        [_safe(text, most) if isinstance(text, str) else tuple(_safe(part, most) for part in text) for text in texts]
    )


def lengths(tokenizer: Tokenizer, texts: Sequence[str]) -> list[int]:
    """Tokens of each text, those that frame it left out; a text that is cut counts what is left of it."""
    most = LONGEST_TOKEN * tokenizer.truncation["max_length"]
    encodings = tokenizer.encode_batch_fast([_safe(text, most) for text in texts], add_special_tokens=False)
    return [len(encoding.ids) for encoding in encodings]


def _safe(text: str, most: int) -> str:
    ahead = text[: 10 * most]  # wide runs of blanks may stand between the words
    return clean(ahead)[:most].encode("utf-8", "replace").decode("utf-8")


def batches(
    encodings: Sequence[Encoding],
    *,
    batch_size: int | None = None,
    batch_tokens: int | None = None,
    step: int = 1,
    max_length: int | None = None,
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Group encodings of one length, of at most ``batch_size`` texts or ``batch_tokens`` tokens; longest first.

    Lengths are rounded up to multiples of ``step``, though not beyond ``max_length``: the only padding, so that what a
    text gets does not depend on its neighbours. Batches count powers of two. Both keep the shapes few: an engine that
    makes its kernels for each shape is ready sooner and holds fewer. Yields (positions in ``encodings``,
    {"input_ids", "attention_mask"}), the arrays int64 of shape (n_texts, n_tokens).
    """
    lengths = [-(-len(encoding.ids) // step) * step for encoding in encodings]
    if max_length is not None:
        lengths = [min(length, max_length) for length in lengths]
    order = sorted(range(len(encodings)), key=lambda i: -lengths[i])
    for length, group in groupby(order, key=lengths.__getitem__):
        positions = list(group)
        most = batch_size or max(1, (batch_tokens or len(positions) * length) // length)
        while positions:
            size = 2 ** (min(most, len(positions)).bit_length() - 1)
            chosen, positions = positions[:size], positions[size:]
            input_ids, attention_mask = np.zeros((2, size, length), dtype=np.int64)
            for row, i in enumerate(chosen):
                ids = encodings[i].ids
                input_ids[row, : len(ids)], attention_mask[row, : len(ids)] = ids, 1
            yield np.array(chosen), {"input_ids": input_ids, "attention_mask": attention_mask}
