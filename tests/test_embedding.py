"""Embeddings of sentences: what they are near, what is kept in the cache, and what a damaged cache costs."""

import shutil

import numpy as np
import pytest
from conftest import ROOT
from omegaconf import OmegaConf

from allegedly import embedding, encoders
from allegedly.embedding import MINILM, MPNET, Embedder
from allegedly.errors import InputError

WIDTH = 384
SENTENCES = ["The dam burst on Monday.", "A barrage broke at the start of the week.", "She plays the violin."]


@pytest.fixture
def cache(embedder_cache, tmp_path, monkeypatch):
    """The user's cache folder, with the exported encoder and nothing else."""
    shutil.copytree(embedder_cache, tmp_path / "cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "allegedly"


def refuse(*_):
    raise AssertionError("was made again")


def test_what_means_the_same_is_nearer(cache):
    rows = Embedder.load().embed(SENTENCES)
    assert rows.shape == (3, WIDTH)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-3)
    assert rows[0] @ rows[1] > 0.5 > 0.2 > rows[0] @ rows[2]


def test_the_export_gives_what_torch_gives(cache):
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder, _ = encoders.locate(MINILM)
    batch = AutoTokenizer.from_pretrained(folder)(SENTENCES, padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = AutoModel.from_pretrained(folder)(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1)
    expected = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1)).numpy()
    assert (Embedder.load().embed(SENTENCES) * expected).sum(axis=1) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("encoder", "name"), [(MINILM, "minilm"), (MPNET, "mpnet")])
def test_they_are_the_encoders_of_the_configs(encoder, name):
    given = OmegaConf.load(ROOT / "configs" / "encoder" / f"{name}.yaml")
    assert {key: getattr(encoder, key) for key in given} == OmegaConf.to_container(given)


def test_groups_seen_before_are_read(cache, monkeypatch):
    embedder = Embedder.load()
    first = embedder.embed_groups([SENTENCES, SENTENCES[:1]])
    monkeypatch.setattr(Embedder, "embed", lambda self, texts: refuse() if texts else np.zeros((0, WIDTH), np.float32))
    again = embedder.embed_groups([SENTENCES[:1], SENTENCES])
    assert np.array_equal(again[1], first[0])
    assert np.array_equal(again[0], first[1])


def test_a_changed_group_alone_is_made_again(cache, monkeypatch):
    embedder = Embedder.load()
    embedder.embed_groups([SENTENCES[:1], SENTENCES[1:]])
    asked, embed = [], Embedder.embed
    monkeypatch.setattr(Embedder, "embed", lambda self, texts: asked.extend(texts) or embed(self, texts))
    embedder.embed_groups([SENTENCES[:1], [*SENTENCES[1:], "New."]])
    assert asked == [*SENTENCES[1:], "New."]


@pytest.mark.parametrize("harm", ["cut", "emptied", "pickled", "overwritten", "of another shape"])
def test_a_damaged_cache_is_made_again(cache, harm):
    embedder = Embedder.load()
    expected = embedder.embed_groups([SENTENCES])[0]
    (path,) = (cache / "embeddings").iterdir()
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif harm == "emptied":
        path.write_bytes(b"")
    elif harm == "pickled":
        np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    elif harm == "overwritten":
        np.save(path, np.full((3, WIDTH), 9, dtype=np.float16))
    else:
        np.save(path, expected[:2])
    assert np.array_equal(embedder.embed_groups([SENTENCES])[0], expected)
    assert np.array_equal(np.load(path), expected)


def test_texts_that_only_join_alike_are_told_apart(cache):
    embedder = Embedder.load()
    embedder.embed_groups([["a b", "c"], ["a", "b c"], ["\ud800"]])
    assert len(list((cache / "embeddings").iterdir())) == 3


def test_an_intact_export_is_used(cache, monkeypatch):
    monkeypatch.setattr(embedding, "_export", refuse)
    Embedder.load()


@pytest.mark.parametrize("name", ["model.onnx.data", "tokenizer.json", "files.json"])
def test_a_damaged_export_is_made_again(cache, monkeypatch, name):
    (folder,) = cache.glob("embedder-*")
    good = shutil.copytree(folder, cache.parent / "good")
    (folder / name).write_text("~")

    def export(weights, draft, name):
        for part in ("model.onnx", "model.onnx.data"):
            shutil.copy(good / part, draft)

    monkeypatch.setattr(embedding, "_export", export)
    assert Embedder.load().embed(SENTENCES).shape == (3, WIDTH)
    assert (folder / name).read_bytes() == (good / name).read_bytes()


def test_a_cache_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(embedding, "_export", refuse)
    with pytest.raises(InputError, match="XDG_CACHE_HOME"):
        Embedder.load()


def test_of_two_first_uses_at_once_the_faster_one_stays(cache, monkeypatch):
    (folder,) = cache.glob("embedder-*")
    good = folder.rename(cache.parent / "good")

    def export(weights, draft, name):
        for part in ("model.onnx", "model.onnx.data"):
            shutil.copy(good / part, draft)
        shutil.copytree(good, folder)  # meanwhile another process ends
        (folder / "theirs").touch()

    monkeypatch.setattr(embedding, "_export", export)
    Embedder.load()
    assert (folder / "theirs").exists()
    assert not list(cache.glob(".embedder-*"))


@pytest.mark.parametrize("config", ["{}", '{"model_type": "bert"}'], ids=["of no kind", "without weights"])
def test_an_encoder_that_cannot_be_opened_is_said(tmp_path, monkeypatch, config):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "config.json").write_text(config)
    monkeypatch.setattr(encoders, "locate", lambda encoder: (tmp_path / "weights", encoder.sha256))
    with pytest.raises(InputError, match="encoder all-MiniLM-L6-v2: .*weights cannot be opened .*reinstall"):
        Embedder.load()
