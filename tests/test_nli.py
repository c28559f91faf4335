"""Checkpoints of others as judges: BERT, RoBERTa and DeBERTa, two labels or three, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import ROOT, run, word_tokenizer

from allegedly import nli
from allegedly.errors import InputError
from allegedly.labels import VERDICTS
from allegedly.verification import Claim, verify

FAMILIES = ("Bert", "Roberta", "DebertaV2")
WORDS = ["the", "dam", "burst", "held", "on", "monday", "."]
THREE = {"entailment": "SUPPORTED", "neutral": "NOT_ENOUGH_INFO", "contradiction": "REFUTED"}


def checkpoint(folder: Path, family: str, labels=tuple(THREE)) -> Path:
    """A tiny sequence classifier with random weights."""
    import torch
    import transformers

    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=word_tokenizer(WORDS), **special)
    tokenizer.save_pretrained(folder)
    extra = {"type_vocab_size": {"Bert": 2, "Roberta": 1, "DebertaV2": 0}[family]}
    if family == "DebertaV2":  # as DeBERTa-v3 checkpoints have it
        extra |= {"relative_attention": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm",
                  "share_att_key": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False}  # fmt: skip
    config = getattr(transformers, f"{family}Config")(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=66, pad_token_id=0, initializer_range=0.5, id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)}, **extra,
    )  # fmt: skip
    torch.manual_seed(1)
    getattr(transformers, f"{family}ForSequenceClassification")(config).save_pretrained(folder)
    return folder


def described(file: Path, folder: Path, /, **changes) -> Path:
    keys = {"path": str(folder), "labels": THREE, "max_length": 32} | changes
    file.write_text(json.dumps(keys))  # JSON is YAML
    return file


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp("bert"), "Bert")


def refusal(path) -> str:
    with pytest.raises(InputError) as caught:
        nli.load(path, device="cpu")
    assert "\n" not in str(caught.value)
    return str(caught.value)


PAIRS = [("The dam burst.", "The dam held on Monday."), ("Burst.", "Held."), ("The dam held.", "The dam held. " * 12)]


@pytest.mark.parametrize("family", FAMILIES)
def test_verdicts_are_those_of_the_checkpoint(family, tmp_path):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = checkpoint(tmp_path / "model", family)
    found = nli.load(described(tmp_path / "a.yaml", folder), device="cpu").predict(PAIRS)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSequenceClassification.from_pretrained(folder)
    for (claim, evidence), prediction in zip(PAIRS, found, strict=True):
        batch = tokenizer(evidence.strip(), claim, truncation=True, max_length=32, return_tensors="pt")
        with torch.inference_mode():
            entailment, neutral, contradiction = model(**batch).logits.softmax(1)[0].tolist()
        assert list(prediction.probabilities) == list(VERDICTS)
        assert list(prediction.probabilities.values()) == pytest.approx([entailment, contradiction, neutral], abs=1e-5)
        assert (
            prediction.probability
            == prediction.probabilities[prediction.label]
            == max(prediction.probabilities.values())
        )


def test_two_labels_support_or_leave_open(tmp_path):
    labels = {"entailment": "SUPPORTED", "not_entailment": "NOT_ENOUGH_INFO"}
    folder = checkpoint(tmp_path / "model", "DebertaV2", tuple(labels))
    (found,) = nli.load(described(tmp_path / "a.yaml", folder, labels=labels), device="cpu").predict(PAIRS[:1])
    assert found.probabilities["REFUTED"] == 0
    assert found.probabilities["SUPPORTED"] + found.probabilities["NOT_ENOUGH_INFO"] == pytest.approx(1)


def test_labels_that_become_one_verdict_are_added(bert, tmp_path):
    three = nli.load(described(tmp_path / "a.yaml", bert), device="cpu").predict(PAIRS)
    labels = THREE | {"contradiction": "NOT_ENOUGH_INFO"}
    two = nli.load(described(tmp_path / "b.yaml", bert, labels=labels), device="cpu").predict(PAIRS)
    assert [p.probabilities["NOT_ENOUGH_INFO"] for p in two] == pytest.approx(
        [p.probabilities["NOT_ENOUGH_INFO"] + p.probabilities["REFUTED"] for p in three]
    )


def test_the_claim_can_come_first(bert, tmp_path):
    usual = nli.load(described(tmp_path / "a.yaml", bert), device="cpu")
    turned = nli.load(described(tmp_path / "b.yaml", bert, claim_first=True), device="cpu")
    claim, evidence = PAIRS[0]
    assert turned.predict([(evidence, claim)]) == usual.predict([(claim, evidence)])
    assert turned.predict([(claim, evidence)]) != usual.predict([(claim, evidence)])


def test_a_temperature_above_one_makes_it_less_sure(bert, tmp_path):
    usual = nli.load(described(tmp_path / "a.yaml", bert), device="cpu").predict(PAIRS)
    cooled = nli.load(described(tmp_path / "b.yaml", bert, temperature=3.0), device="cpu").predict(PAIRS)
    for one, other in zip(usual, cooled, strict=True):
        assert other.label == one.label
        assert other.probability < one.probability


def test_it_judges_claims_and_cuts_long_evidence_into_chunks(bert, tmp_path):
    judge = nli.load(described(tmp_path / "a.yaml", bert), device="cpu")
    assert judge.lengths(["The dam held.", "burst"]) == [4, 1]
    (finding,) = verify([Claim("1", "The dam burst.", ("The dam held on Monday.",) * 20)], judge)
    assert finding.verdict in VERDICTS


def test_the_command_takes_it(bert, tmp_path):
    described(tmp_path / "a.yaml", bert)
    (tmp_path / "claims.jsonl").write_text(json.dumps({"claim": "The dam burst.", "evidence": ["The dam held."]}))
    found = run("verify", "--claims", "claims.jsonl", "--model", "a.yaml", "--format", "jsonl", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["verdict"] in VERDICTS
    assert found.stderr.count(b"\n") == 1


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "verifier").iterdir()), ids=lambda path: path.name)
def test_recommended_checkpoints_are_pinned_and_offline_they_are_refused_with_one_line(path):
    config = nli.read(path)
    assert len(config.revision) == 40
    assert set(config.labels.values()) <= set(VERDICTS)
    said = refusal(path)
    assert config.path in said
    assert "network" in said


BAD = {
    "unknown key": ({"lables": {}}, "lables"),
    "wrong type": ({"max_length": "long"}, "long"),
    "no labels": ({"labels": "???"}, "labels"),
    "no path": ({"path": "???"}, "path"),
    "unknown verdict": ({"labels": THREE | {"neutral": "MAYBE"}}, "MAYBE"),
    "no label that leaves a claim open": ({"labels": THREE | {"neutral": "REFUTED"}}, "NOT_ENOUGH_INFO"),
    "a label left out": ({"labels": {"entailment": "SUPPORTED", "neutral": "NOT_ENOUGH_INFO"}}, "contradiction"),
    "a label too many": ({"labels": THREE | {"other": "REFUTED"}}, "other"),
    "temperature": ({"temperature": 0}, "temperature"),
    "length": ({"max_length": 2}, "max_length"),
    "another digest": ({"sha256": "0" * 64}, "sha256"),
    "a Hub name without a revision": ({"path": "someone/model"}, "revision"),
    "something to run": ({"_target_": "os.system"}, "_target_"),
}


@pytest.mark.parametrize(("changes", "fault"), BAD.values(), ids=BAD)
def test_a_file_that_cannot_work_is_refused_by_key(bert, tmp_path, changes, fault):
    said = refusal(described(tmp_path / "a.yaml", bert, **changes))
    assert fault in said
    assert "a.yaml" in said


@pytest.mark.parametrize("content", ["", "- x", "a: [", "\x00"])
def test_what_is_no_such_file_is_refused(tmp_path, content):
    (tmp_path / "a.yaml").write_text(content)
    assert "a.yaml" in refusal(tmp_path / "a.yaml")


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_that_comes_with_a_checkpoint_is_refused(bert, tmp_path, name):
    folder = Path(shutil.copytree(bert, tmp_path / "model"))
    data = json.loads((folder / name).read_text()) | {"auto_map": {"AutoConfig": "evil.Config"}}
    (folder / name).write_text(json.dumps(data))
    assert "auto_map" in refusal(described(tmp_path / "a.yaml", folder))


def test_pickled_weights_are_not_loaded(bert, tmp_path):
    folder = Path(shutil.copytree(bert, tmp_path / "model"))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "safetensors" in refusal(described(tmp_path / "a.yaml", folder))


@pytest.mark.parametrize("harm", ["config.json", "model.safetensors"])
def test_a_damaged_checkpoint_is_refused(bert, tmp_path, harm):
    folder = Path(shutil.copytree(bert, tmp_path / "model"))
    (folder / harm).write_bytes(b"{~")
    assert str(folder) in refusal(described(tmp_path / "a.yaml", folder))


@pytest.mark.parametrize("head", ["left out", "of another size"])
def test_a_checkpoint_without_a_trained_head_is_refused(bert, tmp_path, capfd, head):
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(bert, tmp_path / "model"))
    weights = load_file(folder / "model.safetensors")
    weights["classifier.weight"] = weights["classifier.weight"][:2].clone()
    if head == "left out":
        del weights["classifier.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "classifier.weight" in refusal(described(tmp_path / "a.yaml", folder))
    assert capfd.readouterr().err == ""
