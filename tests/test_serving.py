"""The model that MLflow logged: served over HTTP, loaded without this package installed, equal to predict."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from conftest import ROOT, SENTENCES, run

ARTICLE = "Officials warned that the dam could burst. Rain fell.\n\nThe mayor denied taking the money."
TEXTS = [text for texts in SENTENCES.values() for text in texts]
README = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith(("mlflow ", "curl "))]


@pytest.fixture(scope="module")
def port(trained) -> int:
    """Where README's command serves the champion of the session's training."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = next(line for line in README if line.startswith("mlflow models serve")).replace("5001", str(port))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"  # as in an active venv
    workplace = Path(trained[0].tracking.uri.removeprefix("sqlite:///")).parent
    with (workplace / "server.log").open("wb") as said:
        server = subprocess.Popen(
            shlex.split(command), cwd=workplace, env=environment, stdout=said, stderr=said, start_new_session=True
        )
    try:
        for _ in range(480):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=10).close()
                break
            except OSError:
                assert server.poll() is None, (workplace / "server.log").read_text()
                time.sleep(0.25)
        yield port
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        (workplace / "server.log").unlink()


@pytest.fixture(scope="module")
def post(port):
    """POST a payload, bytes or what becomes JSON; returns (status, body)."""

    def send(payload) -> tuple[int, str]:
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", data=body, headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return send


def predicted(path: Path, bundle: str, *options: str) -> list[dict]:
    """What predict writes for a file, without `file` and `out_of_scope`, which a request does not have."""
    done = run("predict", path, "--format", "jsonl", "--device", "cpu", "--model", bundle, *options, cwd=path.parent)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return [{key: value for key, value in row.items() if key not in ("file", "out_of_scope")} for row in rows]


def test_an_article_gets_the_json_of_predict(post, trained, tmp_path):
    (tmp_path / "a.txt").write_text(ARTICLE)
    status, body = post({"dataframe_records": [{"article": ARTICLE}]})
    expected = predicted(tmp_path / "a.txt", trained[0].output)
    assert status == 200
    assert len(expected) == 3
    assert json.loads(body) == {"predictions": [{"row": 0, **row} for row in expected]}


def test_sentences_get_the_json_of_predict_each_in_its_own_place(post, trained, tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(TEXTS))
    rows = json.loads(post({"dataframe_records": [{"text": text} for text in TEXTS]})[1])["predictions"]
    expected = predicted(tmp_path / "a.txt", trained[0].output, "--lines")
    for n, (row, line) in enumerate(zip(rows, expected, strict=True)):
        assert row == line | {"row": n, "index": 0, "start": 0, "end": len(TEXTS[n])}


@pytest.mark.parametrize(
    "payload",
    [
        {"dataframe_split": {"columns": ["text"], "data": [[TEXTS[0]], [TEXTS[5]]]}},
        {"inputs": [{"text": TEXTS[0]}, {"text": TEXTS[5]}]},
        {"inputs": {"text": [TEXTS[0], TEXTS[5]]}},
        {"instances": [{"text": TEXTS[0]}, {"text": TEXTS[5]}]},
    ],
    ids=["split", "inputs", "columns", "instances"],
)
def test_every_form_of_request_is_understood(post, payload):
    records = {"dataframe_records": [{"text": TEXTS[0]}, {"text": TEXTS[5]}]}
    assert post(payload) == post(records)


def test_sentences_and_articles_come_in_one_request(post):
    mixed = {"dataframe_records": [{"text": TEXTS[0]}, {"article": ARTICLE}, {"text": TEXTS[1]}]}
    rows = json.loads(post(mixed)[1])["predictions"]
    assert [(row["row"], row["index"]) for row in rows] == [(0, 0), (1, 0), (1, 1), (1, 2), (2, 0)]
    assert all(ARTICLE[row["start"] : row["end"]] == row["text"] for row in rows[1:4])


def one(**row) -> dict:
    return {"dataframe_records": [{"text": "Rain fell."}, row]}


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (one(text=5), "row 1: 'text' holds int, not a string"),
        (one(text=True), "row 1: 'text' holds bool, not a string"),
        (one(text=["Rain fell."]), "row 1: 'text' holds list, not a string"),
        (one(article={"text": "Rain"}), "row 1: 'article' holds dict, not a string"),
        (one(text=None), "row 1: needs either 'text' (one sentence) or 'article'"),
        (one(text="Rain fell.", article="Rain fell."), "row 1: needs either 'text' (one sentence) or 'article'"),
        (one(text=" \n"), "row 1: 'text' is blank"),
        ({"dataframe_records": [{"sentence": "Rain fell."}]}, "holds no rows with a column 'text'"),
        ({"dataframe_records": []}, "holds no rows with a column 'text'"),
        ({"inputs": ["Rain fell."]}, "holds no rows with a column 'text'"),
        ({"inputs": []}, "holds no rows with a column 'text'"),
        ({"inputs": {"text": []}}, "holds no rows with a column 'text'"),
        ({"inputs": {"text": ["a"], "article": ["b", "c"]}}, "differ in length"),
        ({"dataframe_records": None}, "must be a list of records"),
        ({"inputs": None}, "NoneType"),
        ({"text": "Rain fell."}, "exactly one of the input fields"),
        (["Rain fell."], "exactly one of the input fields"),
        (None, "exactly one of the input fields"),
        (b"", "valid JSON"),
        (b'{"dataframe_records": [', "valid JSON"),
        (b"\xff", "valid JSON"),
        (b'{"dataframe_records": [{"text": ' + b"[" * 300 + b"]" * 300 + b"}]}", "'text' holds list, not a string"),
    ],
)  # fmt: skip
def test_a_bad_payload_gets_status_400_and_is_told_why(post, payload, why):
    status, body = post(payload)
    assert status == 400
    assert why in json.loads(body)["message"]


def test_a_payload_deeper_than_the_parser_goes_does_not_stop_the_server(post):
    """MLflow parses it before the model sees it, and answers 500."""
    assert post(b'{"inputs": ' + b"[" * 90_000 + b"]" * 90_000 + b"}")[0] >= 400
    assert post(one(text="Rain fell."))[0] == 200


def test_the_curl_example_of_the_readme_runs(port):
    command = next(line for line in README if line.startswith("curl ")).replace("5001", str(port))
    done = subprocess.run([*shlex.split(command), "--silent", "--fail"], capture_output=True, timeout=60)
    rows = json.loads(done.stdout)["predictions"]
    assert [(row["row"], row["text"]) for row in rows] == [
        (0, "The mayor denied it."), (1, "Rain fell."), (1, "Officials warned of floods."),
    ]  # fmt: skip


# ---- without a server


@pytest.fixture(scope="module")
def logged(trained) -> Path:
    """The folder of the logged model."""
    mlflow.set_tracking_uri(trained[0].tracking.uri)
    client = mlflow.MlflowClient()
    version = client.get_model_version_by_alias("stance", "champion")
    return Path(client.get_model_version_download_uri("stance", version.version).removeprefix("file://"))


def test_a_table_of_sentences_gets_as_many_rows_in_order(logged, trained):
    table = mlflow.pyfunc.load_model(str(logged)).predict(pd.DataFrame({"text": TEXTS}))
    assert list(table["text"]) == TEXTS
    assert list(table["row"]) == list(range(len(TEXTS)))


def test_the_model_loads_where_this_package_is_not_installed(logged, tmp_path):
    """In a fresh process that finds `allegedly` nowhere but in the model; whatever it unpickled would be named."""
    program = f"""
import importlib.util, pathlib, sys
sys.path = [p for p in sys.path if p and not (pathlib.Path(p) / "allegedly").exists()]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
assert importlib.util.find_spec("allegedly") is None, "the package can still be imported"
import mlflow.pyfunc, pandas as pd
unpickled = []
sys.addaudithook(lambda event, arguments: unpickled.append(arguments) if event == "pickle.find_class" else None)
model = mlflow.pyfunc.load_model({str(logged)!r})
found = model.predict(pd.DataFrame({{"text": ["The mayor denied taking the money"]}}))
import allegedly
assert pathlib.Path(allegedly.__file__).is_relative_to({str(logged)!r}), allegedly.__file__
print(found["label"][0], "unpickled:", unpickled)
"""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MLFLOW_TRACKING_URI")}
    done = subprocess.run(
        [sys.executable, "-I", "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "denial unpickled: []"


def test_no_file_of_the_logged_model_is_a_pickle(logged):
    files = [path for path in logged.rglob("*") if path.is_file()]
    assert {"serving.py", "MLmodel", "model.onnx"} <= {path.name for path in files}
    for path in files:
        assert path.suffix not in (".pkl", ".pickle", ".pt", ".bin", ".joblib")
        # protocols 2 to 5 begin so; safetensors, ONNX and text do not
        assert not re.match(rb"\x80[\x02-\x05]", path.read_bytes()[:2]), path
    assert "python_model:" not in (logged / "MLmodel").read_text()  # MLflow's key for the name of a pickle
