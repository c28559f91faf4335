"""What a reviewer sees of a run: config, data and scores in; params, tags, inputs, metrics, figures in MLflow out."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from allegedly import config as schema
from allegedly import corpus, evaluation, figures, tracking
from allegedly.corpus import Example

CONTEXTS = {"train": "training", "validation": "validation", "test": "testing"}  # of a split, as MLflow names it


def begin(
    run: tracking.Run,
    config: schema.TrainConfig,
    splits: Mapping[str, Sequence[Example]],
    facts: Mapping[str, Any],
    *,
    device: str,
) -> None:
    """Log what is known before the training: params, tags and every split as an input.

    ``facts`` are those of the bundle's manifest: encoder (name, sha256), corpus (name, digest), git_commit, versions.
    """
    run.params(flat(schema.plain(config)))
    run.tags(
        {
            "git_commit": facts["git_commit"] or "unknown",
            "corpus_digest": facts["corpus"]["digest"],
            "encoder": facts["encoder"]["name"],
            "encoder_sha256": facts["encoder"]["sha256"],
            "device": device,
        }
    )
    for split, context in CONTEXTS.items():
        name, source = f"{config.corpus.name}-{split}", str(Path(config.corpus.path) / f"{split}.jsonl")
        run.dataset(splits[split], name=name, source=source, context=context)


def results(
    run: tracking.Run,
    examples: Sequence[Example],
    probabilities: np.ndarray,
    *,
    scores: Mapping[str, float],
    bundle: Path | None = None,
) -> None:
    """Log what the training came to: scores, figures, the report and the bundle's model card.

    ``examples`` are those of the test split, ``probabilities`` of shape (n_sentences, n_labels) what the model gives
    them. ``scores`` hold every final number under its name in MLflow, those of the splits as ``test/…`` and
    ``final_validation/…``.
    """
    labels = corpus.label_ids(examples)
    run.metrics(scores)
    run.figures(
        {
            "confusion_matrix": figures.confusion_matrix(labels, probabilities),
            "precision_recall": figures.precision_recall(labels, probabilities),
            "reliability": figures.reliability_diagram(labels, probabilities),
        }
    )
    run.text(report(scores, labels, probabilities), "test_report.txt")


def report(scores: Mapping[str, float], labels: np.ndarray, probabilities: np.ndarray) -> str:
    """The scores of the test split, named ``test/…``, as a table for a terminal."""
    counts = evaluation.confusion(labels, probabilities.argmax(axis=1))
    return evaluation.table({key.removeprefix("test/"): value for key, value in scores.items()}, counts)


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Join nested keys with dots.

    >>> flat({"seed": 1, "encoder": {"name": "x"}})
    {'seed': 1, 'encoder.name': 'x'}
    """
    return dict(_leaves(tree, prefix))


def _leaves(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
