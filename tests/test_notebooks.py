"""Every notebook runs from its own folder, shows pictures, and is kept without what it showed."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, run, tiny_config

from allegedly import baselines, corpus, run_page, tracking
from allegedly.config import EncoderConfig, ModelConfig, ModelKind
from allegedly.evaluation import score_with_intervals

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def checkout(tiny_encoder, tiny_bundle, tmp_path_factory) -> Path:
    """A checkout as its user has it after a training: bundle, a tenth of the corpus, runs of two baselines and one of
    a model that is right on nine sentences of ten."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    shutil.copytree(tiny_bundle, folder / "models" / "stance")
    shutil.copytree(ROOT / "data", folder / "data", ignore=shutil.ignore_patterns("*.jsonl"))
    for split in corpus.SPLITS:
        lines = (ROOT / "data" / "stance" / f"{split}.jsonl").read_text().splitlines(keepends=True)
        (folder / "data" / "stance" / f"{split}.jsonl").write_text("".join(lines[::10]))
    config = tiny_config(tiny_encoder, Path("data/stance"), folder)
    here = os.getcwd()
    os.chdir(folder)
    try:
        for kind in (ModelKind.majority, ModelKind.tfidf):
            tracked = replace(config.tracking, run_name=kind.value)
            encoder, model = EncoderConfig(name="none"), ModelConfig(kind=kind)
            baselines.train(replace(config, model=model, encoder=encoder, tracking=tracked))
        splits = corpus.read(config.corpus.path)
        facts = {
            "encoder": {"name": "tiny", "sha256": "0" * 64},
            "corpus": {"name": "tiny", "digest": corpus.digest(splits)},
            "git_commit": None,
        }
        labels = corpus.label_ids(splits["test"])
        rng = np.random.default_rng(3)
        said = np.where(rng.random(len(labels)) < 0.9, labels, rng.integers(0, 4, len(labels)))
        probabilities = 0.6 * np.eye(4)[said] + 0.4 * rng.dirichlet(np.ones(4), len(labels))
        scores = {f"test/{key}": value for key, value in score_with_intervals(labels, probabilities).items()}
        with tracking.start(config.tracking) as logged:
            run_page.begin(logged, config, splits, facts, device="cpu")
            run_page.results(logged, splits["test"], probabilities, scores=scores)
    finally:
        os.chdir(here)
    return folder


def executed(path: Path) -> tuple[str, int]:
    """Run a notebook in place, as `pytest --nbmake` does; return (the text that it shows, how many pictures)."""
    found = run("pytest", "--nbmake", "--overwrite", "-p", "no:cacheprovider", path.name, cwd=path.parent)
    assert found.returncode == 0, found.stdout.decode()
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    outputs = [output for cell in cells for output in cell["outputs"]]
    shown = [output.get("data", {"text/plain": output.get("text", "")}) for output in outputs]
    text = "\n".join("".join(data.get("text/html", data["text/plain"])) for data in shown)
    return text, sum("image/png" in data for data in shown)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_what_it_showed(path):
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert [cell["outputs"] for cell in cells] == [[]] * len(cells)
    assert {cell["execution_count"] for cell in cells} == {None}


def test_the_corpus_is_seen_at_a_glance(checkout):
    text, pictures = executed(checkout / "notebooks" / "corpus_at_a_glance.ipynb")
    assert pictures == 6  # kinds, doubt, register, topic, year, length
    sentences = len((checkout / "data" / "stance" / "train.jsonl").read_text(encoding="utf-8").splitlines())
    assert f"{sentences:,}" in text


def test_a_run_is_set_beside_its_baselines(checkout):
    text, pictures = executed(checkout / "notebooks" / "run_against_baseline.ipynb")
    assert pictures == 2
    for name in ("majority", "tfidf", "tiny", "expected_calibration_error", "says tiny", "says tfidf"):
        assert name in text


def test_errors_are_broken_down(checkout):
    text, pictures = executed(checkout / "notebooks" / "error_analysis.ipynb")
    assert pictures == 7  # confusion, pairs, confidence, reliability; by length, kind, register; too few hesitated
    assert "of 253 sentences wrong" in text


def test_one_article_is_read(checkout):
    text, _ = executed(checkout / "notebooks" / "one_article.ipynb")
    assert "Hürriyet Ekspres" in text


@pytest.mark.parametrize("name", ["run_against_baseline", "error_analysis"])
def test_without_runs_it_is_said_what_to_run_first(name, tmp_path):
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    (tmp_path / "data").mkdir()
    found = run("pytest", "--nbmake", "-p", "no:cacheprovider", f"{name}.ipynb", cwd=tmp_path / "notebooks")
    assert found.returncode == 1
    assert b"first: python -m train" in found.stdout
