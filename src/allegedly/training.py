"""A TrainConfig in; out come a bundle, an MLflow run and the scores of the reloaded bundle.

corpus -> encoder -> Hugging Face Trainer -> temperature -> ONNX -> bundle -> reload -> test scores -> MLflow
"""

import contextlib
import dataclasses
import logging
import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from datasets import Dataset, Features, Value
from tokenizers import Encoding
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    EarlyStoppingCallback,
    TrainerCallback,
    TrainingArguments,
)

from allegedly import (
    backends,
    behaviour,
    bundle,
    calibration,
    checkpoints,
    corpus,
    drift,
    encoders,
    encoding,
    evaluation,
    export,
    first_token,
    frozen_layers,
    model_card,
    objective,
    optimization,
    registry,
    run_page,
    scope,
    tracking,
)
from allegedly import config as schema
from allegedly.classifier import Classifier
from allegedly.config import Precision, TrainConfig, TrainerConfig, check, plain
from allegedly.corpus import Example
from allegedly.errors import InputError
from allegedly.labels import STANCE, Task

log = logging.getLogger(__name__)
LABEL_SET_COVERAGE = 0.95
EASY = "close"  # the kind of pairs that a training may begin with: see allegedly.claims
DTYPES = {Precision.fp32: torch.float32, Precision.bf16: torch.bfloat16, Precision.fp16: torch.float16}
PARITY_SENTENCES = 600  # on so many a share of 99 % is known to half a per cent
PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "accelerate", "onnx", "openvino", "mlflow", "numpy")


def train(config: TrainConfig) -> dict[str, float]:
    """Train, write the bundle ``config.output`` and return its scores, named ``final_validation/…`` and ``test/…``.

    Started by ``torchrun`` it trains on several devices; the first process does all but the
    training alone, and the others return no scores. With ``trainer.resume`` a killed training goes on and ends as it
    would have. Raises InputError for a config that cannot work, a faulty corpus, an encoder that is not there, another
    training for the same output, one to be resumed that differs.
    """
    check(config)
    bundle.refuse_foreign(Path(config.output))
    task = schema.task(config)
    splits = corpus.read(config.corpus.path, task=task)
    corpus_digest = corpus.digest(splits)  # of all of it: how much is trained on, the config says
    cases = behaviour.read(config.corpus.behaviour) if config.corpus.behaviour else []
    teacher = read_teacher(config)
    splits["train"] = draw(config, splits["train"], teacher)
    encoder, encoder_sha256 = encoders.locate(config.encoder)
    device = find_device(config.trainer.device)
    if _process() > 0:
        log.setLevel(logging.WARNING)
        silent = tracking.Run(dataclasses.replace(config.tracking, enabled=False))
        with tempfile.TemporaryDirectory() as folder:
            fit(
                config, splits["train"], splits["validation"],
                encoder=encoder, folder=Path(folder), run=silent, teacher=teacher,
                resumable=checkpoints.beside(config.output),
            )  # fmt: skip
        return {}
    facts = circumstances(config, splits, corpus_digest=corpus_digest, encoder_sha256=encoder_sha256)
    identity = run_page.flat(plain(config) | {"versions": facts["versions"]}) | {
        "corpus_digest": corpus_digest,
        "encoder_sha256": encoder_sha256,
        "teacher_sha256": bundle.digest(Path(config.corpus.teacher)) if teacher is not None else None,
        "device": device,
        "precision": _precision(config.trainer.precision, device).value,
        "processes": _processes(),
    }
    with (
        checkpoints.unfinished(config.output, identity, resume=config.trainer.resume) as unfinished,
        tracking.start(config.tracking, run_id=unfinished.run_id) as run,
    ):
        run_page.begin(run, config, splits, facts, device=device)
        unfinished.told_to(run.run_id)
        started = time.perf_counter() - checkpoints.seconds(unfinished.folder)
        with bundle.replacing(config.output) as folder:
            model = fit(
                config, splits["train"], splits["validation"],
                encoder=encoder, folder=folder, run=run, teacher=teacher, resumable=unfinished.folder,
            )  # fmt: skip
            del model  # from here on only what was saved counts
            facts |= {"train_seconds": round(time.perf_counter() - started, 1)}
            facts |= finish(config, folder, splits["validation"], facts)
            # What is measured is what ships: the scores come from the sealed folder, loaded as predict loads it.
            scores, probabilities = evaluate(folder, splits["test"], task=task)
            scores |= {f"final_validation/{key}": value for key, value in facts["validation"].items()}
            bundle.seal(folder, facts | {"scores": scores})
        test_report = run_page.test_report(
            scores, corpus.label_ids(splits["test"], task.labels), probabilities, task.labels
        )
        log.info("\nTest split, scored with the reloaded bundle:\n\n%s\n", test_report)

        run.model(Path(config.output), task)
        costs = {"calibration/temperature": facts["temperature"], "train_seconds": facts["train_seconds"]}
        costs |= {f"onnx/{key}": value for key, value in facts["onnx"].items()}
        if cases:
            outcomes = behaviour.check(cases, partial(_labels, Classifier.load(config.output, device="cpu")))
            costs |= {f"behaviour/{test.replace(' ', '_')}": rate for test, rate in behaviour.rates(outcomes).items()}
            run.text(behaviour.table(outcomes), "behaviour.txt")
            log.info("behaviour: %s", ", ".join(f"{test} {r:.1%}" for test, r in behaviour.rates(outcomes).items()))
        run_page.results(
            run, splits["test"], probabilities, scores=scores | costs, bundle=Path(config.output), task=task
        )
        registry.register(
            run,
            scores,
            test_digest=corpus.test_digest(splits["test"], task.labels),
            score=lambda folder: evaluate(folder, splits["test"], task=task)[0],
            task=task,
        )
    low, high = scores["test/macro_f1_low"], scores["test/macro_f1_high"]
    log.info("macro-F1 on the test split: %.3f (95 %% interval %.3f to %.3f)", scores["test/macro_f1"], low, high)
    log.info("bundle: %s", config.output)
    if run.active and run.run_id:
        log.info("MLflow: run %s%s", run.run_id, f"; {run.model_version}" if run.model_version else "")
    return scores


def read_teacher(config: TrainConfig) -> dict[str, np.ndarray] | None:
    """The teacher's probabilities by sentence id, if the training asks for any."""
    if not (config.trainer.distillation or config.trainer.hard_share):
        return None
    return corpus.read_teacher(config.corpus.teacher)


def draw(
    config: TrainConfig, examples: Sequence[Example], teacher: Mapping[str, np.ndarray] | None = None
) -> list[Example]:
    """Those of the examples that the config says to train on: `TrainerConfig` tells of easy_first and hard_share.

    Raises InputError if a label is left without any.
    """
    settings = config.trainer
    most = settings.max_train_sentences
    easy: list[Example] = []
    if settings.easy_first is not None:
        easy = corpus.select([e for e in examples if e.kind == EASY], settings.easy_first, seed=config.seed)
        examples = [e for e in examples if e.kind != EASY]
        most = None if most is None else max(most - len(easy), 0)
    drawn = easy + corpus.select(examples, most, seed=config.seed, hard_share=settings.hard_share, teacher=teacher)
    missing = set(schema.task(config).labels) - {example.label for example in drawn}
    if missing:
        raise InputError(f"trainer.max_train_sentences: leaves none labelled {', '.join(sorted(missing))}; take more")
    return drawn


def easy_before_hard(examples: Sequence[Example], *, batch_size: int, seed: int) -> list[Example]:
    """Shuffled examples, those of the kind EASY before all others; like lengths share a batch.

    A curriculum (Bengio et al. 2009, "Curriculum Learning", section 3): to compare two texts is learnt on pairs that
    differ by a few words; from harder pairs alone, mixed, it is not learnt in as many steps.
    """
    rng = np.random.default_rng(seed)
    ordered: list[Example] = []
    for part in ([e for e in examples if e.kind == EASY], [e for e in examples if e.kind != EASY]):
        part = [part[i] for i in rng.permutation(len(part))]
        for first in range(0, len(part), 50 * batch_size):
            chunk = sorted(part[first : first + 50 * batch_size], key=lambda e: len(e.text) + len(e.evidence or ""))
            batches = [chunk[i : i + batch_size] for i in range(0, len(chunk), batch_size)]
            for i in rng.permutation(len(batches)):
                ordered += batches[i]
    return ordered


def circumstances(
    config: TrainConfig, splits: Mapping[str, Sequence[Example]], *, corpus_digest: str, encoder_sha256: str
) -> dict[str, Any]:
    """What a manifest and a run tell of a training before it begins: on what, with what, when, at which commit."""
    return {
        "encoder": {"name": config.encoder.name, "sha256": encoder_sha256},
        "corpus": {
            "name": config.corpus.name,
            "digest": corpus_digest,
            "sentences": {split: len(examples) for split, examples in splits.items()},
        },
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_commit": tracking.git_commit(),
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}},
        "config": tracking.neutral(plain(config)),
    }


def fit(
    config: TrainConfig,
    train_examples: Sequence[Example],
    validation_examples: Sequence[Example],
    *,
    encoder: Path,
    folder: Path,
    run: tracking.Run,
    teacher: Mapping[str, np.ndarray] | None = None,
    after_epoch: Callable[[dict[str, float]], None] | None = None,
    resumable: Path | None = None,
) -> torch.nn.Module:
    """Fine-tune the encoder and save its best epoch by validation macro-F1, and the tokenizer, into ``folder``.

    Without early stopping the last epoch is saved. ``teacher`` gives the probabilities, of shape (n_labels,), that a
    teacher holds for a sentence's id. ``after_epoch`` is given the validation scores, named as in MLflow, after every
    epoch; what it raises ends the training. ``resumable`` is the folder for checkpoints, from the newest of which
    ``trainer.resume`` goes on; None keeps them only while it trains. Raises InputError for a sentence that the teacher
    lacks, a device that is not there, layers that cannot be frozen, a checkpoint that cannot be read.
    """
    transformers.logging.set_verbosity_error()  # else it warns that the classification head is new
    transformers.logging.disable_progress_bar()  # of loading weights; the Trainer's own bar stays
    transformers.set_seed(config.seed)
    settings = config.trainer
    validation_examples = corpus.select(validation_examples, settings.max_eval_sentences, seed=config.seed)
    tokenizer = AutoTokenizer.from_pretrained(encoder, local_files_only=True, trust_remote_code=False)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]  # all that the model is taught to read
    names = schema.task(config).labels
    if settings.easy_first is not None:
        size = settings.per_device_train_batch_size
        train_examples = easy_before_hard(train_examples, batch_size=size, seed=config.seed)
    model = _model(encoder, names)
    # The same function encodes here and in predict, so that a sentence never meets two treatments.
    tokenizer.save_pretrained(folder)
    fast = encoding.load_tokenizer(folder / "tokenizer.json", max_length=config.encoder.max_length)
    encodings = encoding.encode(fast, [example.input for example in (*train_examples, *validation_examples)])
    labels = corpus.label_ids(train_examples, names)
    targets = objective.targets(
        labels,
        len(names),
        label_smoothing=settings.label_smoothing,
        teacher=None if teacher is None else corpus.soft_labels(train_examples, teacher),
        distillation=settings.distillation,
    )
    validation_labels = corpus.label_ids(validation_examples, names)
    rows = _dataset(encodings, np.concatenate([targets, objective.targets(validation_labels, len(names))]))
    device = find_device(settings.device)
    precision = _precision(settings.precision, device)
    frozen, hidden = 0, None
    if settings.trained_layers is not None:
        frozen = frozen_layers.freeze(model, settings.trained_layers)
        log.info("running the %d frozen layers once over %d sentences", frozen, len(encodings))
        own = device if device == "cpu" else f"{device}:{int(os.environ.get('LOCAL_RANK', 0))}"
        hidden = frozen_layers.outputs(model, encodings, frozen=frozen, device=own, dtype=DTYPES[precision])
    with (
        contextlib.nullcontext(resumable)
        if resumable
        else tempfile.TemporaryDirectory(prefix=".checkpoints-", dir=folder.parent) as checkpoint_folder,
        frozen_layers.cut_off(model, frozen) if hidden else contextlib.nullcontext(),
        first_token.only(model),
    ):
        callbacks: list[TrainerCallback] = [_Report(run, after_epoch)]
        if settings.early_stopping_patience:
            callbacks.append(EarlyStoppingCallback(early_stopping_patience=settings.early_stopping_patience))
        trainer = _Trainer(
            settings=settings,
            weights=objective.class_weights(labels, len(names), settings.class_weights),
            model=model,
            args=_arguments(config, str(checkpoint_folder), len(labels), device=device, precision=precision),
            train_dataset=rows.select(range(len(labels))),
            eval_dataset=rows.select(range(len(labels), len(rows))),
            data_collator=partial(_collate, pad_id=int(model.config.pad_token_id or 0), hidden=hidden),
            compute_metrics=partial(_epoch_scores, names=names),
            callbacks=callbacks,
        )
        for printing in (transformers.PrinterCallback, transformers.ProgressCallback):  # bare dicts of numbers
            trainer.remove_callback(printing)
        if settings.progress_bar:
            trainer.add_callback(_Bar)
        log.info("training %s on %d sentences on %s in %s", config.encoder.name, len(labels), device, precision.value)
        trainer.train(checkpoints.latest(resumable) if resumable and settings.resume else None)
    model.save_pretrained(folder)  # whole again
    return model


def _arguments(
    config: TrainConfig, checkpoint_folder: str, sentences: int, *, device: str, precision: Precision
) -> TrainingArguments:
    settings = config.trainer
    sentences_a_step = settings.per_device_train_batch_size * settings.gradient_accumulation_steps * _processes()
    steps_an_epoch = -(-sentences // sentences_a_step)
    total_steps = settings.max_steps if settings.max_steps > 0 else int(steps_an_epoch * settings.num_train_epochs)
    sampling = "group_by_length" if settings.group_by_length else "random"
    if settings.easy_first is not None:
        sampling = "sequential"  # they stand in the order of `easy_before_hard`
    every: dict[str, Any] = {"eval_strategy": "epoch", "save_strategy": "epoch"}
    if total_steps < steps_an_epoch:  # a smoke test ends within its first epoch; it is still validated once
        every = {
            "eval_strategy": "steps",
            "save_strategy": "steps",
            "eval_steps": total_steps,
            "save_steps": total_steps,
        }
    return TrainingArguments(
        output_dir=checkpoint_folder,
        seed=config.seed,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        warmup_steps=int(settings.warmup_ratio * total_steps),
        num_train_epochs=settings.num_train_epochs,
        max_steps=settings.max_steps,
        per_device_train_batch_size=settings.per_device_train_batch_size,
        per_device_eval_batch_size=settings.per_device_eval_batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        train_sampling_strategy=sampling,
        remove_unused_columns=False,  # the collator takes what it needs
        bf16=precision is Precision.bf16,
        fp16=precision is Precision.fp16,
        use_cpu=device == "cpu",
        ddp_backend="gloo" if device == "cpu" and _processes() > 1 else None,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=device.startswith("cuda"),
        load_best_model_at_end=settings.early_stopping_patience > 0,
        metric_for_best_model="macro_f1",
        greater_is_better=True,
        restore_callback_states_from_checkpoint=True,
        logging_steps=settings.logging_steps,
        logging_first_step=True,
        report_to="none",  # our own callback reports; MLflow's would stop a training when the server fails
        disable_tqdm=not settings.progress_bar,
        **every,
    )


def finish(config: TrainConfig, folder: Path, examples: Sequence[Example], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Complete a folder with saved weights to a sealed bundle: ONNX model, temperature, model card, manifest.

    The temperature and the threshold of label sets are fitted on the ONNX model's logits of the `corpus.borderline`
    sentences of the validation split.
    The ONNX model has eight-bit weights if ``config.eight_bit_weights`` and their labels are those of torch on
    `export.AGREEMENT` of PARITY_SENTENCES spread over the split. Returns what was found: labels, temperature,
    temperature_sentences, label_sets, profile (of stances), max_length, onnx (parity with torch on those
    sentences; eight_bit), validation (scores).
    Raises RuntimeError if ONNX with full weights and torch disagree.
    """
    tokenizer = encoding.load_tokenizer(folder / "tokenizer.json", max_length=config.encoder.max_length)
    names = schema.task(config).labels
    found: dict[str, Any] = {"labels": list(names), "max_length": config.encoder.max_length}

    def logits(backend: backends.Backend, examples: Sequence[Example]) -> np.ndarray:
        classifier = Classifier(tokenizer, backend, 1.0, found)
        return classifier.logits([example.input for example in examples])

    some = examples[:: max(1, len(examples) // PARITY_SENTENCES)]
    torch_logits = logits(backends.torch_backend(folder, device="cpu"), some)
    export.export(folder)
    parity = export.parity(torch_logits, logits(backends.cpu_backend(folder), some))
    if parity["max_difference"] > export.TOLERANCE:
        raise RuntimeError(f"the ONNX model differs from torch by {parity['max_difference']:.2g}; nothing was replaced")
    eight_bit = config.eight_bit_weights
    if eight_bit:
        export.quantize(folder)
        eight = export.parity(torch_logits, logits(backends.cpu_backend(folder), some))
        if eight["label_agreement"] < export.AGREEMENT:
            eight_bit = False
            log.warning(
                "eight-bit weights change %.1f %% of the labels: the CPU model keeps full ones",
                100 * (1 - eight["label_agreement"]),
            )
            export.export(folder)
        else:
            parity = eight
    onnx_logits = logits(backends.cpu_backend(folder), examples)
    labels = corpus.label_ids(examples, names)
    borderline = corpus.borderline(examples)
    temperature = calibration.fit(onnx_logits[borderline], labels[borderline])
    probabilities = calibration.apply(onnx_logits, temperature)
    found |= {
        "temperature": temperature,
        "temperature_sentences": int(borderline.sum()),
        "label_sets": {
            "coverage": LABEL_SET_COVERAGE,
            "threshold": calibration.fit_label_sets(
                probabilities[borderline], labels[borderline], coverage=LABEL_SET_COVERAGE
            ),
            "sentences": int(borderline.sum()),
        },
        "onnx": parity | {"eight_bit": eight_bit},
        "validation": evaluation.score(labels, probabilities, names),
    }
    if schema.task(config) is STANCE:
        found["profile"] = profile(examples, probabilities)
    (folder / "README.md").write_text(model_card.render({**facts, **found}, schema.task(config)), encoding="utf-8")
    bundle.seal(folder, {**facts, **found})
    return found


def evaluate(folder: Path, examples: Sequence[Example], *, task: Task = STANCE) -> tuple[dict[str, float], np.ndarray]:
    """Score a bundle, loaded from disk, on labelled examples.

    Returns (scores named ``test/…``, probabilities of shape (n_sentences, n_labels)).
    """
    classifier = Classifier.load(folder, device="cpu", task=task)
    logits = classifier.logits([example.input for example in examples])
    probabilities = calibration.apply(logits, classifier.temperature)
    labels = corpus.label_ids(examples, task.labels)
    scores = evaluation.score_with_intervals(labels, probabilities, task.labels)
    if "label_sets" in classifier.manifest:  # a champion may be older than they are
        sets = calibration.label_sets(probabilities, classifier.label_set_threshold)
        scores["label_set_coverage"] = float(sets[np.arange(len(labels)), labels].mean())
        scores["label_set_size"] = float(sets.sum(axis=1).mean())
    return {f"test/{key}": value for key, value in scores.items()}, probabilities


def _labels(classifier: Classifier, texts: list[str]) -> list[str]:
    return [prediction.label for prediction in classifier.predict(texts)]


def profile(examples: Sequence[Example], probabilities: np.ndarray) -> dict[str, Any]:
    """What the sentences of whole articles among the examples are like, for `drift`; of all, if none are of that kind.

    ``probabilities`` have the shape (n_sentences, n_labels).
    """
    tally = drift.Tally()
    whole = any(example.kind == "article" for example in examples)
    for example, row in zip(examples, probabilities.tolist(), strict=True):
        if example.kind == "article" or not whole:
            tally.add(example.text, dict(zip(STANCE.labels, row, strict=True)), scope.reason(example.text))
    return tally.profile


class _Report(TrainerCallback):
    """Hands the Trainer's numbers to the MLflow run, and says one line an epoch."""

    def __init__(self, run: tracking.Run, after_epoch: Callable[[dict[str, float]], None] | None):
        self.run = run
        self.after_epoch = after_epoch

    def on_log(self, args, state, control, logs=None, **kwargs):
        names = {"loss": "train/loss", "learning_rate": "train/learning_rate", "grad_norm": "train/grad_norm"}
        numbers = {names[key]: value for key, value in (logs or {}).items() if key in names}
        if numbers:
            self.run.metrics(numbers, step=state.global_step)

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        if not state.is_world_process_zero:
            return
        numbers = {
            key.replace("eval_", "validation/", 1): value
            for key, value in (metrics or {}).items()
            if key.startswith("eval_") and not key.endswith(("_runtime", "_per_second"))
        }
        self.run.metrics(numbers | {"epoch": state.epoch or 0.0}, step=state.global_step)
        log.info("epoch %.1f: validation macro-F1 %.3f", state.epoch or 0.0, numbers["validation/macro_f1"])
        if self.after_epoch:
            self.after_epoch(numbers)


class _Bar(transformers.ProgressCallback):
    """The Trainer's progress bar without its dicts of numbers, which `_Report` tells."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        pass


def _epoch_scores(prediction: transformers.EvalPrediction, *, names: Sequence[str]) -> dict[str, float]:
    labels = prediction.label_ids.argmax(axis=1)  # one-hot targets
    return evaluation.score(labels, calibration.apply(prediction.predictions, 1.0), names)


class _Trainer(checkpoints.ResumableTrainer):
    """A Trainer with our loss, one learning rate a layer, and what asks for a second pass over a batch."""

    def __init__(self, *, settings: TrainerConfig, weights: np.ndarray, **arguments: Any):
        super().__init__(save_minutes=settings.save_minutes, **arguments)
        self.settings = settings
        self.weights = torch.as_tensor(weights, dtype=torch.float32, device=self.args.device)
        self.model_accepts_loss_kwargs = True  # the loss is divided by the sentences of all accumulated batches

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            groups = optimization.parameter_groups(
                model or self.model,
                learning_rate=self.settings.learning_rate,
                layer_decay=self.settings.layer_decay,
                weight_decay=self.settings.weight_decay,
            )
            self.optimizer = torch.optim.AdamW(groups, lr=self.settings.learning_rate, fused=True)
        return self.optimizer

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        targets = inputs["labels"]
        inputs = {name: value for name, value in inputs.items() if name != "labels"}
        twice = model.training and self.settings.r_drop > 0
        if twice:
            inputs = {name: torch.cat([value, value]) for name, value in inputs.items()}
        outputs = model(**inputs)
        logits = outputs.logits
        if twice:
            first, second = logits.chunk(2)
            loss = (objective.loss(first, targets, self.weights) + objective.loss(second, targets, self.weights)) / 2
            loss = loss + self.settings.r_drop * objective.disagreement(first, second)
        else:
            loss = objective.loss(logits, targets, self.weights)
        # The Trainer counts the numbers in `labels`: n_labels for each sentence of all accumulated batches.
        if num_items_in_batch is None:
            loss = loss / len(targets)
        else:  # ... and of all processes, whose gradients are averaged, not summed
            loss = loss / (num_items_in_batch / targets.shape[1]) * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def training_step(self, model, inputs, num_items_in_batch=None):
        loss = super().training_step(model, inputs, num_items_in_batch)
        if self.settings.weight_perturbation:
            with optimization.perturbed(model, self.settings.weight_perturbation):
                super().training_step(model, inputs, num_items_in_batch)
        return loss


def _model(encoder: Path, names: Sequence[str]) -> torch.nn.Module:
    return AutoModelForSequenceClassification.from_pretrained(
        encoder,
        num_labels=len(names),
        id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
        dtype=torch.float32,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
    )


def _dataset(encodings: Sequence[Encoding], targets: np.ndarray) -> Dataset:
    features = Features(
        {
            "position": Value("int32"),
            "input_ids": [Value("int32")],
            "length": Value("int32"),
            "labels": [Value("float32")],
        }
    )
    columns = {
        "position": range(len(encodings)),
        "input_ids": [encoding.ids for encoding in encodings],
        "length": [len(encoding.ids) for encoding in encodings],
        "labels": targets,
    }
    return Dataset.from_dict(columns, features=features)


def _collate(
    rows: Sequence[Mapping[str, Any]], *, pad_id: int, hidden: Sequence[np.ndarray] | None = None
) -> dict[str, torch.Tensor]:
    """Pad a batch to its longest sentence; with ``hidden``, the output of frozen layers stands for the token ids."""

    def pad(tensors: list[torch.Tensor], value: float = 0) -> torch.Tensor:
        return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)

    if hidden is None:
        inputs = {"input_ids": pad([torch.tensor(row["input_ids"]) for row in rows], pad_id)}
    else:
        inputs = {"inputs_embeds": pad([torch.from_numpy(hidden[row["position"]]).float() for row in rows])}
    mask = pad([torch.ones(row["length"], dtype=torch.long) for row in rows])
    return inputs | {"attention_mask": mask, "labels": torch.tensor([row["labels"] for row in rows])}


def _process() -> int:
    """Which of the processes of a distributed training this is, as torchrun says."""
    return int(os.environ.get("RANK", 0)) if _processes() > 1 else 0


def _processes() -> int:
    return int(os.environ.get("WORLD_SIZE", 1))


def find_device(device: str) -> str:
    """The kind of device that ``trainer.device`` means here; raises InputError for one that is not there."""
    found = torch.accelerator.current_accelerator(check_available=True)
    if device == "auto":
        return found.type if found else "cpu"
    if device != "cpu" and (found is None or found.type != device):
        here = found.type if found else "none"
        raise InputError(f"trainer.device: {device!r} is not available (accelerator here: {here}); use auto or cpu")
    return device


def _precision(precision: Precision, device: str) -> Precision:
    if precision is not Precision.auto:
        return precision
    if device.startswith("cuda"):
        return Precision.bf16 if torch.cuda.is_bf16_supported() else Precision.fp16
    if device == "xpu" or (device == "cpu" and torch.cpu._is_avx512_bf16_supported()):
        return Precision.bf16
    return Precision.fp32
