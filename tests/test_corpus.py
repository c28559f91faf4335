"""What a corpus folder must hold, what is refused and how, and that the embedded corpus keeps these promises."""

import dataclasses
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from allegedly.corpus import SPLITS, Example, digest, read
from allegedly.errors import InputError
from allegedly.labels import LABELS

ROOT = Path(__file__).parents[1]
REAL_NEWS = ROOT.parent / "shared" / "realnews"


def row(split: str, n: int, label: str) -> dict:
    return {"id": f"{split}-{n}", "article": f"{split}-article", "text": f"Sentence {n} of {split}", "label": label}


@pytest.fixture
def folder(tmp_path) -> Path:
    """A good corpus: in every split, line 1 to 4 carry the four labels."""
    for split in SPLITS:
        rows = [row(split, n, label) for n, label in enumerate(LABELS)]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return tmp_path


def append(folder: Path, split: str, line: str) -> None:
    with (folder / f"{split}.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def test_read_gives_examples_of_the_three_splits_in_order(folder):
    splits = read(folder)
    assert list(splits) == ["train", "validation", "test"]
    assert splits["test"][1] == Example("test-1", "test-article", "Sentence 1 of test", "denial")
    assert [example.label for example in splits["train"]] == list(LABELS)


def test_read_takes_a_path_as_text_and_ignores_further_fields_and_blank_lines(folder):
    append(folder, "train", "\n   \n" + json.dumps(row("train", 9, "denial") | {"kind": "letter", "doubt": 3}))
    assert read(str(folder))["train"][-1] == Example("train-9", "train-article", "Sentence 9 of train", "denial")


def test_a_line_separator_inside_a_sentence_does_not_end_the_line(folder):
    append(folder, "train", json.dumps(row("train", 9, "denial") | {"text": "He said\u2028no\x85"}, ensure_ascii=False))
    assert read(folder)["train"][-1].text == "He said\u2028no\x85"


def test_windows_line_ends_are_read(folder):
    path = folder / "train.jsonl"
    before = read(folder)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert read(folder) == before


def test_the_same_sentence_twice_in_one_split_is_allowed(folder):
    append(folder, "train", json.dumps(row("train", 9, "denial") | {"text": "Sentence 1 of train"}))
    assert len(read(folder)["train"]) == 5


def without(field: str) -> str:
    return json.dumps({key: value for key, value in row("test", 9, "denial").items() if key != field})


def changed(**fields) -> str:
    return json.dumps(row("test", 9, "denial") | fields)


# A fifth line of test.jsonl, and what the refusal says beside file and line: what is wrong, and the remedy.
FAULTS = {
    "not JSON": ('{"id": "test-9", ', ["is not JSON", "write one object a line"]),
    "not an object: list": ('["test-9", "denial"]', ["holds list, not an object", "write one object a line"]),
    "not an object: string": ('"a sentence"', ["holds str, not an object", "write one object a line"]),
    "not an object: null": ("null", ["not an object", "write one object a line"]),
    "no id": (without("id"), ["'id' is missing", "every line needs"]),
    "no article": (without("article"), ["'article' is missing", "every line needs"]),
    "no text": (without("text"), ["'text' is missing", "every line needs"]),
    "no label": (without("label"), ["'label' is missing", "every line needs"]),
    "empty text": (changed(text=""), ["'text' is missing, empty", "every line needs"]),
    "blank text": (changed(text=" \n"), ["'text' is missing, empty", "every line needs"]),
    "id is a number": (changed(id=9), ["'id' is missing, empty or not a string", "every line needs"]),
    "text is null": (changed(text=None), ["'text' is missing, empty or not a string", "every line needs"]),
    "unknown label": (changed(label="rumour"), ["'rumour'", "not one of warning, denial, allegation, background"]),
    "label in capitals": (changed(label="Denial"), ["'Denial'", "not one of warning, denial, allegation, background"]),
    "id twice in a split": (changed(id="test-1"), ["'test-1' stands at", "test.jsonl:2 already", "ids must differ"]),
    "id in two splits": (changed(id="train-2"), ["'train-2' stands at", "train.jsonl:3 already", "ids must differ"]),
    "article in two splits": (
        changed(article="train-article"),
        ["'train-article' is in train.jsonl too", "keep all of it in one split"],
    ),
    "sentence in two splits": (
        changed(text="Sentence 0 of validation"),
        ["same sentence stands at", "validation.jsonl:1", "keep it in one split"],
    ),
    "sentence in two splits but for case and blanks": (
        changed(text=" sentence 0\nof  VALIDATION"),
        ["same sentence stands at", "validation.jsonl:1", "keep it in one split"],
    ),
}


@pytest.mark.parametrize(("line", "said"), FAULTS.values(), ids=FAULTS)
def test_a_faulty_line_is_refused_with_file_line_and_remedy(folder, line, said):
    append(folder, "test", line)
    with pytest.raises(InputError) as caught:
        read(folder)
    message = str(caught.value)
    assert message.startswith(f"{folder / 'test.jsonl'}:5: ")
    assert "\n" not in message
    for words in said:
        assert words in message


@pytest.mark.parametrize("split", SPLITS)
def test_a_missing_file_is_refused(folder, split):
    (folder / f"{split}.jsonl").unlink()
    with pytest.raises(InputError) as caught:
        read(folder)
    message = str(caught.value)
    assert message.startswith(f"{folder / f'{split}.jsonl'}: no such file")
    assert "train.jsonl, validation.jsonl, test.jsonl" in message


@pytest.mark.parametrize("content", [b"", b"\n  \n"], ids=["no byte", "blank lines"])
@pytest.mark.parametrize("split", SPLITS)
def test_an_empty_file_is_refused(folder, split, content):
    (folder / f"{split}.jsonl").write_bytes(content)
    with pytest.raises(InputError) as caught:
        read(folder)
    assert str(caught.value).startswith(f"{folder / f'{split}.jsonl'}: is empty; put at least one")


def test_a_file_that_is_not_utf8_is_refused(folder):
    (folder / "train.jsonl").write_bytes('{"text": "Zürich"}'.encode("latin-1"))
    with pytest.raises(InputError) as caught:
        read(folder)
    message = str(caught.value)
    assert message.startswith(f"{folder / 'train.jsonl'}: cannot be read as UTF-8")
    assert "check the file" in message
    assert "\n" not in message


@pytest.mark.parametrize("label", LABELS)
def test_a_label_that_the_training_split_lacks_is_refused(folder, label):
    lines = (folder / "train.jsonl").read_text().splitlines(keepends=True)
    (folder / "train.jsonl").write_text("".join(line for line in lines if f'"{label}"' not in line))
    with pytest.raises(InputError) as caught:
        read(folder)
    message = str(caught.value)
    assert message.startswith(f"{folder / 'train.jsonl'}: no sentence is labelled {label!r}")
    assert "every label needs examples" in message


def test_a_label_may_be_absent_from_validation_and_test(folder):
    for split in ("validation", "test"):
        (folder / f"{split}.jsonl").write_text(json.dumps(row(split, 0, "background")))
    assert [len(examples) for examples in read(folder).values()] == [4, 1, 1]


def test_digest_is_equal_for_equal_corpora_wherever_they_lie(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    for split in SPLITS:
        rows = [json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()]
        text = "\n\n".join(json.dumps(dict(reversed(r.items()))) for r in rows)  # layout and order of keys differ
        (other / f"{split}.jsonl").write_text(text)
    assert digest(read(other)) == digest(read(folder))
    assert re.fullmatch(r"[0-9a-f]{64}", digest(read(folder)))


def test_digest_changes_with_every_field_with_the_order_and_with_the_split(folder):
    splits = read(folder)
    first, *rest = splits["train"]
    variants = [
        splits | {"train": [dataclasses.replace(first, **{field.name: "denial"}), *rest]}
        for field in dataclasses.fields(Example)
    ]
    variants.append(splits | {"train": [*rest, first]})
    variants.append(splits | {"train": rest})
    variants.append(splits | {"train": rest, "validation": [first, *splits["validation"]]})
    found = {digest(variant) for variant in [splits, *variants]}
    assert len(found) == 1 + len(variants)


@pytest.fixture(scope="module")
def embedded() -> dict[str, list[Example]]:
    return read(ROOT / "data" / "stance")  # read() sees to it that no article and no sentence stands in two splits


@pytest.mark.parametrize("split", SPLITS)
def test_embedded_corpus_has_every_label_in_every_split(embedded, split):
    assert {example.label for example in embedded[split]} == set(LABELS)


def test_embedded_corpus_divides_no_article(embedded):
    articles = [{example.article for example in examples} for examples in embedded.values()]
    assert sum(map(len, articles)) == len(set.union(*articles))


@pytest.mark.parametrize("split", SPLITS)
def test_embedded_corpus_holds_no_sentence_twice(embedded, split):
    counts = Counter(example.text for example in embedded[split])
    assert [text for text, count in counts.items() if count > 1] == []


def test_embedded_sentences_are_between_1_and_120_words(embedded):
    examples = [example for examples in embedded.values() for example in examples]
    assert [e.id for e in examples if not 1 <= len(e.text.split()) <= 120] == []


def runs_of_ten(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"[a-z0-9]+", text.lower())
    return {tuple(words[i : i + 10]) for i in range(len(words) - 9)}


@pytest.mark.skipif(not REAL_NEWS.is_dir(), reason="the collection of real news is not here")
@pytest.mark.parametrize("name", ["dev.jsonl", "dev_articles.jsonl"])
def test_embedded_corpus_shares_no_ten_words_in_a_row_with_real_news(embedded, name):
    rows = [json.loads(line) for line in (REAL_NEWS / name).read_text(encoding="utf-8").splitlines()]
    real = set().union(*(runs_of_ten(item["text"]) for r in rows for item in r.get("sentences", [r])))
    assert len(real) > 1000
    shared = [e.id for examples in embedded.values() for e in examples if runs_of_ten(e.text) & real]
    assert shared == []
