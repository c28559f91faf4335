"""What a reviewer sees in the MLflow UI, opened in a real browser on a server started as `make ui` starts it."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest
from conftest import ROOT

from allegedly import corpus, run_page, tracking
from allegedly.evaluation import score_with_intervals

pytestmark = pytest.mark.browser
PATIENCE = 60  # seconds for a page to show what it must: a busy machine is slow, not wrong


@pytest.fixture(scope="module")
def store(trained, tmp_path_factory) -> Path:
    """A folder with mlflow.db: the training's run and beside it one of a model that is often wrong."""
    folder = tmp_path_factory.mktemp("ui")
    config, _ = trained
    shutil.copy(config.tracking.uri.removeprefix("sqlite:///"), folder / "mlflow.db")
    other = replace(config, seed=14, tracking=replace(config.tracking, uri=f"sqlite:///{folder}/mlflow.db"))
    other.tracking.run_name = "often wrong"
    splits = corpus.read(config.corpus.path)
    facts = {
        "encoder": {"name": "tiny", "sha256": "0" * 64},
        "corpus": {"name": "tiny", "digest": corpus.digest(splits)},
        "git_commit": "0" * 40 + "-dirty",
    }
    probabilities = np.random.default_rng(3).dirichlet(np.ones(4), len(splits["test"]))
    scores = score_with_intervals(corpus.label_ids(splits["test"]), probabilities)
    with tracking.start(other.tracking) as run:
        run_page.begin(run, other, splits, facts, device="cpu")
        scores = {f"test/{key}": value for key, value in scores.items()}
        run_page.results(run, splits["test"], probabilities, scores=scores)
    return folder


@pytest.fixture(scope="module")
def runs(store) -> dict[str, mlflow.entities.Run]:
    mlflow.set_tracking_uri(f"sqlite:///{store}/mlflow.db")
    found = mlflow.search_runs(experiment_names=["stance"], output_format="list")
    return {run.info.run_name: run for run in found}


@pytest.fixture(scope="module")
def server(store):
    """The address of a server that runs the Makefile's recipe of `ui` in the folder of the store."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    recipe = re.search(r"^ui:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    command = recipe.replace("$(BIN)", str(Path(sys.executable).parent)).replace("$(or $(PORT),5000)", str(port))
    assert "$(" not in command
    (store / "bin").mkdir()
    for agent in ("claude", "codex"):  # as on the machine of somebody who has them installed
        (store / "bin" / agent).write_text(f"#!/bin/sh\necho {agent} >> {store}/agents.log\n")
        (store / "bin" / agent).chmod(0o755)
    env = os.environ | {"PATH": f"{store / 'bin'}{os.pathsep}{os.environ['PATH']}", "HOME": str(store)}
    with (store / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, shell=True, cwd=store, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: process.poll() is not None or answers(address), "the server")
        assert process.poll() is None, (store / "server.log").read_text()
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


@pytest.fixture
def see(server, browser):
    """Opens a page of the UI and waits until it shows all the words; fails with what it shows instead."""

    def see(page: str, *words: str) -> str:
        browser.get("about:blank")  # else only the part after the # changes, and the old page may still be seen
        browser.get(f"{server}/#{page}")
        shown = ""

        def complete() -> bool:
            nonlocal shown
            shown = browser.execute_script("return document.body.innerText")
            return all(word in shown for word in words)

        try:
            wait_for(complete, page)
        except TimeoutError:
            missing = [word for word in words if word not in shown]
            pytest.fail(f"{page} does not show {missing}, but:\n{shown}")
        return shown

    return see


def wait_for(condition, what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.2)


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as reply:
            return reply.status == 200
    except OSError:
        return False


def path(run: mlflow.entities.Run, *more: str) -> str:
    return "/".join((f"/experiments/{run.info.experiment_id}/runs/{run.info.run_id}", *more))


def test_only_this_machine_may_ask_the_server(server):
    assert answers(server)
    page = f"{server}/ajax-api/2.0/mlflow/experiments/get?experiment_id=0"
    with urllib.request.urlopen(page) as reply:
        assert reply.status == 200
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(page, headers={"Host": "evil.example"}))
    assert refused.value.code == 403


def ask(address: str, body: dict | None = None, method: str | None = None) -> str:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
        return reply.read().decode()


@pytest.mark.parametrize("set_up", [None, {"api_key": "secret", "gateway_vendor": "openai", "selected": True}])
def test_what_is_typed_into_the_assistant_is_handed_to_nobody(set_up, server, store):
    """Neither to an agent that is installed here nor, with a key, to a hosted model."""
    assistant = f"{server}/ajax-api/3.0/mlflow/assistant"
    if set_up:
        ask(f"{assistant}/config", {"providers": {"mlflow_gateway": set_up}}, "PUT")
    typed = json.loads(ask(f"{assistant}/message", {"message": "What is this run?"}))
    answer = ask(server + typed["stream_url"])
    assert ("AI Gateway feature is disabled" if set_up else "sandbox is enabled but could not start") in answer
    assert not (store / "agents.log").exists()


def test_the_run_page_explains_the_run(see, runs):
    shown = see(
        path(runs["tiny"]),
        "16 train, 16 validation, 16 test sentences",  # description
        "git_commit", "git_dirty", "corpus_digest", "encoder_sha256", "device", "host_class",
        "test/macro_f1", "test/f1_denial_low", "test/f1_denial_high", "validation/f1_denial", "train/learning_rate",
        "trainer.learning_rate", "corpus.path", "encoder.max_length",
        "Test macro-F1", "tiny-train", "Logged models", "Registered models",
    )  # fmt: skip
    assert re.search(r"Created by\s+unknown", shown)


def test_every_artifact_is_listed(see, runs):
    see(
        path(runs["tiny"], "artifacts", "figures/learning_curve.png"),
        "config.yaml", "environment.txt", "errors.html", "model_card.md", "test_predictions.json", "test_report.txt",
        "confusion_matrix.png", "f1.png", "learning_curve.png", "precision_recall.png", "reliability.png",
    )  # fmt: skip


def test_the_figure_is_shown(see, browser, runs):
    see(path(runs["tiny"], "artifacts", "figures/confusion_matrix.png"), "confusion_matrix.png")
    script = "return [...document.images].some(image => image.naturalWidth > 500 && image.naturalHeight > 400)"
    wait_for(lambda: browser.execute_script(script), "the picture")


def test_the_page_of_errors_is_shown_with_its_style(see, browser, runs):
    see(path(runs["often wrong"], "artifacts", "errors.html"), "errors.html")
    wait_for(lambda: browser.find_elements("css selector", "iframe"), "the frame")
    browser.switch_to.frame(browser.find_element("css selector", "iframe"))
    wait_for(lambda: "What was taken for what" in browser.find_element("css selector", "body").text, "the errors")
    heading = browser.find_element("css selector", "th")
    assert heading.value_of_css_property("position") == "sticky"  # the policy lets the page's own style through


def test_the_compare_page_sets_two_runs_side_by_side(see, runs):
    ids = ",".join(f'"{run.info.run_id}"' for run in runs.values())
    experiment = runs["tiny"].info.experiment_id
    shown = see(
        f'/compare-runs?runs=[{ids}]&experiments=["{experiment}"]',
        "Comparing 2 Runs", "often wrong", "tiny", "test/macro_f1", "seed",
    )  # fmt: skip
    assert re.search(r"seed\s+14\s+13", shown) or re.search(r"seed\s+13\s+14", shown)


def test_the_experiment_tells_what_it_holds(see):
    see("/experiments", "stance", "Trainings and their yardsticks")


def test_the_evaluation_view_sets_what_two_runs_say_of_a_sentence_side_by_side(see, runs):
    see(
        f"/experiments/{runs['tiny'].info.experiment_id}/runs?compareRunsMode=ARTIFACT",
        "test_predictions.json", "often wrong", "tiny", "Group by:\ntext", "Compare:\npredicted", "The mayor denied",
    )  # fmt: skip


def test_the_table_of_predictions_is_shown_as_one(see, runs):
    see(path(runs["tiny"], "artifacts", "test_predictions.json"), "predicted", "p_denial", "The mayor denied taking")


def test_the_logged_model_page_shows_card_scores_and_dataset(see, runs):
    (output,) = runs["tiny"].outputs.model_outputs
    shown = see(
        f"/experiments/{runs['tiny'].info.experiment_id}/models/{output.model_id}",
        "who warns, who denies", "test/macro_f1", "tiny-test", "tiny-validation",
    )  # fmt: skip
    assert re.search(r"Created by\s+unknown", shown)


def test_the_registered_model_says_what_its_aliases_mean(see):
    see("/models/stance", "the newest model that did not pass the gate")


def test_the_model_version_page_leads_back_to_the_run(see):
    see("/models/stance/versions/1", "Version 1", "champion", "Source Run", "tiny", "Inputs", "Outputs")
