"""What a corpus folder must hold, what is refused and how, and that the embedded corpus keeps these promises."""

import dataclasses
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from datasketch import MinHash, MinHashLSH

from allegedly.corpus import SPLITS, Example, borderline, digest, read, select
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
    append(folder, "train", "\n   \n" + json.dumps(row("train", 9, "denial") | {"year": 2004, "page": None}))
    assert read(str(folder))["train"][-1] == Example("train-9", "train-article", "Sentence 9 of train", "denial")


def test_kind_and_doubt_are_read_where_they_are_given(folder):
    append(folder, "train", json.dumps(row("train", 9, "denial") | {"kind": "letter", "doubt": 2}))
    *others, last = read(folder)["train"]
    assert (last.kind, last.doubt) == ("letter", 2)
    assert {(example.kind, example.doubt) for example in others} == {("", 0)}


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
    "doubt is a word": (changed(doubt="much"), ["doubt", "leave them out"]),
    "doubt below zero": (changed(doubt=-1), ["doubt", "leave them out"]),
    "kind is a number": (changed(kind=1), ["kind", "leave them out"]),
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


def examples_held_at(*probabilities: float) -> tuple[list[Example], dict[str, np.ndarray]]:
    """Denials whose label a teacher gives these probabilities."""
    examples = [Example(f"{n}", "a", f"Sentence {n}", "denial") for n in range(len(probabilities))]
    rest = [np.array([0, p, 1 - p, 0]) for p in probabilities]
    return examples, dict(zip([example.id for example in examples], rest, strict=True))


def test_select_keeps_all_or_draws_by_seed_and_keeps_the_order():
    examples, _ = examples_held_at(*[0.5] * 50)
    assert select(examples, None, seed=1) == select(examples, 50, seed=1) == examples
    drawn = select(examples, 20, seed=1)
    assert len(drawn) == 20
    assert drawn == sorted(drawn, key=examples.index) == select(examples, 20, seed=1) != select(examples, 20, seed=2)


def test_select_takes_a_share_of_what_the_teacher_finds_hardest_and_draws_the_others():
    examples, teacher = examples_held_at(*[0.9] * 45, *[0.1] * 5)
    chosen = select(examples, 10, seed=1, hard_share=0.5, teacher=teacher)
    assert len(chosen) == 10
    assert set(examples[45:]) <= set(chosen)
    others = [select(examples, 10, seed=seed, hard_share=0.5, teacher=teacher)[:5] for seed in range(3)]
    assert others[0] != others[1] != others[2]
    hardest = select(examples, 3, seed=1, hard_share=1.0, teacher=dict(teacher, **{"7": np.array([1.0, 0, 0, 0])}))
    assert examples[7] in hardest
    assert set(hardest) <= {examples[7], *examples[45:]}


def test_select_refuses_a_teacher_that_lacks_a_sentence():
    examples, teacher = examples_held_at(0.5, 0.5, 0.5)
    del teacher["1"]
    with pytest.raises(InputError, match="holds no probabilities for sentence '1'.*hard_share=0"):
        select(examples, 2, seed=1, hard_share=0.5, teacher=teacher)


def test_borderline_sentences_are_contrast_and_doubted_ones_or_all_where_they_are_few():
    plain, contrast = Example("1", "a", "x", "denial"), Example("2", "a", "y", "denial", kind="contrast")
    doubted = Example("3", "a", "z", "denial", kind="article", doubt=1)
    assert borderline([plain, contrast, doubted], at_least=2).tolist() == [False, True, True]
    assert borderline([plain, contrast, doubted], at_least=3).tolist() == [True, True, True]


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


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def shingles(text: str) -> set[tuple[str, ...]]:
    """Runs of three words."""
    found = words(text)
    return {tuple(found[i : i + 3]) for i in range(len(found) - 2)}


def near_duplicates(texts: dict[str, str], *, jaccard: float = 0.5) -> list[tuple[str, str]]:
    """Pairs whose runs of three words overlap that much: MinHash proposes them, the sets themselves decide."""
    sets = {name: shingles(text) for name, text in texts.items() if len(words(text)) >= 10}
    hashes = MinHash.bulk([[" ".join(run).encode() for run in runs] for runs in sets.values()], num_perm=64)
    index = MinHashLSH(threshold=jaccard - 0.1, num_perm=64)
    pairs = []
    for name, minhash in zip(sets, hashes, strict=True):
        for other in index.query(minhash):
            if len(sets[name] & sets[other]) >= jaccard * len(sets[name] | sets[other]):
                pairs.append((other, name))
        index.insert(name, minhash)
    return pairs


def test_near_duplicates_are_found_and_others_are_not():
    found = near_duplicates(
        {
            "a": "The harbour authority said on Monday that the ferry had left the quay before the storm came in",
            "b": "The harbour authority said on Tuesday that the ferry had left the quay before the storm came in",
            "c": "Nobody at the harbour on Monday had seen the ferry leave, the authority said after the storm",
        }
    )
    assert found == [("a", "b")]


def test_embedded_corpus_holds_no_near_duplicates(embedded):
    """But for the minimal pairs within a contrast group: one situation, another act."""
    of = {example.id: example for examples in embedded.values() for example in examples}
    pairs = near_duplicates({name: example.text for name, example in of.items()})
    assert [(a, b) for a, b in pairs if of[a].article != of[b].article or of[a].kind != "contrast"] == []


@pytest.fixture(scope="module")
def rows() -> dict[str, list[dict]]:
    lines = {split: (ROOT / "data" / "stance" / f"{split}.jsonl").read_text("utf-8").splitlines() for split in SPLITS}
    return {split: [json.loads(line) for line in lines[split]] for split in SPLITS}


def described(heading: str) -> dict[str, list[int]]:
    """A table of data/README.md: first column -> the numbers of the others."""
    text = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    table = text.split(f"| {heading} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {first: [int(number.replace(",", "")) for number in numbers] for first, *numbers in cells}


@pytest.mark.parametrize("field", ["register", "topic", "period"])
def test_embedded_articles_are_spread_as_the_datasheet_says(rows, field):
    """One line a register (topic, period): its articles, its sentences, and those of the test split."""
    articles, sentences, tested = Counter(), Counter(), Counter()
    for split in SPLITS:
        seen = set()
        for item in rows[split]:
            if item["kind"] == "article":
                value = f"{item['year'] // 5 * 5}-{item['year'] // 5 * 5 + 4}" if field == "period" else item[field]
                sentences[value] += 1
                tested[value] += split == "test"
                articles[value] += item["article"] not in seen
                seen.add(item["article"])
    found = {value: [articles[value], sentences[value], tested[value]] for value in sentences}
    assert found == described(field)
    assert min(tested[value] for value in sentences) > 0


def test_embedded_sentences_are_as_long_as_the_datasheet_says(rows):
    lengths = Counter()
    for item in (item for split in SPLITS for item in rows[split]):
        count = len(item["text"].split())
        lengths[next(name for name, most in LENGTHS.items() if count <= most)] += 1
    assert {name: [lengths[name]] for name in LENGTHS} == described("words")


LENGTHS = {"1-9": 9, "10-19": 19, "20-29": 29, "30-39": 39, "40 and more": 120}
KINDS = {
    "article": {"register", "topic", "year"},
    "contrast": set(),
    "furniture": set(),
}


def test_embedded_rows_hold_the_fields_of_their_kind_and_values_of_the_right_type(rows):
    for item in (item for split in SPLITS for item in rows[split]):
        assert set(item) == {"id", "article", "text", "label", "kind", "doubt"} | KINDS[item["kind"]], item["id"]
        assert item["doubt"] in (0, 1, 2), item["id"]
        assert item["id"].startswith(item["article"] + "/"), item["id"]
        assert 2000 <= item.get("year", 2000) <= 2026, item["id"]


def test_embedded_kinds_are_as_many_as_the_datasheet_says(rows):
    counts = Counter(item["kind"] for split in SPLITS for item in rows[split])
    lines = (ROOT / "data" / "README.md").read_text(encoding="utf-8").splitlines()
    for kind, count in counts.items():
        (line,) = [line for line in lines if line.startswith(f"| `{kind}` |")]
        assert line.endswith(f"| {count:,} |")
    assert f"{counts.total():,} English news sentences" in lines[2]
