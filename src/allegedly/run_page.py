"""What a reviewer sees of a run: config, data and scores in; params, tags, inputs, metrics, figures in MLflow out."""

import os
import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from allegedly import config as schema
from allegedly import corpus, evaluation, figures, report, tracking
from allegedly.corpus import Example
from allegedly.labels import LABELS, STANCE, Task

CONTEXTS = {"train": "training", "validation": "validation", "test": "testing"}  # of a split, as MLflow names it


def begin(
    run: tracking.Run,
    config: schema.TrainConfig,
    splits: Mapping[str, Sequence[Example]],
    facts: Mapping[str, Any],
    *,
    device: str,
) -> None:
    """Log what is known before the training: description, params, tags, the splits, the config, the environment.

    ``facts`` are those of the bundle's manifest: encoder (name, sha256), corpus (name, digest), git_commit. A model
    without an encoder names what it has instead.
    """
    commit, dirty, _ = (facts["git_commit"] or "unknown").partition("-dirty")
    run.describe(_description(facts, splits, device))
    tags = {
        "git_commit": commit,
        "git_dirty": "unknown" if commit == "unknown" else str(bool(dirty)).lower(),
        "corpus_digest": facts["corpus"]["digest"],
        "encoder": facts["encoder"]["name"],
        "encoder_sha256": facts["encoder"]["sha256"],
        "device": device,
        "host_class": host_class(device),
    }
    if command := _command():
        tags["command"] = command
    run.tags({key: value for key, value in tags.items() if value})
    run.params(parameters(config))
    for split, examples in splits.items():
        name, source = f"{config.corpus.name}-{split}", str(Path(config.corpus.path) / f"{split}.jsonl")
        run.dataset(examples, name=name, source=source, context=CONTEXTS[split])
    run.text(OmegaConf.to_yaml(schema.plain(config)), "config.yaml")
    run.text(environment(), "environment.txt")


def results(
    run: tracking.Run,
    examples: Sequence[Example],
    probabilities: np.ndarray,
    *,
    scores: Mapping[str, float],
    bundle: Path | None = None,
    task: Task = STANCE,
) -> None:
    """Log what the training came to: scores, figures, every prediction, the report and the bundle's model card.

    ``examples`` are those of the test split, ``probabilities`` of shape (n_sentences, n_labels) what the model gives
    them. ``scores`` hold every final number under its name in MLflow; ``test/…`` and ``final_validation/…`` are linked
    to the dataset of their split, and all to the run's model, if `Run.model` has logged one.
    """
    labels = corpus.label_ids(examples, task.labels)
    for context, prefix in {"testing": "test/", "validation": "final_validation/"}.items():
        run.metrics({key: value for key, value in scores.items() if key.startswith(prefix)}, context=context)
    run.metrics({key: value for key, value in scores.items() if not key.startswith(("test/", "final_validation/"))})
    pictures = {
        "f1": figures.f1(
            {"this run": {key.removeprefix("test/"): value for key, value in scores.items()}}, task.labels
        ),
        "confusion_matrix": figures.confusion_matrix(labels, probabilities, task.labels),
        "precision_recall": figures.precision_recall(labels, probabilities, task.labels),
        "reliability": figures.reliability_diagram(labels, probabilities),
        "risk_coverage": figures.risk_coverage_curve(labels, probabilities),
    }
    loss, macro_f1 = run.history("train/loss"), run.history("validation/macro_f1")
    if loss and macro_f1:  # a model without steps has none
        pictures["learning_curve"] = figures.learning_curve(loss, macro_f1)
    run.figures(pictures)
    run.text(errors(examples, probabilities, task.labels), "errors.html")
    run.table(predictions(examples, probabilities, task.labels), "test_predictions.json")
    run.text(test_report(scores, labels, probabilities, task.labels), "test_report.txt")
    if bundle:
        run.text((bundle / "README.md").read_text(encoding="utf-8"), "model_card.md")
    where = "What went wrong: `errors.html`. What became of every sentence: `test_predictions.json`."
    if "learning_curve" in pictures:
        where += " How it learnt: `figures/learning_curve.png`."
    run.describe("\n\n".join([_verdict(scores, task.labels), run.description, where]))


def test_report(
    scores: Mapping[str, float], labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str]
) -> str:
    """The scores of the test split, named ``test/…``, as a table for a terminal."""
    counts = evaluation.confusion(labels, probabilities.argmax(axis=1), names)
    return evaluation.table({key.removeprefix("test/"): value for key, value in scores.items()}, counts, names)


def errors(examples: Sequence[Example], probabilities: np.ndarray, names: Sequence[str] = LABELS) -> str:
    """An HTML page of the sentences whose likeliest label is not their own, the surest first."""
    labels, predicted = corpus.label_ids(examples, names), probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    wrong = wrong[np.argsort(-probabilities[wrong, predicted[wrong]], kind="stable")]
    rows = [
        {
            "example": examples[i],
            "predicted": names[predicted[i]],
            "probability": probabilities[i, predicted[i]],
            "true_probability": probabilities[i, labels[i]],
        }
        for i in wrong
    ]
    pairs = Counter((row["example"].label, row["predicted"]) for row in rows).most_common()
    return report.template("errors.html").render(errors=rows, pairs=pairs, total=len(examples))


def predictions(
    examples: Sequence[Example], probabilities: np.ndarray, names: Sequence[str] = LABELS
) -> list[dict[str, Any]]:
    """A row an example, in order: text, predicted, label, probability of the predicted, p_ of every label, id, article.

    The UI compares two tables by their first two columns: what each run predicts for a text.
    """
    return [
        {
            "text": report.encodable(
                example.text if example.evidence is None else f"{example.text} | {example.evidence}"
            ),
            "predicted": names[row.argmax()],
            "label": example.label,
            "probability": report.rounded(row.max()),
            **{f"p_{label}": report.rounded(p) for label, p in zip(names, row, strict=True)},
            "id": report.encodable(example.id),
            "article": report.encodable(example.article),
        }
        for example, row in zip(examples, probabilities, strict=True)
    ]


def environment() -> str:
    """The interpreter and every installed package with its version, as a requirements file."""
    installed = {found.metadata["Name"]: found.version for found in metadata.distributions()}
    lines = [f"# Python {platform.python_version()}, {platform.system()} {platform.machine()}"]
    lines += [f"{name}=={installed[name]}" for name in sorted(installed, key=str.casefold)]
    return "\n".join(lines) + "\n"


def host_class(device: str) -> str:
    """What kind of machine this is, without its name: system, processor type, cores, memory, accelerators."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = psutil.virtual_memory().total / 2**30
    words = [f"{platform.system()} {platform.machine()}", f"{cores} cores", f"{memory:.0f} GiB"]
    if device.startswith("cuda"):
        import torch  # not needed by a model that trains without it

        words.append(f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}")
    return ", ".join(words)


def parameters(config: schema.TrainConfig) -> dict[str, Any]:
    """What of the config takes effect, with flat keys: a setting that a yardstick does not read explains nothing.

    The whole config, read or not, is the run's ``config.yaml``.
    """
    kind, settings = config.model.kind, flat(schema.plain(config))
    if kind is schema.ModelKind.transformer:
        del settings["model.C"]
        return settings
    read = {"task", "model.kind", "corpus.name", "corpus.path", "trainer.max_train_sentences"}
    read |= {f"tracking.{key}" for key in ("enabled", "uri", "experiment", "run_name", "timeout")}
    if config.trainer.easy_first is not None:
        read |= {"seed", "trainer.easy_first"}
    if config.trainer.max_train_sentences is not None:
        read |= {"seed", "trainer.hard_share"}
        read |= {"corpus.teacher"} if config.trainer.hard_share else set()
    if kind is not schema.ModelKind.majority:
        read |= {"model.C", "trainer.class_weights"}
    if kind not in schema.WITHOUT_ENCODER:
        read |= {"trainer.device", "trainer.per_device_eval_batch_size"}
        read |= {key for key in settings if key.startswith("encoder.")}
    if isinstance(config, schema.CrossValidateConfig):
        read |= {"seed", "folds"}
    return {key: value for key, value in settings.items() if key in read}


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


def _description(facts: Mapping[str, Any], splits: Mapping[str, Sequence[Example]], device: str) -> str:
    sizes = ", ".join(f"{len(examples):,} {split}" for split, examples in splits.items())
    command = _command()
    return (
        f"**{facts['encoder']['name']}** on the corpus `{facts['corpus']['name']}` ({sizes} sentences), on {device}."
        + (f"\n\n`{command}`" if command else "")
    )


def _verdict(scores: Mapping[str, float], names: Sequence[str]) -> str:
    """The scores of the test split, named ``test/…``, in two sentences: what a reviewer looks for first."""
    macro, low, high = (scores[f"test/macro_f1{end}"] for end in ("", "_low", "_high"))
    by_label = ", ".join(f"{label} {scores[f'test/f1_{label}']:.3f}" for label in names)
    return f"Test macro-F1 **{macro:.3f}** (95 % interval {low:.3f} to {high:.3f}). F1: {by_label}."


def _command() -> str | None:
    """The command line that started this, if Hydra did."""
    if not HydraConfig.initialized():
        return None
    hydra = HydraConfig.get()
    return " ".join(["python -m", hydra.job.name, *hydra.overrides.task])
