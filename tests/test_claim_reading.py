"""Claims out of text, JSON lines and articles; what is no claim is named by file and line."""

import json

import pytest

from allegedly.claim_reading import Claim, content, read
from allegedly.errors import InputError


def claims(tmp_path, content, name="claims.txt"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read(str(path)))


def test_a_line_of_text_is_a_claim(tmp_path):
    found = claims(tmp_path, "\ufeffThe dam burst.\r\n\r\n  It rained.  \n")
    assert found == [Claim("1", "The dam burst."), Claim("3", "It rained.")]


@pytest.mark.parametrize("name", ["claims.jsonl", "claims.txt"])
def test_json_lines_carry_ids_and_evidence(tmp_path, name):
    rows = [
        {"id": "a", "claim": "It burst.", "evidence": ["It held."]},
        {"claim": "Line\u2028two"},
        {"id": 7, "claim": "x"},
    ]
    found = claims(tmp_path, "\n".join(json.dumps(row, ensure_ascii=False) for row in rows), name)
    assert found == [Claim("a", "It burst.", ("It held.",)), Claim("2", "Line\u2028two"), Claim("7", "x")]


BAD = {
    "no JSON": ("{", "is not JSON"),
    "no object": ('["x"]', '"claim"'),
    "no claim": ('{"id": "b"}', '"claim"'),
    "a blank claim": ('{"claim": " "}', '"claim"'),
    "a number for a claim": ('{"claim": 3}', '"claim"'),
    "an id that is a list": ('{"claim": "x", "id": []}', '"id"'),
    "an id that is true": ('{"claim": "x", "id": true}', '"id"'),
    "an id used twice": ('{"claim": "x", "id": "a"}', "line 1"),
    "evidence that is a text": ('{"claim": "x", "evidence": "It held."}', '"evidence"'),
    "no sentence of evidence": ('{"claim": "x", "evidence": []}', '"evidence"'),
    "a blank sentence": ('{"claim": "x", "evidence": [""]}', '"evidence"'),
}


@pytest.mark.parametrize(("line", "fault"), BAD.values(), ids=BAD)
def test_a_bad_line_is_named_and_the_others_are_read(tmp_path, line, fault):
    first, error, last = claims(tmp_path, f'{{"id": "a", "claim": "x"}}\n{line}\n{{"claim": "z"}}\n', "c.jsonl")
    assert (first.id, last) == ("a", Claim("3", "z"))
    assert isinstance(error, InputError)
    assert str(error).startswith(f"{tmp_path / 'c.jsonl'}:2: ")
    assert fault in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize(("content", "fault"), [(b"", "empty"), (b" \n", "empty"), (b"\xff\xfeab", "UTF-8")])
def test_a_file_that_cannot_be_read_is_refused(tmp_path, content, fault):
    with pytest.raises(InputError, match=fault):
        claims(tmp_path, content)


CONTENTS = {
    "The suit alleges that the bank hid its losses.": "The bank hid its losses.",
    "A lawyer for the firm claimed on Monday that\nit was paid.": "It was paid.",
    "The suit claims that the bank hid its losses.": "The bank hid its losses.",
    "She claims that it burst.": "It burst.",
    "False claims that the dam burst spread.": "False claims that the dam burst spread.",
    "The minister never said that the dam burst.": "The minister never said that the dam burst.",
    "They didn't claim that it burst.": "They didn't claim that it burst.",
    'He said that "the dam burst", and left.': 'He said that "the dam burst", and left.',
    "In March, he said that the dam burst.": "In March, he said that the dam burst.",
    "Witnesses say the police fired first.": "Witnesses say the police fired first.",
    "The report that the dam burst was wrong.": "The report that the dam burst was wrong.",
    "Sources close to Mr. Whitman in May said that it burst.": "It burst.",
}


@pytest.mark.parametrize(("sentence", "said"), CONTENTS.items())
def test_what_is_alleged_goes_without_who_alleges_it(sentence, said):
    assert content(sentence) == said


@pytest.mark.parametrize(
    "sentence",
    [
        "Officials declined to say that the dam had burst.",
        "The ministry refused on Monday to say that the dam had burst.",
        "Smith denied he had said that the dam had burst.",
        "Officials rejected what the paper reported that week that the dam had burst.",
        "It is false that Smith said that the dam burst.",
        "The paper wrongly reported that the dam burst.",
        "If he said that the dam burst, he lied.",
        "Whether he said that the dam burst is open.",
        "Witnesses who claimed that the dam burst were lying.",
        "The post which claims that the dam burst is a fake.",
        "Those people that said that the dam burst were mistaken.",
        "It would be absurd to say that the dam burst.",
        "The minister cannot say that the dam burst.",
        "Nobody sane could assert that the dam burst.",
        "The judge may say that the dam burst.",
        "Has the ministry said that the dam burst?",
    ],
)
def test_what_nobody_need_have_alleged_stays_whole(sentence):
    assert content(sentence) == sentence
