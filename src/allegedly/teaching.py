"""A TeachConfig in; out come a teacher's probabilities for every training sentence, and the labels that they doubt.

The training articles are divided into folds. For each an encoder is fine-tuned on the others, once a seed, and
labels the fold, so that no sentence is judged by a model that has seen its label. The mean over the seeds is the
teacher: soft targets for a smaller model (Hinton et al. 2015), and the evidence for a search of label errors.
"""

import json
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from allegedly import calibration, corpus, encoders, encoding, evaluation, run_page, tracking, training
from allegedly.config import TeachConfig, TrainConfig, check
from allegedly.corpus import Example
from allegedly.labels import LABELS

log = logging.getLogger(__name__)


def teach(config: TeachConfig) -> dict[str, float]:
    """Write ``config.teacher_output`` and ``config.suspects_output``; return the scores of the out-of-fold predictions.

    Raises InputError for a config that cannot work, a faulty corpus, an encoder that is not there.
    """
    check(config)
    splits = corpus.read(config.corpus.path)
    examples = splits["train"]
    encoder, _ = encoders.locate(config.encoder)
    fold_of = folds([example.article for example in examples], config.folds, seed=config.seed)
    probabilities = np.zeros((len(examples), len(LABELS)))
    silent = tracking.Run(replace(config.tracking, enabled=False))  # the teaching is one run, not one a model
    with tracking.start(config.tracking) as run:
        run.params(run_page.parameters(config))
        for fold in range(config.folds):
            held_out = np.flatnonzero(fold_of == fold)
            others = [examples[i] for i in np.flatnonzero(fold_of != fold)]
            for seed in config.seeds:
                log.info("fold %d of %d, seed %d", fold + 1, config.folds, seed)
                on_validation, on_held_out = judge(
                    replace(config, seed=seed), others, splits["validation"], [examples[i] for i in held_out],
                    encoder=encoder, run=silent,
                )  # fmt: skip
                temperature = calibration.fit(on_validation, corpus.label_ids(splits["validation"]))
                probabilities[held_out] += calibration.apply(on_held_out, temperature) / len(config.seeds)
        labels = corpus.label_ids(examples)
        scores = {f"out_of_fold/{key}": value for key, value in evaluation.score(labels, probabilities).items()}
        run.metrics(scores)
    doubted = suspects(labels, probabilities)
    _write(
        Path(config.teacher_output),
        [
            {"id": example.id, "probabilities": dict(zip(LABELS, row.round(4).tolist(), strict=True))}
            for example, row in zip(examples, probabilities, strict=True)
        ],
    )
    _write(
        Path(config.suspects_output),
        [
            {"id": examples[i].id, "label": examples[i].label, "suggested": LABELS[probabilities[i].argmax()],
             "probability": round(float(probabilities[i].max()), 3), "text": examples[i].text}
            for i in doubted
        ],
    )  # fmt: skip
    log.info("macro-F1 out of fold: %.3f", scores["out_of_fold/macro_f1"])
    log.info("teacher: %s; %d labels to read again: %s", config.teacher_output, len(doubted), config.suspects_output)
    return scores


def judge(
    config: TrainConfig,
    examples: Sequence[Example],
    validation: Sequence[Example],
    held_out: Sequence[Example],
    *,
    encoder: Path,
    run: tracking.Run,
) -> tuple[np.ndarray, np.ndarray]:
    """Logits, of shape (n_sentences, n_labels), of one model for validation and for sentences that it was not shown."""
    with tempfile.TemporaryDirectory(prefix="fold-") as parent:
        folder = Path(parent) / "model"
        folder.mkdir()
        model = training.fit(config, examples, validation, encoder=encoder, folder=folder, run=run)
        tokenizer = encoding.load_tokenizer(folder / "tokenizer.json", max_length=config.encoder.max_length)
    return logits(model, tokenizer, validation), logits(model, tokenizer, held_out)


@torch.inference_mode()
def logits(model: torch.nn.Module, tokenizer, examples: Sequence[Example], *, batch_size: int = 64) -> np.ndarray:
    """The model's logits where it lies, shape (n_sentences, n_labels)."""
    model.eval()
    found = np.empty((len(examples), len(LABELS)), dtype=np.float32)
    encodings = encoding.encode(tokenizer, [example.text for example in examples])
    for positions, arrays in encoding.batches(encodings, batch_size=batch_size):
        inputs = {name: torch.from_numpy(array).to(model.device) for name, array in arrays.items()}
        found[positions] = model(**inputs).logits.float().cpu().numpy()
    return found


def folds(articles: Sequence[str], number: int, *, seed: int) -> np.ndarray:
    """A fold for every sentence, int64 of shape (n_sentences,): whole articles, shuffled, dealt out by size.

    >>> folds(["a", "a", "b", "c"], 2, seed=0).tolist() in ([0, 0, 1, 1], [1, 1, 0, 0])
    True
    """
    names, sizes = np.unique(articles, return_counts=True)
    shuffled = np.random.default_rng(seed).permutation(len(names))
    filled, fold_of = np.zeros(number), {}
    for i in sorted(shuffled, key=lambda i: -sizes[i]):  # stable: articles of one size stay shuffled
        fold_of[names[i]] = int(filled.argmin())
        filled[filled.argmin()] += sizes[i]
    return np.array([fold_of[article] for article in articles])


def suspects(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Positions of labels that are probably wrong, the least credible first.

    Confident learning (Northcutt, Jiang & Chuang 2021, section 3.1): a sentence counts for the label whose probability
    exceeds the mean probability of that label among the sentences that carry it; where that is another label than its
    own, it is a suspect. ``labels`` has the shape (n_sentences,), ``probabilities``, out of sample,
    (n_sentences, n_labels).

    >>> suspects(np.array([0, 0, 1, 1]), np.array([[0.9, 0.1], [0.1, 0.9], [0.3, 0.7], [0.2, 0.8]])).tolist()
    [1]
    """
    present = np.unique(labels)
    thresholds = np.full(probabilities.shape[1], np.inf)
    for label in present:
        thresholds[label] = probabilities[labels == label, label].mean()
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    counted = confident.argmax(axis=1)
    doubted = np.flatnonzero((confident.max(axis=1) > 0) & (counted != labels))
    return doubted[np.argsort(probabilities[doubted, labels[doubted]], kind="stable")]


def _write(path: Path, rows: Sequence[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    draft.replace(path)
