"""A CrossValidateConfig in; out comes how well its training does on articles held out in turn: mean ± deviation.

The articles of the training and the validation split are dealt into folds; the test split is never opened. Of the
articles that a fold leaves, a tenth chooses the epoch and fits the temperature, and the others are trained on.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from allegedly import baselines, calibration, corpus, evaluation, run_page, teaching, tracking, training
from allegedly.config import CrossValidateConfig, ModelKind, check
from allegedly.corpus import Example
from allegedly.errors import InputError
from allegedly.labels import LABELS

log = logging.getLogger(__name__)
SHOWN = ("macro_f1", *(f"f1_{label}" for label in LABELS))


def cross_validate(config: CrossValidateConfig) -> dict[str, float]:
    """Return every score's mean over the folds and its standard deviation (``…_std``), named ``cross_validation/…``.

    Raises InputError for a config that cannot work, a faulty corpus, an encoder that is not there.
    """
    check(config)
    splits = corpus.read(config.corpus.path, splits=("train", "validation"))
    examples = [*splits["train"], *splits["validation"]]
    articles = [example.article for example in examples]
    if len(set(articles)) <= config.folds:
        raise InputError(f"folds: {config.folds} are too many for {len(set(articles))} articles; give fewer")
    encoder, sha256 = baselines.locate(config)
    device = training.find_device(config.trainer.device) if encoder else "cpu"
    facts = training.circumstances(config, splits, corpus_digest=corpus.digest(splits), encoder_sha256=sha256)
    fold_of = teaching.folds(articles, config.folds, seed=config.seed)
    found: list[dict[str, float]] = []
    with tracking.start(config.tracking) as parent:
        run_page.begin(parent, config, splits, facts, device=device)
        for fold in range(config.folds):
            log.info("fold %d of %d", fold + 1, config.folds)
            others = [example for example, other in zip(examples, fold_of != fold, strict=True) if other]
            held_out = [example for example, held in zip(examples, fold_of == fold, strict=True) if held]
            with tracking.start(replace(config.tracking, run_name=f"fold {fold + 1}"), parent=parent) as run:
                run.params(run_page.parameters(config))
                run.tags({"fold": str(fold + 1)})
                found.append(_score(config, others, held_out, encoder=encoder, run=run))
                run.metrics({f"cross_validation/{key}": value for key, value in found[-1].items()})
        scores = {}
        for key in found[0]:
            values = [scores_of_fold[key] for scores_of_fold in found]
            scores[f"cross_validation/{key}"] = float(np.mean(values))
            scores[f"cross_validation/{key}_std"] = float(np.std(values, ddof=1))
        parent.metrics(scores)
        parent.text(table(found, scores), "cross_validation.txt")
    log.info("\n%s\n", table(found, scores))
    if parent.active and parent.run_id:
        log.info("MLflow: run %s", parent.run_id)
    return scores


def _score(
    config: CrossValidateConfig,
    others: Sequence[Example],
    held_out: Sequence[Example],
    *,
    encoder: Path | None,
    run: tracking.Run,
) -> dict[str, float]:
    """Scores on a fold of a model that was trained on the others."""
    articles = [example.article for example in others]
    tenth = teaching.folds(articles, min(10, len(set(articles))), seed=config.seed) == 0
    validation = [example for example, chosen in zip(others, tenth, strict=True) if chosen]
    drawn = training.draw(config, [example for example, chosen in zip(others, tenth, strict=True) if not chosen])
    if config.model.kind is ModelKind.transformer:
        assert encoder is not None
        on_validation, on_held_out = teaching.judge(config, drawn, validation, held_out, encoder=encoder, run=run)
    else:
        yardstick = baselines.fit(config, drawn, encoder=encoder)
        on_validation, on_held_out = (yardstick([e.text for e in part]) for part in (validation, held_out))
    temperature = baselines.fit_temperature(config, on_validation, validation)
    return evaluation.score(corpus.label_ids(held_out), calibration.apply(on_held_out, temperature))


def table(found: Sequence[Mapping[str, float]], scores: Mapping[str, float]) -> str:
    """Lay out F1 by fold, and mean ± standard deviation, for a terminal."""
    lines = [f"{'F1':8}" + "".join(f"{key.removeprefix('f1_').replace('_f1', ''):>16}" for key in SHOWN)]
    for fold, of_fold in enumerate(found, 1):
        lines.append(f"fold {fold:<3}" + "".join(f"{of_fold[key]:16.3f}" for key in SHOWN))
    spread = (f"{scores[f'cross_validation/{key}']:.3f} ± {scores[f'cross_validation/{key}_std']:.3f}" for key in SHOWN)
    lines.append(f"{'mean':8}" + "".join(f"{text:>16}" for text in spread))
    return "\n".join(lines)
