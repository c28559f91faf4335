"""Yardsticks for the transformer: a TrainConfig in, their scores in the same MLflow experiment out; no model is kept.

majority     the commonest label, whatever the sentence says
tfidf        its words and pairs of words, weighed by how rare they are, and a logistic regression
embeddings   the encoder as it came, the mean over its tokens, and a logistic regression
"""

import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from transformers import AutoModel, AutoTokenizer

from allegedly import calibration, corpus, encoders, encoding, evaluation, objective, run_page, tracking, training
from allegedly.config import ModelKind, TrainConfig, check
from allegedly.corpus import Example
from allegedly.labels import LABELS

log = logging.getLogger(__name__)
Yardstick = Callable[[Sequence[str]], np.ndarray]  # texts -> logits of shape (n_texts, n_labels)


def train(config: TrainConfig) -> dict[str, float]:
    """Fit the yardstick ``config.model``, log its run and return its scores, named as `training.train` names them.

    Raises InputError for a config that cannot work, a faulty corpus, an encoder that is not there.
    """
    check(config)
    splits = corpus.read(config.corpus.path)
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
            logits[split] = yardstick([example.text for example in splits[split]])
            labels[split] = corpus.label_ids(splits[split])
        temperature = fit_temperature(config, logits["validation"], splits["validation"])
        validation = evaluation.score(labels["validation"], calibration.apply(logits["validation"], temperature))
        probabilities = calibration.apply(logits["test"], temperature)
        test = evaluation.score_with_intervals(labels["test"], probabilities)
        scores = {f"test/{key}": value for key, value in test.items()}
        scores |= {f"final_validation/{key}": value for key, value in validation.items()}
        log.info("\nTest split:\n\n%s\n", run_page.test_report(scores, labels["test"], probabilities, LABELS))
        costs = {"calibration/temperature": temperature, "train_seconds": train_seconds}
        run_page.results(run, splits["test"], probabilities, scores=scores | costs)
    low, high = scores["test/macro_f1_low"], scores["test/macro_f1_high"]
    log.info("macro-F1 on the test split: %.3f (95 %% interval %.3f to %.3f)", scores["test/macro_f1"], low, high)
    log.info("a yardstick: no bundle is written and nothing is registered")
    if run.active and run.run_id:
        log.info("MLflow: run %s", run.run_id)
    return scores


def locate(config: TrainConfig) -> tuple[Path | None, str]:
    """The folder of the encoder and the sha256 of its weights; (None, "") for a yardstick that reads none."""
    if config.model.kind in (ModelKind.majority, ModelKind.tfidf):
        return None, ""
    return encoders.locate(config.encoder)


def fit(config: TrainConfig, examples: Sequence[Example], *, encoder: Path | None) -> Yardstick:
    """Fit the yardstick ``config.model`` on examples of all labels; ``encoder`` is read by embeddings alone."""
    texts, labels = [encoding.clean(example.text) for example in examples], corpus.label_ids(examples)
    weights = objective.class_weights(labels, len(LABELS), config.trainer.class_weights)
    regression = LogisticRegression(C=config.model.C, class_weight=dict(enumerate(weights)), max_iter=2000)
    log.info("fitting %s on %d sentences", config.model.kind.value, len(examples))
    if config.model.kind is ModelKind.majority:
        shares = np.bincount(labels, minlength=len(LABELS)) / len(labels)
        return lambda texts: np.tile(np.log(shares), (len(texts), 1))
    if config.model.kind is ModelKind.tfidf:
        words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
        pipeline = make_pipeline(words, regression).fit(texts, labels)
        return lambda texts: pipeline.decision_function([encoding.clean(text) for text in texts])
    assert encoder is not None
    embed = _embedder(config, encoder)
    regression.fit(embed(texts), labels)
    return lambda texts: regression.decision_function(embed(texts))


def fit_temperature(config: TrainConfig, logits: np.ndarray, examples: Sequence[Example]) -> float:
    """The temperature as `training.finish` fits it; the majority's shares are probabilities already."""
    if config.model.kind is ModelKind.majority:
        return 1.0
    borderline = corpus.borderline(examples)
    return calibration.fit(logits[borderline], corpus.label_ids(examples)[borderline])


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
