"""`python -m verify` as a user runs it: every kind of claim and evidence, every bad input with one clear line."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from conftest import SENTENCES, run

from allegedly.labels import VERDICTS

DAM = "Dam holds after flood\n\nEngineers denied that the dam burst. Rain fell.\n"
CLAIMS = "The dam burst.\nThe bridge was opened.\nThe moon is made of cheese.\n"


@pytest.fixture
def workplace(word_verifier, embedder_cache, tmp_path, monkeypatch):
    """A folder with claims, two documents and, where verify looks for it, a verifier that knows two words."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(embedder_cache))
    shutil.copytree(word_verifier, tmp_path / "models" / "verifier")
    (tmp_path / "claims.txt").write_text(CLAIMS)
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "dam.txt").write_text(DAM)
    (tmp_path / "archive" / "bridge.txt").write_text("The council confirmed that the bridge was opened on Monday.")
    return tmp_path


def verify(workplace, *arguments, stdin=None):
    return run("verify", *arguments, cwd=workplace, stdin=stdin)


def rows(found, status=0):
    assert found.returncode == status, found.stderr
    return [json.loads(line) for line in found.stdout.decode().splitlines()]


def test_jsonl_has_the_promised_fields_and_offsets(workplace):
    found = rows(verify(workplace, "--claims", "claims.txt", "--evidence", "archive/dam.txt", "--format", "jsonl"))
    assert [(row["id"], row["claim"]) for row in found] == list(zip("123", CLAIMS.splitlines(), strict=True))
    for row in found:
        assert list(row) == ["id", "claim", "verdict", "probability", "probabilities", "rationale"]
        assert list(row["probabilities"]) == list(VERDICTS)
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=2e-4)
        assert row["probability"] == row["probabilities"][row["verdict"]]
        for sentence in row["rationale"]:
            assert list(sentence) == ["file", "index", "start", "end", "text", "score"]
            assert DAM[sentence["start"] : sentence["end"]] == sentence["text"]
    assert found[0]["verdict"] == "REFUTED"
    assert [(s["file"], s["index"]) for s in found[0]["rationale"]] == [("archive/dam.txt", 1)]


def test_without_anything_relevant_the_verdict_is_open_and_the_rationale_empty(workplace):
    (workplace / "rain.txt").write_text("Rain fell in the north. Snow fell in the south.")
    found = rows(verify(workplace, "--claims", "claims.txt", "--evidence", "rain.txt", "--format", "jsonl"))
    assert {(row["verdict"], len(row["rationale"])) for row in found} == {("NOT_ENOUGH_INFO", 0)}


def test_evidence_in_the_lines_is_used_as_it_is(workplace):
    lines = [
        {"id": "a", "claim": "The dam burst.", "evidence": ["Rain fell.", "They confirmed it."]},
        {"id": "b", "claim": "The dam burst.", "evidence": ["Rain fell."]},
    ]
    found = rows(
        verify(workplace, "--claims", "-", "--format", "jsonl", stdin="\n".join(map(json.dumps, lines)).encode())
    )
    assert [(row["id"], row["verdict"]) for row in found] == [("a", "SUPPORTED"), ("b", "NOT_ENOUGH_INFO")]
    assert found[0]["rationale"] == [
        {
            "file": None,
            "index": 1,
            "start": None,
            "end": None,
            "text": "They confirmed it.",
            "score": found[0]["probability"],
        }
    ]


def test_evidence_that_is_named_goes_before_evidence_in_the_lines(workplace):
    line = json.dumps({"claim": "The dam burst.", "evidence": ["They confirmed it."]})
    found = verify(
        workplace, "--claims", "-", "--evidence", "archive/dam.txt", "--format", "jsonl", stdin=line.encode()
    )
    assert rows(found)[0]["verdict"] == "REFUTED"


def test_the_table_is_the_default_and_says_what_a_verdict_is(workplace):
    found = verify(workplace, "--claims", "claims.txt", "--evidence", "archive/dam.txt")
    assert found.returncode == 0
    assert b"REFUTED" in found.stdout
    assert b"about the evidence given" in " ".join(found.stdout.decode().split()).encode()
    assert b"\x1b" not in found.stdout
    said = r"verify: 3 claims: \d supported, \d refuted, \d not settled, against 3 sentences, in \d+\.\d s\n"
    assert re.fullmatch(said, found.stderr.decode())


def test_html_escapes_claims_and_documents(workplace):
    (workplace / "claims.txt").write_text("<script>alert(1)</script> burst.")
    (workplace / "archive" / "dam.txt").write_text("They denied it. <img src=x onerror=alert(1)> & more.")
    found = verify(workplace, "--claims", "claims.txt", "--evidence", "archive/dam.txt", "--format", "html")
    assert found.returncode == 0
    assert b"<script" not in found.stdout
    assert b"<img" not in found.stdout
    assert b"&lt;script&gt;" in found.stdout
    assert b"&lt;img src=x" in found.stdout


def test_allegations_of_an_article_are_checked(workplace, tiny_bundle):
    shutil.copytree(tiny_bundle, workplace / "models" / "stance")
    sentences = [f"{text} test0." for texts in SENTENCES.values() for text in texts]
    article = "\n\n".join(sentences)
    (workplace / "archive" / "article.txt").write_text(article)
    found = verify(
        workplace, "--claims", "archive/article.txt", "--from-article", "--evidence", "archive", "--format", "jsonl"
    )
    result = rows(found)
    assert [row["source"]["text"] for row in result] == [f"{text} test0." for text in SENTENCES["allegation"]]
    assert result[2]["claim"] == "The leader is ready to sell arms test0."  # without "The paper reported that"
    for row in result:
        assert list(row) == ["id", "claim", "source", "verdict", "probability", "probabilities", "rationale"]
        source = row["source"]
        assert source["file"] == "archive/article.txt"
        assert article[source["start"] : source["end"]] == source["text"] == sentences[int(row["id"])]
        assert all(sentence["file"] != "archive/article.txt" for sentence in row["rationale"])
    assert b"archive/article.txt: is the article itself" in found.stderr


def test_an_article_that_alleges_nothing_is_said(workplace, tiny_bundle):
    shutil.copytree(tiny_bundle, workplace / "models" / "stance")
    (workplace / "article.txt").write_text("\n\n".join(f"{text} test0." for text in SENTENCES["background"]))
    (workplace / "out").write_text("yesterday's report")
    found = verify(workplace, "--claims", "article.txt", "--from-article", "--evidence", "archive", "--output", "out")
    assert (found.returncode, found.stdout) == (0, b"")
    assert b"alleges nothing" in found.stderr
    assert (workplace / "out").read_text().startswith("0 claims")


def test_a_file_that_is_named_twice_is_read_once(workplace):
    (workplace / "again.txt").symlink_to(workplace / "archive" / "dam.txt")
    evidence = ["archive/dam.txt", "again.txt", "./archive/dam.txt"]
    found = verify(workplace, "--claims", "claims.txt", "--evidence", *evidence, "--format", "jsonl")
    assert [sentence["file"] for sentence in rows(found)[0]["rationale"]] == ["archive/dam.txt"]
    assert b"against 3 sentences" in found.stderr


def test_output_is_written_whole(workplace):
    found = verify(
        workplace, "--claims", "claims.txt", "--evidence", "archive", "--format", "jsonl", "--output", "out.jsonl"
    )
    assert (found.returncode, found.stdout) == (0, b"")
    assert len((workplace / "out.jsonl").read_text().splitlines()) == 3


def test_bad_lines_and_files_are_said_and_the_rest_is_checked(workplace):
    (workplace / "claims.jsonl").write_text('{"claim": "The dam burst."}\n{"claim": 3}\nno\n')
    found = verify(
        workplace, "--claims", "claims.jsonl", "--evidence", "nowhere.txt", "archive/dam.txt", "--format", "jsonl"
    )
    assert [row["verdict"] for row in rows(found, status=2)] == ["REFUTED"]
    said = found.stderr.decode().splitlines()
    assert len(said) == 4
    assert said[0].startswith("verify: claims.jsonl:2: ")
    assert said[1].startswith("verify: claims.jsonl:3: ")
    assert "nowhere.txt" in said[2]


BAD = {
    "missing claims": (["--claims", "nowhere.txt", "--evidence", "archive"], "nowhere.txt", "no such file"),
    "missing evidence": (["--claims", "claims.txt", "--evidence", "nowhere"], "nowhere", "no such file"),
    "no evidence at all": (["--claims", "one.txt"], "one.txt", "--evidence"),
    "no bundle": (
        ["--claims", "claims.txt", "--evidence", "archive", "--model", "models/none"],
        "models/none",
        "train",
    ),
    "another bundle": (["--claims", "claims.txt", "--evidence", "archive", "--model", "stance"], "stance", "for verif"),
    "no such config": (
        ["--claims", "claims.txt", "--evidence", "archive", "--model", "no.yaml"],
        "no.yaml",
        "configs/",
    ),
    "absent device": (
        ["--claims", "claims.txt", "--evidence", "archive", "--device", "mps"],
        "mps",
        "--device auto or cpu",
    ),
    "output into no folder": (  # said before claims and model are opened
        ["--claims", "nowhere.txt", "--evidence", "archive", "--model", "models/none", "--output", "new/out.txt"],
        "new/out.txt",
        "no folder",
    ),
    "output is a folder": (
        ["--claims", "claims.txt", "--evidence", "archive", "--output", "models"],
        "models",
        "--output",
    ),
}


@pytest.mark.parametrize(("arguments", "where", "remedy"), BAD.values(), ids=BAD)
def test_bad_use_gets_one_line_and_status_2(workplace, tiny_bundle, arguments, where, remedy):
    (workplace / "one.txt").write_text("The dam burst.")
    if "stance" in arguments:
        shutil.copytree(tiny_bundle, workplace / "stance")
    found = verify(workplace, *arguments)
    assert (found.returncode, found.stdout) == (2, b"")
    said = found.stderr.decode()
    assert said.count("\n") == 1
    assert where in said
    assert remedy in said


@pytest.mark.parametrize(
    "arguments", [["--top-k", "0"], ["--format", "xml"], ["--from-article"], ["--evidence", "-", "--claims", "-"]]
)
def test_bad_options_get_status_2(workplace, arguments):
    found = verify(workplace, "--claims", "claims.txt", *arguments)
    assert found.returncode == 2
    assert arguments[0].encode() in found.stderr


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "bundle.json"])
def test_a_harmed_bundle_is_refused_by_name(workplace, name):
    path = workplace / "models" / "verifier" / name
    path.write_bytes(path.read_bytes()[:-2] + b"~~")
    found = verify(workplace, "--claims", "claims.txt", "--evidence", "archive")
    assert (found.returncode, found.stdout, found.stderr.count(b"\n")) == (2, b"", 1)
    assert name.encode() in found.stderr


def test_a_bundle_on_the_cpu_needs_neither_torch_nor_mlflow(workplace):
    program = """
import sys
import verify
status = verify.main("--claims claims.txt --evidence archive --device cpu --format html --output out.html".split())
heavy = {"torch", "transformers", "mlflow", "hydra", "sklearn", "pandas", "onnx"}
print("loaded:", *sorted({name.partition(".")[0] for name in sys.modules} & heavy))
sys.exit(status)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=workplace, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded:"
