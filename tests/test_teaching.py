"""The teacher never judges a sentence that it was shown; planted label errors are found."""

import json

import numpy as np
import pytest
from conftest import ROOT, run, tiny_config, write_corpus

from allegedly import corpus
from allegedly.config import ClassWeights
from allegedly.errors import InputError
from allegedly.labels import LABELS
from allegedly.teaching import folds, suspects

ARTICLES = [f"article-{n}" for n in range(40) for _ in range(n % 7 + 1)]


def test_no_article_is_divided_between_folds_and_folds_are_of_like_size():
    found = folds(ARTICLES, 5, seed=1)
    assert all(len({f for f, a in zip(found, ARTICLES, strict=True) if a == article}) == 1 for article in ARTICLES)
    sizes = np.bincount(found)
    assert len(sizes) == 5
    assert sizes.max() - sizes.min() <= 7


def test_folds_depend_on_the_seed_alone():
    assert (folds(ARTICLES, 5, seed=1) == folds(ARTICLES, 5, seed=1)).all()
    assert (folds(ARTICLES, 5, seed=1) != folds(ARTICLES, 5, seed=2)).any()


def test_planted_label_errors_are_found_the_worst_first():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 400)
    probabilities = np.full((400, 4), 0.05)
    probabilities[np.arange(400), truth] = 0.85 + rng.uniform(-0.05, 0.05, 400)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    labels = truth.copy()
    planted = np.array([3, 50, 399])
    probabilities[planted, truth[planted]] += 0.1  # beyond doubt
    labels[planted] = (labels[planted] + 1) % 4
    found = suspects(labels, probabilities)
    assert set(planted) <= set(found[:3])
    assert len(found) == 3
    credible = probabilities[found, labels[found]]
    assert (np.diff(credible) >= 0).all()


def test_nothing_is_suspected_where_all_agree():
    assert len(suspects(np.array([0, 1]), np.array([[0.9, 0.1], [0.1, 0.9]]))) == 0


def test_teach_writes_probabilities_for_every_training_sentence(tiny_encoder, tmp_path):
    folder = write_corpus(tmp_path / "corpus", copies=4)
    result = run(
        "teach", "encoder=hub", f"encoder.path={tiny_encoder}", f"corpus.path={folder}",
        "tracking=off", "folds=2", "seeds=[1]",
        f"teacher_output={tmp_path}/teacher.jsonl", f"suspects_output={tmp_path}/suspects.jsonl",
        "trainer.max_steps=40", "trainer.early_stopping_patience=0", "trainer.learning_rate=5e-3", "trainer.device=cpu",
        cwd=ROOT,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    teacher = corpus.read_teacher(tmp_path / "teacher.jsonl")
    examples = corpus.read(folder)["train"]
    assert list(teacher) == [example.id for example in examples]
    right = [LABELS[teacher[example.id].argmax()] == example.label for example in examples]
    assert np.mean(right) > 0.9
    for line in (tmp_path / "suspects.jsonl").read_text().splitlines():
        assert {"id", "label", "suggested", "probability", "text"} == set(json.loads(line))


def test_a_training_with_a_teacher_learns_what_the_teacher_holds(tiny_encoder, tmp_path):
    from allegedly.classifier import Classifier
    from allegedly.training import train

    teacher = tmp_path / "teacher.jsonl"
    held = {"warning": 0.1, "denial": 0.2, "allegation": 0.3, "background": 0.4}
    folder = write_corpus(tmp_path / "corpus", copies=4)
    examples = corpus.read(folder)["train"]
    teacher.write_text("".join(json.dumps({"id": e.id, "probabilities": held}) + "\n" for e in examples))
    # Fewer steps than an epoch has: validated once, at the end, so that the last weights are kept.
    settings = {"distillation": 1.0, "class_weights": ClassWeights.none, "per_device_train_batch_size": 1}
    config = tiny_config(tiny_encoder, folder, tmp_path, **settings)
    config.corpus.teacher = str(teacher)
    config.tracking.enabled = False
    train(config)
    logits = Classifier.load(config.output, device="cpu").logits([example.text for example in examples])
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, np.tile(list(held.values()), (len(examples), 1)), atol=0.05)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense", ":1: is not an object"),
        ('{"id": "a", "probabilities": {"warning": 1}}', ":1: is not an object"),
        ('{"id": "a", "probabilities": {"warning": 1, "denial": 1, "allegation": 0, "background": 0}}', "add up to"),
    ],
)
def test_a_faulty_teacher_file_is_refused(tmp_path, line, message):
    path = tmp_path / "teacher.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(InputError, match=message):
        corpus.read_teacher(path)


def test_a_teacher_that_lacks_a_sentence_is_refused(tiny_encoder, tiny_corpus, tmp_path):
    from allegedly.training import train

    teacher = tmp_path / "teacher.jsonl"
    teacher.write_text('{"id": "x", "probabilities": {"warning": 1, "denial": 0, "allegation": 0, "background": 0}}\n')
    config = tiny_config(tiny_encoder, tiny_corpus, tmp_path, distillation=0.5)
    config.corpus.teacher = str(teacher)
    config.tracking.enabled = False
    with pytest.raises(InputError, match="holds no probabilities for sentence"):
        train(config)


def test_the_embedded_teacher_knows_every_training_sentence():
    teacher = corpus.read_teacher(ROOT / "data" / "stance" / "teacher.jsonl")
    examples = corpus.read(ROOT / "data" / "stance")["train"]
    assert {example.id for example in examples} <= teacher.keys()
    assert np.mean([LABELS[teacher[example.id].argmax()] == example.label for example in examples]) > 0.9
