"""Yardsticks for the transformer: a TrainConfig in, their scores in the same MLflow experiment out; no model is kept.

majority     the commonest label, whatever the sentence says
tfidf        its words and pairs of words, weighed by how rare they are, and a logistic regression
embeddings   the encoder as it came, the mean over its tokens, and a logistic regression

Of a claim with evidence these read the claim alone: what they know of the verdict is a shortcut. Two more read both:

overlap      the share of the claim's words, numbers and negations that the evidence has, and a logistic regression
similarity   the cosine of the encoder's embeddings of claim and evidence, and a logistic regression
"""

import logging
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from transformers import AutoModel, AutoTokenizer

from allegedly import calibration, corpus, encoders, encoding, evaluation, objective, run_page, tracking, training
from allegedly import config as schema
from allegedly.config import ModelKind, TrainConfig, check
from allegedly.corpus import Example
from allegedly.encoding import Text

log = logging.getLogger(__name__)
NEGATIONS = {"no", "not", "never", "none", "nobody", "nothing", "neither", "nor", "without", "cannot", "t"}  # can't
Yardstick = Callable[[Sequence[Text]], np.ndarray]  # texts -> logits of shape (n_texts, n_labels)


def train(config: TrainConfig) -> dict[str, float]:
    """Fit the yardstick ``config.model``, log its run and return its scores, named as `training.train` names them.

    Raises InputError for a config that cannot work, a faulty corpus, an encoder that is not there.
    """
    check(config)
    task = schema.task(config)
    splits = corpus.read(config.corpus.path, task=task)
    digest = corpus.digest(splits)
    splits["train"] = training.draw(config, splits["train"], training.read_teacher(config))
    encoder, sha256 = locate(config)
    facts = training.circumstances(config, splits, corpus_digest=digest, encoder_sha256=sha256)
    if encoder is None:
        facts["encoder"]["name"] = config.model.kind.value
    device = training.find_device(config.trainer.device) if encoder else "cpu"
    with tracking.start(config.tracking) as run:
        run_page.begin(run, config, splits, facts, device=device)
        started = time.perf_counter()
        yardstick = fit(config, splits["train"], encoder=encoder)
        train_seconds = round(time.perf_counter() - started, 1)
        logits, labels = {}, {}
        for split in ("validation", "test"):
            logits[split] = yardstick([example.input for example in splits[split]])
            labels[split] = corpus.label_ids(splits[split], task.labels)
        temperature = fit_temperature(config, logits["validation"], splits["validation"])
        validation = evaluation.score(
            labels["validation"], calibration.apply(logits["validation"], temperature), task.labels
        )
        probabilities = calibration.apply(logits["test"], temperature)
        test = evaluation.score_with_intervals(labels["test"], probabilities, task.labels)
        scores = {f"test/{key}": value for key, value in test.items()}
        scores |= {f"final_validation/{key}": value for key, value in validation.items()}
        log.info("\nTest split:\n\n%s\n", run_page.test_report(scores, labels["test"], probabilities, task.labels))
        costs = {"calibration/temperature": temperature, "train_seconds": train_seconds}
        run_page.results(run, splits["test"], probabilities, scores=scores | costs, task=task)
    low, high = scores["test/macro_f1_low"], scores["test/macro_f1_high"]
    log.info("macro-F1 on the test split: %.3f (95 %% interval %.3f to %.3f)", scores["test/macro_f1"], low, high)
    log.info("a yardstick: no bundle is written and nothing is registered")
    if run.active and run.run_id:
        log.info("MLflow: run %s", run.run_id)
    return scores


def locate(config: TrainConfig) -> tuple[Path | None, str]:
    """The folder of the encoder and the sha256 of its weights; (None, "") for a yardstick that reads none."""
    if config.model.kind in schema.WITHOUT_ENCODER:
        return None, ""
    return encoders.locate(config.encoder)


def fit(config: TrainConfig, examples: Sequence[Example], *, encoder: Path | None) -> Yardstick:
    """Fit the yardstick ``config.model`` on examples of all labels; ``encoder`` is for those that embed."""
    names = schema.task(config).labels
    texts, labels = [example.input for example in examples], corpus.label_ids(examples, names)
    log.info("fitting %s on %d examples", config.model.kind.value, len(examples))
    if config.model.kind is ModelKind.majority:
        shares = np.bincount(labels, minlength=len(names)) / len(labels)
        return lambda texts: np.tile(np.log(shares), (len(texts), 1))
    weights = objective.class_weights(labels, len(names), config.trainer.class_weights)
    regression = LogisticRegression(C=config.model.C, class_weight=dict(enumerate(weights)), max_iter=2000)
    features = _features(config, texts, encoder)
    regression.fit(features(texts), labels)
    return lambda texts: regression.decision_function(features(texts))


def _features(config: TrainConfig, texts: Sequence[Text], encoder: Path | None) -> Callable[[Sequence[Text]], Any]:
    """What the regression reads: texts -> a matrix, sparse or not, of shape (n_texts, n_features)."""
    kind = config.model.kind
    if kind is ModelKind.tfidf:
        words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True).fit(map(_alone, texts))
        return lambda texts: words.transform(map(_alone, texts))
    if kind is ModelKind.overlap:
        scaler = StandardScaler().fit(_overlaps(texts))
        return lambda texts: scaler.transform(_overlaps(texts))
    assert encoder is not None
    embed = _embedder(config, encoder)
    if kind is ModelKind.embeddings:
        return lambda texts: embed([_alone(text) for text in texts])

    def cosine(texts: Sequence[Text]) -> np.ndarray:
        claims, evidence = zip(*texts, strict=True)
        return 10 * (embed(claims) * embed(evidence)).sum(axis=1, keepdims=True)  # C suits features of this size

    return cosine


def _alone(text: Text) -> str:
    """The sentence, or the claim without its evidence."""
    return encoding.clean(text if isinstance(text, str) else text[0])


def _overlaps(texts: Sequence[tuple[str, str]]) -> np.ndarray:
    """Shape (n_texts, 4): share of the claim's words, and of its numbers, in the evidence; negations on either side."""
    rows = []
    for claim, evidence in texts:
        ours, theirs = (set(re.findall(r"\w+", text.casefold())) for text in (claim, evidence))
        numbers = {word for word in ours if word.isdecimal()}
        share = len(ours & theirs) / max(len(ours), 1)
        rows.append(
            [share, len(numbers & theirs) / max(len(numbers), 1), *(bool(side & NEGATIONS) for side in (ours, theirs))]
        )
    return np.array(rows, dtype=float)


def fit_temperature(config: TrainConfig, logits: np.ndarray, examples: Sequence[Example]) -> float:
    """The temperature as `training.finish` fits it; the majority's shares are probabilities already."""
    if config.model.kind is ModelKind.majority:
        return 1.0
    borderline = corpus.borderline(examples)
    return calibration.fit(logits[borderline], corpus.label_ids(examples, schema.task(config).labels)[borderline])


def _embedder(config: TrainConfig, encoder: Path) -> Callable[[Sequence[str]], np.ndarray]:
    """Texts -> mean-pooled embeddings of length one, float32 of shape (n_texts, hidden_size)."""
    local = {"local_files_only": True, "trust_remote_code": False}
    model = AutoModel.from_pretrained(encoder, dtype=torch.float32, use_safetensors=True, **local)
    device = training.find_device(config.trainer.device)
    model.to(device).eval()
    with tempfile.TemporaryDirectory() as folder:
        AutoTokenizer.from_pretrained(encoder, **local).save_pretrained(folder)
        tokenizer = encoding.load_tokenizer(Path(folder) / "tokenizer.json", max_length=config.encoder.max_length)
    batch_size = config.trainer.per_device_eval_batch_size

    @torch.inference_mode()
    def embed(texts: Sequence[str]) -> np.ndarray:
        found = np.empty((len(texts), model.config.hidden_size), dtype=np.float32)
        encodings = encoding.encode(tokenizer, texts)
        for positions, arrays in encoding.batches(encodings, batch_size=batch_size):
            inputs = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
            mask = inputs["attention_mask"].unsqueeze(-1)
            mean = (model(**inputs).last_hidden_state * mask).sum(dim=1) / mask.sum(dim=1)
            found[positions] = torch.nn.functional.normalize(mean, dim=1).cpu().numpy()
        return found

    return embed
