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
    assert list(batches([], batch_size=4)) == []


@pytest.fixture
def encodings(tokenizer):
    lengths = np.random.default_rng(2).integers(0, 12, 53)
    return encode(tokenizer, ["mayor " * int(n) for n in lengths])


@pytest.mark.parametrize("limit", [{}, {"batch_size": 1}, {"batch_size": 3}, {"batch_tokens": 20}, {"batch_tokens": 1}])
def test_batches_cover_every_position_exactly_once(encodings, limit):
    groups = [positions.tolist() for positions, _ in batches(encodings, **limit)]
    assert sorted(sum(groups, [])) == list(range(53))


def test_a_batch_holds_no_more_than_was_asked_for(encodings):
    for positions, _ in batches(encodings, batch_size=3):
        assert 1 <= len(positions) <= 3
    for positions, batch in batches(encodings, batch_tokens=20):
        assert len(positions) == 1 or batch["input_ids"].size <= 20


def test_a_batch_holds_sentences_of_one_length_and_no_padding(encodings):
    for positions, batch in batches(encodings, batch_size=7):
        assert set(batch) == {"input_ids", "attention_mask"}
        assert all(array.dtype == np.int64 for array in batch.values())
        assert batch["input_ids"].tolist() == [encodings[position].ids for position in positions]
        assert batch["attention_mask"].min() == 1


def test_the_longest_come_first_so_that_too_much_memory_shows_at_once(encodings):
    lengths = [batch["input_ids"].shape[1] for _, batch in batches(encodings, batch_size=7)]
    assert lengths == sorted(lengths, reverse=True)


def test_lengths_are_rounded_up_to_a_step_and_padding_is_masked(encodings):
    shapes = set()
    for positions, batch in batches(encodings, step=5, max_length=8):
        shapes.add(batch["input_ids"].shape[1])
        for position, ids, mask in zip(positions, batch["input_ids"], batch["attention_mask"], strict=True):
            own = len(encodings[position].ids)
            assert ids[:own].tolist() == encodings[position].ids
            assert mask.tolist() == [1] * own + [0] * (len(mask) - own)
    assert shapes == {5, 8}


def test_batches_count_powers_of_two(encodings):
    assert {len(positions) for positions, _ in batches(encodings, batch_size=7)} <= {1, 2, 4}
