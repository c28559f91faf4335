"""Knowing when it does not know: scores stay beside `uncertain`, label sets cover, old bundles get one line."""

import csv
import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from conftest import run
from hypothesis import given
from hypothesis import strategies as st

from allegedly import calibration, evaluation, labelling
from allegedly.classifier import Classifier
from allegedly.labels import LABELS
from allegedly.report import Labelled

TEXT = "The mayor denied taking the money.\nThe bridge fell\nDer Minister wies die Vorwürfe am Dienstag zurück.\n"


def labelled(tmp_path, bundle, *arguments, format="jsonl"):
    (tmp_path / "a.txt").write_text(TEXT)
    found = run("predict", "a.txt", "--lines", "--format", format, "--model", bundle, *arguments, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    out = found.stdout.decode()
    return [json.loads(line) for line in out.splitlines()] if format == "jsonl" else out


def test_what_is_out_of_scope_is_uncertain_and_keeps_its_scores(tiny_bundle, tmp_path):
    rows = labelled(tmp_path, tiny_bundle)
    assert [row["out_of_scope"] for row in rows] == [None, None, "language"]
    assert [row["label"] == "uncertain" for row in rows] == [False, False, True]
    for row in rows:
        assert row["probability"] == max(row["probabilities"].values())


def test_below_the_minimum_rows_are_uncertain_and_keep_their_scores():
    rows = [
        Labelled(
            "a.txt", n, 0, 4, "Rain.", "denial", p, dict(zip(LABELS, ((1 - p) / 2, p, (1 - p) / 2, 0), strict=True))
        )
        for n, p in enumerate((0.49, 0.5, 0.51))
    ]
    found = list(labelling.doubt(rows, min_probability=0.5))
    assert [row.label for row in found] == ["uncertain", "denial", "denial"]
    assert [replace(row, label="denial") for row in found] == rows
    assert list(labelling.doubt(rows)) == rows


def test_the_option_reaches_every_row(tiny_bundle, tmp_path):
    plain = labelled(tmp_path, tiny_bundle)
    for bound in sorted({row["probability"] for row in plain[:2]}):
        strict = labelled(tmp_path, tiny_bundle, "--min-probability", str(min(bound + 1e-3, 1)))
        for before, after in zip(plain[:2], strict[:2], strict=True):
            kept = before["probability"] > bound + 1e-3 or before["probability"] == 1
            assert after == before | {"label": before["label"] if kept else "uncertain"}


@pytest.mark.parametrize("format", ["table", "csv", "html"])
def test_every_format_shows_it(format, tiny_bundle, tmp_path):
    out = labelled(tmp_path, tiny_bundle, format=format)
    assert "1 uncertain" in out or format == "csv"
    assert "language" in out
    if format == "csv":
        rows = list(csv.DictReader(io.StringIO(out)))
        assert [row["out_of_scope"] for row in rows] == ["", "", "language"]
        assert [row["label"] == "uncertain" for row in rows] == [False, False, True]


def test_without_uncertain_rows_the_report_does_not_speak_of_them(tiny_bundle, tmp_path):
    (tmp_path / "b.txt").write_text("The mayor denied it.")
    found = run("predict", "b.txt", "--format", "html", "--model", tiny_bundle, cwd=tmp_path)
    assert b'id="show-uncertain"' not in found.stdout


def test_label_sets_hold_the_label_and_come_only_when_asked(tiny_bundle, tmp_path):
    assert all("label_set" not in row for row in labelled(tmp_path, tiny_bundle))
    threshold = Classifier.load(tiny_bundle).label_set_threshold
    for row in labelled(tmp_path, tiny_bundle, "--label-sets"):
        likeliest = max(row["probabilities"], key=row["probabilities"].get)
        expected = {name for name, p in row["probabilities"].items() if p >= threshold} | {likeliest}
        assert set(row["label_set"]) == expected


def test_a_bundle_without_label_sets_predicts_and_refuses_them_in_one_line(tiny_bundle, tmp_path):
    old = shutil.copytree(tiny_bundle, tmp_path / "old")
    manifest = json.loads((old / "bundle.json").read_text())
    for key in ("label_sets", "profile"):
        del manifest[key]
    (old / "bundle.json").write_text(json.dumps(manifest))
    assert len(labelled(tmp_path, old)) == 3
    found = run("predict", "a.txt", "--format", "jsonl", "--label-sets", "--model", old, cwd=tmp_path)
    assert (found.returncode, found.stdout, found.stderr.count(b"\n")) == (2, b"", 1)
    assert b"label sets" in found.stderr
    (tmp_path / "p.json").write_text(json.dumps(json.loads((tiny_bundle / "bundle.json").read_text())["profile"]))
    found = run("drift", "p.json", old, cwd=tmp_path)
    assert (found.returncode, found.stderr.count(b"\n")) == (2, 1)


@pytest.mark.parametrize("arguments", [("--min-probability", "1.1"), ("--min-probability", "nan"), ("--label-sets",)])
def test_bad_options_are_refused(arguments, tmp_path):
    found = run("predict", "a.txt", *arguments, cwd=tmp_path)
    assert found.returncode == 2
    assert b"error: " in found.stderr.splitlines()[-1]


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_label_sets_cover_as_promised_on_average(coverage):
    rng = np.random.default_rng(5)
    covered = []
    for _ in range(300):
        probabilities = rng.dirichlet(np.full(4, 0.3), 400)
        labels = np.array([rng.choice(4, p=row) for row in probabilities])
        threshold = calibration.fit_label_sets(probabilities[:200], labels[:200], coverage=coverage)
        covered.append((probabilities >= threshold)[200:][np.arange(200), labels[200:]].mean())
    assert coverage - 0.005 < np.mean(covered) < coverage + 1 / 201 + 0.005


@given(st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_label_sets_are_never_empty_and_few_sentences_promise_everything(n, seed):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(4), n)
    threshold = calibration.fit_label_sets(probabilities, rng.integers(0, 4, n))
    sets = calibration.label_sets(probabilities, threshold)
    assert sets.any(axis=1).all()
    assert n >= 19 or sets.all()  # 19 of 20: fewer sentences cannot vouch for 95 %


def test_the_risk_of_keeping_all_is_the_error_rate_and_equals_stay_together():
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.ones(4), 500).round(1)
    labels = rng.integers(0, 4, 500)
    curve = evaluation.risk_coverage(labels, probabilities)
    assert curve[-1, :2] == pytest.approx([1, (probabilities.argmax(axis=1) != labels).mean()])
    for coverage, risk, bound in curve:
        kept = probabilities.max(axis=1) >= bound
        assert coverage == pytest.approx(kept.mean())
        assert risk == pytest.approx((probabilities.argmax(axis=1) != labels)[kept].mean())


def test_the_training_records_sets_their_coverage_and_its_profile(trained, tiny_bundle):
    manifest = json.loads((tiny_bundle / "bundle.json").read_text())
    assert manifest["label_sets"].keys() == {"coverage", "threshold", "sentences"}
    assert 0 <= manifest["scores"]["test/label_set_coverage"] <= 1 <= manifest["scores"]["test/label_set_size"] <= 4
    assert manifest["profile"]["sentences"] == 16
    assert sum(manifest["profile"]["labels"][label] for label in LABELS) == 16
