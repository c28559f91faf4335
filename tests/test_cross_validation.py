"""Folds of articles, held out in turn, never from the test split; mean ± deviation as by hand."""

import mlflow
import numpy as np
import pytest
from conftest import ROOT, run, tiny_config, write_corpus

from allegedly import baselines, corpus, cross_validation, teaching, training
from allegedly.config import CrossValidateConfig, EncoderConfig, ModelConfig, ModelKind, check
from allegedly.errors import InputError
from allegedly.labels import LABELS


def cross_config(encoder, folder, workplace, *, folds=2, kind=ModelKind.transformer, **trainer):
    config = CrossValidateConfig(**vars(tiny_config(encoder, folder, workplace, **trainer)), folds=folds)
    config.model = ModelConfig(kind=kind, C=100.0)
    if kind is ModelKind.tfidf:
        config.encoder = EncoderConfig(name="none")
    return config


@pytest.fixture
def folder(tmp_path):
    """Eight articles outside the test split, and no file for that split."""
    folder = write_corpus(tmp_path / "corpus", copies=4)
    (folder / "test.jsonl").unlink()
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_folds_are_runs_under_one_parent_and_the_parent_holds_mean_and_deviation(tiny_encoder, folder, here):
    config = cross_config(tiny_encoder, folder, here, folds=3, kind=ModelKind.tfidf)
    scores = cross_validation.cross_validate(config)
    mlflow.set_tracking_uri(config.tracking.uri)
    runs = mlflow.search_runs(experiment_names=["stance"], output_format="list")
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    folds = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert sorted(run.info.run_name for run in folds) == ["fold 1", "fold 2", "fold 3"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    for key in ("macro_f1", *(f"f1_{label}" for label in LABELS)):
        values = [run.data.metrics[f"cross_validation/{key}"] for run in folds]
        assert scores[f"cross_validation/{key}"] == pytest.approx(sum(values) / 3)
        deviation = (sum((value - sum(values) / 3) ** 2 for value in values) / 2) ** 0.5
        assert parent.data.metrics[f"cross_validation/{key}_std"] == pytest.approx(deviation)
    assert not any(key.startswith("test/") for run in runs for key in run.data.metrics)
    assert {item.tags[0].value for item in parent.inputs.dataset_inputs} == {"training", "validation"}


def test_every_article_is_held_out_once_and_judged_by_a_model_that_has_not_seen_it(
    tiny_encoder, folder, here, monkeypatch
):
    held, seen = [], []

    def fit(config, examples, *, encoder):
        seen.append({example.article for example in examples})
        return lambda texts: np.zeros((len(texts), 4))

    def score(labels, probabilities):
        return {key: 1.0 for key in cross_validation.SHOWN}

    def label_ids(examples):
        held.append({example.article for example in examples})
        return np.zeros(len(examples), dtype=int)

    monkeypatch.setattr(baselines, "fit", fit)
    monkeypatch.setattr(baselines, "fit_temperature", lambda *_: 1.0)
    monkeypatch.setattr(cross_validation.evaluation, "score", score)
    monkeypatch.setattr(cross_validation.corpus, "label_ids", label_ids)
    config = cross_config(tiny_encoder, folder, here, folds=4, kind=ModelKind.tfidf)
    config.tracking.enabled = False
    cross_validation.cross_validate(config)
    articles = {f"{split}-{copy}" for split in ("train", "validation") for copy in range(4)}
    assert set.union(*held) == articles
    assert sum(map(len, held)) == len(articles)
    for trained, held_out in zip(seen, held, strict=True):
        assert not trained & held_out
        assert trained | held_out < articles  # the rest chooses the epoch and fits the temperature


def test_a_transformer_is_trained_anew_for_every_fold(tiny_encoder, folder, here):
    config = cross_config(tiny_encoder, folder, here, folds=2, max_steps=60)
    scores = cross_validation.cross_validate(config)
    assert scores["cross_validation/macro_f1"] > 0.9  # the same sentences stand in every article
    assert not (here / "models").exists()


def test_the_sentences_that_choose_the_epoch_are_not_those_held_out(tiny_encoder, folder, here, monkeypatch):
    def judge(config, examples, validation, held_out, *, encoder, run):
        parts = [{e.article for e in part} for part in (examples, validation, held_out)]
        assert all(parts)
        assert len(set.union(*parts)) == sum(map(len, parts)) == 8
        return np.zeros((len(validation), 4)), np.zeros((len(held_out), 4))

    monkeypatch.setattr(teaching, "judge", judge)
    config = cross_config(tiny_encoder, folder, here, folds=2)
    config.tracking.enabled = False
    cross_validation.cross_validate(config)


def test_more_folds_than_articles_are_refused(tiny_encoder, folder, here):
    with pytest.raises(InputError, match="folds: 8 are too many for 8 articles"):
        cross_validation.cross_validate(cross_config(tiny_encoder, folder, here, folds=8))


@pytest.mark.parametrize("setting", ["distillation", "hard_share"])
def test_a_teacher_that_has_seen_the_fold_is_refused(setting, tiny_encoder, folder, here):
    config = cross_config(tiny_encoder, folder, here, **{setting: 0.5})
    config.corpus.teacher = "teacher.jsonl"
    with pytest.raises(InputError, match="the teacher has seen the labels"):
        check(config)


def test_the_command_prints_mean_and_deviation(folder, here):
    found = run(
        "crossvalidate", "experiment=tfidf", "corpus=own", f"corpus.path={folder}", "folds=2", "tracking=off", cwd=here
    )
    assert found.returncode == 0, found.stderr.decode()
    lines = (found.stdout + found.stderr).decode().splitlines()
    (mean,) = [line for line in lines if line.startswith("mean")]
    assert mean.count("±") == 5


def test_one_fold_gets_one_line(here):
    found = run("crossvalidate", "folds=1", cwd=here)
    assert (found.returncode, found.stderr.count(b"\n")) == (2, 1)
    assert b"crossvalidate: folds: 1 is too small" in found.stderr


def test_the_embedded_corpus_can_be_cut_into_the_folds_of_the_config():
    from test_configs import composed

    config = composed(name="crossvalidate")
    splits = corpus.read(ROOT / "data" / "stance", splits=("train", "validation"))
    examples = [*splits["train"], *splits["validation"]]
    fold_of = teaching.folds([example.article for example in examples], config.folds, seed=config.seed)
    for fold in range(config.folds):
        held_out = [example for example, other in zip(examples, fold_of, strict=True) if other == fold]
        assert {example.label for example in held_out} == set(LABELS)
        assert len(training.draw(config, [e for e, f in zip(examples, fold_of, strict=True) if f != fold])) == 4200
