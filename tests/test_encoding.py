"""Text to token ids: what is cleaned, cut and padded, and that no sentence is lost among the batches."""

import numpy as np
import pytest

from allegedly.encoding import batches, clean, encode, load_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tiny_encoder):
    return load_tokenizer(tiny_encoder / "tokenizer.json", max_length=8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The firm\n  denied it.", "The firm denied it."),
        ("\t Rain \r\n is\u00a0expected\u2028in the north \n", "Rain is expected in the north"),
        ("It's  “quoted”,  isn't it?", "It's “quoted”, isn't it?"),
        (" \n ", ""),
        ("", ""),
    ],
)
def test_clean_leaves_one_blank_between_words_and_nothing_else_changes(text, expected):
    assert clean(text) == expected


def test_blanks_and_line_breaks_do_not_change_the_ids(tokenizer):
    one, other = encode(tokenizer, ["The mayor denied", "  The\nmayor \t denied\n"])
    assert one.ids == other.ids


def test_encode_keeps_the_order(tokenizer):
    mayor, rain = encode(tokenizer, ["mayor", "rain"])
    assert [tokenizer.id_to_token(encoding.ids[1]) for encoding in (mayor, rain)] == ["mayor", "rain"]


def test_encode_cuts_after_max_length_and_keeps_the_end_token(tokenizer):
    (long,) = encode(tokenizer, ["mayor " * 50])
    names = [tokenizer.id_to_token(i) for i in long.ids]
    assert names == ["[CLS]", *["mayor"] * 6, "[SEP]"]


def test_encode_does_not_pad_even_when_the_file_asks_for_it(tiny_encoder, tmp_path):
    from tokenizers import Tokenizer

    padded = Tokenizer.from_file(str(tiny_encoder / "tokenizer.json"))
    padded.enable_padding(length=30)
    padded.enable_truncation(20)
    padded.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(tmp_path / "tokenizer.json", max_length=8)
    assert [len(e.ids) for e in encode(tokenizer, ["rain", "rain " * 30])] == [3, 8]


def test_lone_surrogates_survive(tokenizer):
    (encoding,) = encode(tokenizer, ["rain \ud800 mayor"])
    assert [tokenizer.id_to_token(i) for i in encoding.ids] == ["[CLS]", "rain", "[UNK]", "mayor", "[SEP]"]


@pytest.mark.parametrize("text", ["", "\x00", "\ud800\udfff", "\U0001f600", "\u202e"])
def test_any_text_has_ids(tokenizer, text):
    (encoding,) = encode(tokenizer, [text])
    assert len(encoding.ids) >= 2


def test_encode_of_nothing_is_nothing(tokenizer):
    assert encode(tokenizer, []) == []
    assert list(batches([], batch_size=4, pad_id=0)) == []


@pytest.fixture
def encodings(tokenizer):
    lengths = np.random.default_rng(2).integers(0, 12, 53)
    return encode(tokenizer, ["mayor " * int(n) for n in lengths])


@pytest.mark.parametrize("batch_size", [1, 7, 53, 100])
def test_batches_cover_every_position_exactly_once(encodings, batch_size):
    groups = [positions.tolist() for positions, _ in batches(encodings, batch_size=batch_size, pad_id=0)]
    assert sorted(sum(groups, [])) == list(range(53))
    assert all(len(group) == batch_size for group in groups[:-1])
    assert 1 <= len(groups[-1]) <= batch_size


def test_batches_hold_the_ids_then_pad_id_and_a_mask_that_tells_them_apart(encodings):
    for positions, batch in batches(encodings, batch_size=7, pad_id=77):
        assert set(batch) == {"input_ids", "attention_mask"}
        width = max(len(encodings[p].ids) for p in positions)
        for array in batch.values():
            assert array.dtype == np.int64
            assert array.shape == (len(positions), width)
        for position, ids, mask in zip(positions, batch["input_ids"], batch["attention_mask"], strict=True):
            expected = encodings[position].ids
            assert ids.tolist() == expected + [77] * (width - len(expected))
            assert mask.tolist() == [1] * len(expected) + [0] * (width - len(expected))


def test_a_batch_holds_sentences_of_like_length(encodings):
    groups = [positions for positions, _ in batches(encodings, batch_size=7, pad_id=0)]
    spans = [[len(encodings[p].ids) for p in group] for group in groups]
    for shorter, longer in zip(spans, spans[1:], strict=False):
        assert max(shorter) <= min(longer)  # no batch reaches into the lengths of another
