"""`python -m predict` as a user runs it: every format, every kind of bad input, one clear line each."""

import contextlib
import csv
import io
import json
import os
import re
import shutil

import pytest
from conftest import SENTENCES, run

from allegedly.backends import choose_device
from allegedly.classifier import Classifier
from allegedly.errors import InputError
from allegedly.labels import LABELS
from allegedly.sentences import split

ARTICLE = """The dam could burst

Officials warned that the dam could burst. The mayor denied taking
the money. "There is no truth in the story," the spokesman said.

Subscribe to our newsletter
"""


@pytest.fixture
def workplace(tiny_bundle, tmp_path):
    """A folder with an article and, where predict looks for it, the tiny bundle."""
    shutil.copytree(tiny_bundle, tmp_path / "models" / "stance")
    (tmp_path / "article.txt").write_text(ARTICLE)
    return tmp_path


def predict(workplace, *arguments, stdin=None):
    return run("predict", *arguments, cwd=workplace, stdin=stdin)


def rows(found):
    assert found.returncode == 0, found.stderr
    return [json.loads(line) for line in found.stdout.decode().splitlines()]


def test_jsonl_has_the_promised_fields_and_offsets(workplace):
    found = rows(predict(workplace, "article.txt", "--format", "jsonl"))
    assert [row["index"] for row in found] == list(range(5))
    for row in found:
        fields = ["file", "index", "start", "end", "text", "label", "probability", "probabilities", "out_of_scope"]
        assert list(row) == fields
        assert row["file"] == "article.txt"
        assert ARTICLE[row["start"] : row["end"]] == row["text"]
        assert list(row["probabilities"]) == list(LABELS)
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=2e-4)
        assert row["probability"] == row["probabilities"][row["label"]] == max(row["probabilities"].values())


def test_the_command_gives_what_the_api_gives(workplace):
    found = rows(predict(workplace, "article.txt", "--format", "jsonl"))
    sentences = split(ARTICLE)
    predictions = Classifier.load(workplace / "models" / "stance").predict([s.text for s in sentences])
    assert [row["text"] for row in found] == [s.text for s in sentences]
    assert [row["label"] for row in found] == [p.label for p in predictions]
    assert [row["probability"] for row in found] == pytest.approx([p.probability for p in predictions], abs=1e-4)


def test_lines_are_not_split(workplace):
    found = rows(predict(workplace, "article.txt", "--lines", "--format", "jsonl"))
    assert [row["text"] for row in found] == [line for line in ARTICLE.splitlines() if line]


def test_labels_that_were_learnt_come_out(workplace):
    texts = [f"{text} test0" for texts in SENTENCES.values() for text in texts]
    found = rows(predict(workplace, "-", "--lines", "--format", "jsonl", stdin="\n".join(texts).encode()))
    assert [row["label"] for row in found] == [label for label, texts in SENTENCES.items() for _ in texts]
    assert {row["file"] for row in found} == {"-"}


def test_the_table_is_the_default(workplace):
    found = predict(workplace, "article.txt")
    assert found.returncode == 0
    assert re.fullmatch(rb"predict: 5 sentences in \d+\.\d s, \d+ sentences/s\n", found.stderr)
    out = found.stdout.decode()
    assert out.startswith("article.txt")
    assert "5 sentences" in out
    assert "\x1b" not in out  # no colours into a pipe


def test_csv_reads_back(workplace):
    found = predict(workplace, "article.txt", "--format", "csv")
    read = list(csv.DictReader(io.StringIO(found.stdout.decode(), newline="")))
    assert len(read) == 5
    assert read[1]["text"] == "Officials warned that the dam could burst."


def test_html_escapes_the_article(workplace):
    (workplace / "evil.txt").write_text("The mayor said <script>alert(1)</script> on Monday.")
    found = predict(workplace, "evil.txt", "article.txt", "--format", "html")
    assert found.returncode == 0
    assert b"<script" not in found.stdout
    assert b"&lt;script&gt;" in found.stdout


def test_jsonl_records_are_read_and_never_joined(workplace):
    records = [{"text": "Rain fell. The mayor denied it."}, {"text": "no full stop"}, {"text": "the next record"}]
    (workplace / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    found = rows(predict(workplace, "a.jsonl", "--format", "jsonl"))
    assert [row["text"] for row in found] == ["Rain fell.", "The mayor denied it.", "no full stop", "the next record"]
    extracted = "\n".join(record["text"] for record in records)
    assert all(extracted[row["start"] : row["end"]] == row["text"] for row in found)
    whole = rows(predict(workplace, "a.jsonl", "--lines", "--format", "jsonl"))
    assert [row["text"] for row in whole] == [record["text"] for record in records]


def test_a_folder_is_walked(workplace):
    (workplace / "news" / "deep").mkdir(parents=True)
    (workplace / "news" / "b.txt").write_text("Rain fell.")
    (workplace / "news" / "deep" / "a.txt").write_text("Snow fell.")
    found = rows(predict(workplace, "news", "--format", "jsonl"))
    assert [row["file"] for row in found] == ["news/b.txt", "news/deep/a.txt"]


@pytest.mark.parametrize("size", ["1", "3", "500"])
def test_the_batch_size_changes_nothing(workplace, size):
    expected = rows(predict(workplace, "article.txt", "--format", "jsonl"))
    found = rows(predict(workplace, "article.txt", "--format", "jsonl", "--batch-size", size))
    assert [row["label"] for row in found] == [row["label"] for row in expected]
    assert [row["probability"] for row in found] == pytest.approx([row["probability"] for row in expected], abs=2e-4)


def test_output_is_written_whole(workplace):
    found = predict(workplace, "article.txt", "--format", "jsonl", "--output", "out.jsonl")
    assert (found.returncode, found.stdout) == (0, b"")
    assert len((workplace / "out.jsonl").read_text().splitlines()) == 5


def test_a_bad_file_among_good_ones_is_said_and_the_others_are_labelled(workplace):
    (workplace / "empty.txt").write_text("")
    found = predict(workplace, "missing.txt", "article.txt", "empty.txt", "--format", "jsonl", "--output", "out.jsonl")
    assert found.returncode == 2
    said = found.stderr.decode().splitlines()
    assert len(said) == 3
    assert "missing.txt" in said[0]
    assert "empty.txt" in said[1]
    assert said[2].startswith("predict: 5 sentences in ")
    assert len((workplace / "out.jsonl").read_text().splitlines()) == 5


def test_nothing_readable_leaves_an_old_output_alone(workplace):
    (workplace / "out.jsonl").write_text("precious")
    (workplace / "empty.txt").write_text("")
    assert predict(workplace, "empty.txt", "--format", "jsonl", "--output", "out.jsonl").returncode == 2
    assert (workplace / "out.jsonl").read_text() == "precious"
    assert not [path for path in workplace.iterdir() if path.name.startswith(".out")]


BAD = {
    "missing file": (["nowhere.txt"], "nowhere.txt", "no such file"),
    "unknown device": (["article.txt", "--device", "warp"], "warp", "auto, cpu, cuda"),
    "absent device": (["article.txt", "--device", "mps"], "mps", "--device auto or cpu"),
    "no bundle": (["article.txt", "--model", "models/none"], "models/none", "make train"),
    "output is a folder": (["article.txt", "--output", "models"], "models", "--output"),
    "output in no folder": (["article.txt", "--output", "no/such/out"], "no/such/out", "--output"),
}


@pytest.mark.parametrize(("arguments", "where", "remedy"), BAD.values(), ids=BAD)
def test_bad_use_gets_one_line_and_status_2(workplace, arguments, where, remedy):
    found = predict(workplace, *arguments)
    assert found.returncode == 2
    assert found.stdout == b""
    said = found.stderr.decode()
    assert said.count("\n") == 1
    assert where in said
    assert remedy in said


@pytest.mark.parametrize("arguments", [["--batch-size", "0"], ["--format", "xml"], ["--threads", "many"]])
def test_bad_options_get_status_2(workplace, arguments):
    found = predict(workplace, "article.txt", *arguments)
    assert found.returncode == 2
    assert arguments[0].encode() in found.stderr


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "config.json", "bundle.json"])
@pytest.mark.parametrize("harm", ["removed", "altered"])
def test_a_harmed_bundle_is_refused_by_name(workplace, name, harm):
    path = workplace / "models" / "stance" / name
    path.unlink() if harm == "removed" else path.write_bytes(path.read_bytes()[:-2] + b"~~")
    found = predict(workplace, "article.txt")
    assert (found.returncode, found.stdout, found.stderr.count(b"\n")) == (2, b"", 1)
    assert name.encode() in found.stderr


def test_a_reader_that_closes_the_pipe_gets_no_traceback(workplace):
    import subprocess
    import sys

    (workplace / "long.txt").write_text("The mayor denied it.\n" * 20000)
    command = f"{sys.executable} -m predict long.txt --lines --format jsonl | head -n 1"
    done = subprocess.run(command, cwd=workplace, shell=True, capture_output=True)
    assert done.stdout.count(b"\n") == 1
    assert done.stderr == b""


def test_a_fake_accelerator_is_chosen_and_a_missing_one_refused(monkeypatch):
    import torch

    from allegedly import backends

    monkeypatch.setattr(backends, "accelerator_likely", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    assert choose_device("auto") == "cuda"
    assert choose_device("cuda:0") == "cuda:0"
    assert choose_device("cpu") == "cpu"
    with pytest.raises(InputError, match="not available"):
        choose_device("cuda:1")
    with pytest.raises(InputError, match="not available"):
        choose_device("xpu")


def test_the_torch_backend_serves_predict_too(workplace, monkeypatch):
    """What an accelerator would run, on the CPU: same labels, same probabilities."""
    from allegedly import backends

    texts = [text for texts in SENTENCES.values() for text in texts]
    onnx = Classifier.load(workplace / "models" / "stance", device="cpu").predict(texts)
    monkeypatch.setattr(backends, "cpu_backend", lambda folder, threads: backends.torch_backend(folder, device="cpu"))
    torch = Classifier.load(workplace / "models" / "stance", device="cpu").predict(texts)
    assert [p.label for p in torch] == [p.label for p in onnx]
    assert [p.probability for p in torch] == pytest.approx([p.probability for p in onnx], abs=1e-4)


def test_on_a_terminal_the_sentences_are_counted_as_they_pass(workplace):
    """A pseudo-terminal for standard error; the labels go into a file."""
    import fcntl
    import pty
    import struct
    import subprocess
    import sys
    import termios

    (workplace / "long.txt").write_text("The mayor denied it.\n" * 30000)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, "-m", "predict", "long.txt", "--lines", "--format", "jsonl", "--output", "out.jsonl"]
    done = subprocess.Popen(command, cwd=workplace, stderr=theirs)
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # what a closed terminal says
        while block := os.read(ours, 4096):
            said += block
    assert done.wait() == 0
    assert b" sentences/s" in said.splitlines()[-1]
    assert said.count(b"\r") > 2
    assert len((workplace / "out.jsonl").read_text().splitlines()) == 30000


def test_no_library_reports_that_it_is_used(tiny_bundle):
    import subprocess
    import sys

    script = f"""
import sys, threading
from allegedly.classifier import Classifier
Classifier.load({str(tiny_bundle)!r}, device="cpu").predict(["The mayor denied it."])
print("openvino" in sys.modules, [name for name in sys.modules if name.startswith("openvino_telemetry.")])
print([thread.name for thread in threading.enumerate()])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "True []\n['MainThread']\n", done.stderr
