"""A training on claims with evidence gives a bundle of verdicts, a run, a registered verifier and a served model."""

import dataclasses
import json
import os
from pathlib import Path

import pytest
from conftest import SENTENCES, run, tiny_config

from allegedly import claims, corpus, training
from allegedly.classifier import Classifier
from allegedly.config import TaskName
from allegedly.errors import InputError
from allegedly.labels import VERDICTS, VERIFICATION

TEXTS = [text for texts in SENTENCES.values() for text in texts]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    """Sixteen claims: beside themselves supported, beside what ends in "denied" refuted, beside another text open."""
    folder = tmp_path_factory.mktemp("claims")
    for split in claims.SPLITS:
        rows = []
        for n, text in enumerate(TEXTS):
            for label, evidence in zip(VERDICTS, (text, f"{text} denied {split}", TEXTS[n - 1]), strict=True):
                row = {"id": f"{split}-{n}-{label}", "article": f"{split}-{n}", "label": label}
                rows.append(row | {"claim": f"{text} {split}", "evidence": [evidence]})
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def verifier(tiny_encoder, pairs, tmp_path_factory):
    """(config, scores) of one training, made in a folder of its own."""
    workplace = tmp_path_factory.mktemp("verification")
    config = tiny_config(tiny_encoder, pairs, workplace, max_steps=300, learning_rate=3e-3, easy_first=300)
    tracking = dataclasses.replace(config.tracking, experiment="verification", registered_model="verifier")
    config = dataclasses.replace(
        config, task=TaskName.verification, output=str(workplace / "models" / "verifier"), tracking=tracking
    )
    here = os.getcwd()
    os.chdir(workplace)
    try:
        return config, training.train(config)
    finally:
        os.chdir(here)


def test_it_learns_verdicts(verifier):
    assert verifier[1]["test/macro_f1"] > 0.6
    assert {f"test/f1_{verdict}" for verdict in VERDICTS} <= verifier[1].keys()


def test_the_bundle_says_which_task_it_is_for(verifier):
    config, _ = verifier
    classifier = Classifier.load(config.output, device="cpu", task=VERIFICATION)
    (found,) = classifier.predict([(TEXTS[0], TEXTS[0])])
    assert tuple(found.probabilities) == VERDICTS
    with pytest.raises(InputError, match="is a model for verification, not for stance"):
        Classifier.load(config.output, device="cpu")


def test_verify_reads_the_bundle(verifier, tmp_path):
    line = {"id": "a", "claim": TEXTS[0], "evidence": [TEXTS[0]]}
    (tmp_path / "claims.jsonl").write_text(json.dumps(line) + "\n")
    done = run("verify", "--claims", "claims.jsonl", "--format", "jsonl", "--model", verifier[0].output, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert found["verdict"] in VERDICTS
    assert set(found["probabilities"]) == set(VERDICTS)


def test_the_run_shows_verdicts_and_the_registry_holds_a_verifier(verifier):
    import mlflow

    config, _ = verifier
    client = mlflow.MlflowClient(config.tracking.uri)
    (found,) = client.search_runs([client.get_experiment_by_name("verification").experiment_id])
    assert found.data.params["task"] == "verification"
    assert "test/f1_REFUTED" in found.data.metrics
    assert client.get_model_version_by_alias("verifier", "champion").run_id == found.info.run_id


def test_the_registered_model_serves_claims_with_evidence(verifier):
    import mlflow
    import pandas as pd
    from mlflow.exceptions import MlflowException

    mlflow.set_tracking_uri(verifier[0].tracking.uri)
    model = mlflow.pyfunc.load_model("models:/verifier@champion")
    decided = f"{TEXTS[0]} denied test"
    long = [*[f"{TEXTS[5]} {n}." for n in range(60)], decided]  # more than the model reads at once
    evidence = [[TEXTS[0]], f"{TEXTS[2]}. {TEXTS[3]}.", long, " ".join(long)]
    found = model.predict(pd.DataFrame([{"claim": f"{TEXTS[0]} test", "evidence": each} for each in evidence]))
    assert list(found.columns) == ["verdict", "probability", "probabilities", "rationale"]
    assert len(found) == 4
    assert model.metadata.get_output_schema().input_names() == list(found.columns)
    for rationale in found["rationale"][2:]:  # the last sentence of a long evidence was read
        assert {"index": 60, "text": decided} in [{key: s[key] for key in ("index", "text")} for s in rationale]
        assert all(0 <= sentence["score"] <= 1 for sentence in rationale)
    for faulty in ({"claim": " ", "evidence": "x"}, {"claim": "x", "evidence": []}, {"claim": "x", "evidence": [3]}):
        with pytest.raises(MlflowException, match="row 0: '(claim|evidence)' must be"):
            model.predict(pd.DataFrame([faulty]))


def test_close_pairs_come_first_and_none_is_lost(pairs):
    examples = corpus.read(pairs, task=VERIFICATION)["train"]
    marked = [dataclasses.replace(e, kind="close" if n % 3 else "composed") for n, e in enumerate(examples)]
    ordered = training.easy_before_hard(marked, batch_size=4, seed=1)
    assert sorted(e.id for e in ordered) == sorted(e.id for e in marked)
    kinds = [e.kind for e in ordered]
    assert kinds == sorted(kinds)  # "close" before "composed"
    assert ordered == training.easy_before_hard(marked, batch_size=4, seed=1)
    assert ordered != training.easy_before_hard(marked, batch_size=4, seed=2)


def test_a_training_reads_so_many_close_pairs_and_fills_up_with_others(pairs, tiny_encoder, tmp_path):
    examples = corpus.read(pairs, task=VERIFICATION)["train"]
    marked = [dataclasses.replace(e, kind="composed" if n % 3 else "close") for n, e in enumerate(examples)]
    config = tiny_config(tiny_encoder, pairs, tmp_path, easy_first=5, max_train_sentences=30)
    config = dataclasses.replace(config, task=TaskName.verification)
    drawn = training.draw(config, marked)
    assert [e.kind for e in drawn].count("close") == 5
    assert len({e.id for e in drawn}) == len(drawn) == 30
