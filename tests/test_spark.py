"""The model that MLflow logged labels a Spark DataFrame as predict labels the same lines."""

import json
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT, SENTENCES, run

pytest.importorskip("pyspark", reason="pip install -c constraints.txt '.[spark]'")
if shutil.which("java") is None:
    pytest.skip("Spark needs a Java runtime", allow_module_level=True)

TEXTS = [f"{text} test{n}" for n in range(5) for texts in SENTENCES.values() for text in texts]


def test_spark_gives_the_labels_of_predict(trained, tmp_path):
    config, _ = trained
    archive, output = tmp_path / "archive.jsonl", tmp_path / "labels.json"
    archive.write_text("".join(json.dumps({"text": text, "number": n}) + "\n" for n, text in enumerate(TEXTS)))
    command = [sys.executable, ROOT / "benchmarks" / "spark.py", archive, output, "--master", "local[2]"]
    store = config.tracking.uri.removeprefix("sqlite:///").removesuffix("/mlflow.db")
    done = subprocess.run([*command, "--partitions", "2"], cwd=store, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1].startswith(f"{len(TEXTS)} sentences in ")
    rows = [json.loads(line) for part in output.glob("part-*") for line in part.read_text().splitlines()]
    spark = {row["number"]: row for row in rows}
    said = run("predict", str(archive), "--lines", "--format", "jsonl", "--model", config.output, cwd=tmp_path)
    predicted = [json.loads(line) for line in said.stdout.splitlines()]
    assert [spark[n]["label"] for n in range(len(TEXTS))] == [row["label"] for row in predicted]
    assert [spark[n]["probability"] for n in range(len(TEXTS))] == pytest.approx(
        [row["probability"] for row in predicted], abs=1e-4
    )
    assert [spark[n]["text"] for n in range(len(TEXTS))] == TEXTS
