"""The yardsticks learn what they can learn, are scored and logged as the transformer is, and leave no model."""

import os
from dataclasses import is_dataclass, replace

import mlflow
import numpy as np
import pytest
from conftest import ROOT, SENTENCES, run, tiny_config, write_corpus

from allegedly import baselines, corpus, encoders, run_page
from allegedly.config import WITHOUT_ENCODER, ClassWeights, EncoderConfig, ModelConfig, ModelKind, TaskName
from allegedly.errors import InputError
from allegedly.labels import LABELS, VERDICTS

YARDSTICKS = [ModelKind.majority, ModelKind.tfidf, ModelKind.embeddings]


def yardstick_config(kind, encoder, folder, workplace, **trainer):
    config = tiny_config(encoder, folder, workplace, **trainer)
    config.model = ModelConfig(kind=kind, C=100.0)
    if kind in WITHOUT_ENCODER:
        config.encoder = EncoderConfig(name="none")
    config.tracking.run_name = kind.value
    return config


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """A corpus in which every word of a sentence occurs twice: a word that occurs once is no feature."""
    return write_corpus(tmp_path_factory.mktemp("corpus") / "copies", copies=2)


@pytest.fixture(scope="module")
def compared(trained, tiny_encoder, copies, tmp_path_factory):
    """The runs of one store by name: the transformer's, and after it those of all yardsticks."""
    workplace = tmp_path_factory.mktemp("compared")
    here = os.getcwd()
    os.chdir(workplace)
    try:
        for kind in YARDSTICKS:
            config = yardstick_config(kind, tiny_encoder, copies, workplace)
            config.tracking.uri = trained[0].tracking.uri
            config.tracking.experiment = "yardsticks"
            baselines.train(config)
    finally:
        os.chdir(here)
    found = mlflow.search_runs(experiment_names=["stance", "yardsticks"], output_format="list")
    return {run.info.run_name: run for run in found}, workplace


@pytest.mark.parametrize("kind", [kind.value for kind in YARDSTICKS])
def test_a_yardstick_has_the_metrics_and_tags_of_the_transformer(kind, compared):
    runs, _ = compared
    transformer, yardstick = runs["tiny"], runs[kind]
    scores = {key for key in transformer.data.metrics if key.startswith(("test/", "final_validation/"))}
    scores -= {"test/label_set_coverage", "test/label_set_size"}  # sets belong to a bundle
    assert scores == {key for key in yardstick.data.metrics if key.startswith(("test/", "final_validation/"))}
    assert {"calibration/temperature", "train_seconds"} <= yardstick.data.metrics.keys()
    assert {"git_commit", "corpus_digest", "encoder", "device"} <= yardstick.data.tags.keys()
    assert yardstick.data.tags["encoder"] == ("tiny" if kind == "embeddings" else kind)
    assert yardstick.data.params["model.kind"] == kind
    assert transformer.data.params["model.kind"] == "transformer"
    contexts = {item.tags[0].value for item in yardstick.inputs.dataset_inputs}
    assert contexts == {"training", "validation", "testing"}


@pytest.mark.parametrize("kind", [kind.value for kind in YARDSTICKS])
def test_a_yardstick_has_the_figures_of_the_transformer_and_no_model(kind, compared):
    runs, workplace = compared

    def files(run, folder):
        found = mlflow.MlflowClient().list_artifacts(run.info.run_id, folder)
        return {file.path for file in found}

    learnt = {"figures/learning_curve.png"}  # over the steps of a training, which a yardstick has not
    assert files(runs[kind], "figures") == files(runs["tiny"], "figures") - learnt != set()
    assert files(runs[kind], None) >= {"errors.html", "test_report.txt", "config.yaml", "environment.txt"}
    assert runs["tiny"].outputs.model_outputs
    assert not runs[kind].outputs.model_outputs
    assert not (workplace / "models").exists()
    assert not list(workplace.rglob("*.pkl"))


TRACKING = {f"tracking.{key}" for key in ("enabled", "uri", "experiment", "run_name", "timeout")}
ALWAYS = {"task", "model.kind", "corpus.name", "corpus.path", "trainer.max_train_sentences"} | TRACKING
REGRESSION = {"model.C", "trainer.class_weights"}
ENCODER = {f"encoder.{key}" for key in ("name", "packages", "path", "revision", "sha256", "max_length")}
ENCODER |= {"trainer.device", "trainer.per_device_eval_batch_size"}


@pytest.mark.parametrize(
    ("kind", "read"),
    [("majority", ALWAYS), ("tfidf", ALWAYS | REGRESSION), ("embeddings", ALWAYS | REGRESSION | ENCODER)],
)
def test_a_yardstick_has_no_params_but_those_that_took_effect(kind, read, compared):
    runs, _ = compared
    assert runs[kind].data.params.keys() == read
    assert runs["tiny"].data.params.keys() > read - REGRESSION  # the compare view sets like beside like


class Read:
    """A config that writes down which of its keys are read."""

    def __init__(self, part, keys: set[str], prefix: str = ""):
        self.part, self.keys, self.prefix = part, keys, prefix

    def __getattr__(self, key):
        value = getattr(self.part, key)
        if is_dataclass(value):
            return Read(value, self.keys, f"{self.prefix}{key}.")
        self.keys.add(self.prefix + key)
        return value


@pytest.mark.parametrize("kind", [kind for kind in ModelKind if kind is not ModelKind.transformer])
def test_a_setting_is_a_param_if_the_fit_reads_it(kind, tiny_encoder, copies, tmp_path):
    config = yardstick_config(kind, tiny_encoder, copies, tmp_path)
    examples = corpus.read(copies)["train"]
    if kind in (ModelKind.overlap, ModelKind.similarity):
        config.task, verdicts = TaskName.verification, dict(zip(LABELS, [*VERDICTS, VERDICTS[-1]], strict=True))
        examples = [replace(e, evidence="Nobody denied it", label=verdicts[e.label]) for e in examples]
    found: set[str] = set()
    spy = Read(config, found)
    encoder, _ = baselines.locate(spy)
    baselines.fit(spy, examples, encoder=encoder)
    logged = {key for key in run_page.parameters(config) if key.startswith(("model.", "trainer."))}
    assert {key for key in found if key.startswith(("model.", "trainer."))} == logged - {"trainer.max_train_sentences"}
    assert found <= run_page.parameters(config).keys()


def test_what_draws_sentences_is_a_param_only_of_a_run_that_draws(tiny_encoder, copies, tmp_path):
    config = yardstick_config(ModelKind.tfidf, tiny_encoder, copies, tmp_path)
    assert not {"seed", "trainer.hard_share", "corpus.teacher"} & run_page.parameters(config).keys()
    config.trainer.max_train_sentences = 8
    assert {"seed", "trainer.hard_share"} <= run_page.parameters(config).keys()
    assert "corpus.teacher" not in run_page.parameters(config)
    config.trainer.hard_share = 0.5
    assert "corpus.teacher" in run_page.parameters(config)


def test_no_yardstick_is_registered(compared):
    runs, _ = compared
    registered = {version.run_id for version in mlflow.MlflowClient().search_model_versions()}
    assert not registered & {runs[kind.value].info.run_id for kind in YARDSTICKS}


def test_the_majority_gives_the_shares_of_the_labels_whatever_the_text(tiny_encoder, copies, tmp_path):
    config = yardstick_config(ModelKind.majority, tiny_encoder, copies, tmp_path)
    examples = corpus.read(copies)["train"]
    examples = [e for e in examples if e.label == "background"] + examples
    logits = baselines.fit(config, examples, encoder=None)(["anything", "The mayor denied it."])
    assert [LABELS[i] for i in logits.argmax(axis=1)] == ["background", "background"]
    np.testing.assert_allclose(np.exp(logits), [[0.2, 0.2, 0.2, 0.4]] * 2)


@pytest.mark.parametrize("kind", [ModelKind.tfidf, ModelKind.embeddings])
def test_a_yardstick_learns_the_sentences_that_it_is_shown(kind, tiny_encoder, copies, tmp_path):
    config = yardstick_config(kind, tiny_encoder, copies, tmp_path)
    config.model.C = 1e4
    encoder, _ = baselines.locate(config)
    yardstick = baselines.fit(config, corpus.read(copies)["train"], encoder=encoder)
    texts = [(text, label) for label, texts in SENTENCES.items() for text in texts]
    logits = yardstick([text for text, _ in texts])
    assert logits.shape == (16, 4)
    assert [LABELS[i] for i in logits.argmax(axis=1)] == [label for _, label in texts]


def test_an_embedding_is_the_mean_over_the_tokens_whatever_the_batch(tiny_encoder, copies, tmp_path):
    import torch
    from transformers import AutoModel, AutoTokenizer

    config = yardstick_config(ModelKind.embeddings, tiny_encoder, copies, tmp_path)
    embed = baselines._embedder(config, encoders.locate(config.encoder)[0])
    texts = ["Rain is expected in the north", "The mayor denied taking the money", "Rain"]
    model, tokenizer = AutoModel.from_pretrained(tiny_encoder).eval(), AutoTokenizer.from_pretrained(tiny_encoder)
    with torch.inference_mode():
        means = [model(**tokenizer(t, return_tensors="pt")).last_hidden_state[0].mean(dim=0).numpy() for t in texts]
    expected = np.array([mean / np.linalg.norm(mean) for mean in means])
    np.testing.assert_allclose(embed(texts), expected, atol=1e-5)


def test_class_weights_make_a_yardstick_find_more_of_a_rare_label(tiny_encoder, copies, tmp_path):
    examples = corpus.read(copies)["train"]
    rare = [e for e in examples if e.label != "denial"] * 5 + [e for e in examples if e.label == "denial"]
    found = []
    for weights in (ClassWeights.none, ClassWeights.balanced):
        config = yardstick_config(ModelKind.tfidf, tiny_encoder, copies, tmp_path, class_weights=weights)
        config.model.C = 1.0
        logits = baselines.fit(config, rare, encoder=None)([e.text for e in examples])
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        found.append(probabilities[:, LABELS.index("denial")].mean())
    assert found[0] < found[1]


def test_a_yardstick_without_sentences_of_a_label_is_refused(tiny_encoder, copies, tmp_path):
    config = yardstick_config(ModelKind.tfidf, tiny_encoder, copies, tmp_path, max_train_sentences=4)
    config.seed = 3  # draws two labels
    config.tracking.enabled = False
    with pytest.raises(InputError, match="max_train_sentences: leaves none labelled"):
        baselines.train(config)


@pytest.mark.parametrize("experiment", ["majority", "tfidf"])
def test_the_command_trains_a_yardstick_and_says_that_no_bundle_is_written(experiment, copies, tmp_path):
    found = run(
        "train", f"experiment={experiment}", "corpus=own", f"corpus.path={copies}", f"output={tmp_path}/models/stance",
        f"tracking.uri=sqlite:///{tmp_path}/mlflow.db", cwd=tmp_path,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr.decode()
    said = (found.stdout + found.stderr).decode()
    assert "no bundle is written and nothing is registered" in said
    assert "python -m predict" not in said
    assert not (tmp_path / "models").exists()


def test_the_experiments_are_the_yardsticks():
    from test_configs import composed

    kinds = {name: composed(f"experiment={name}").model.kind for name in ("majority", "tfidf", "frozen_encoder")}
    assert list(kinds.values()) == YARDSTICKS
    for name in kinds:
        assert composed(f"experiment={name}").trainer.max_train_sentences is None
    assert (ROOT / "configs" / "experiment" / "frozen_encoder.yaml").exists()
