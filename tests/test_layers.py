"""Modules import only modules that stand above them; predict starts without the libraries of training."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
# From the bottom up: each module may import only those before it. `__init__` only gathers names.
ORDER = [
    *("version", "labels", "errors", "config", "sentences", "isolation", "reading"),
    *("encoding", "claims", "corpus", "backends", "calibration"),
    *("bundle", "classifier", "scope", "report", "labelling", "drift", "behaviour"),
    *("evaluation", "figures", "encoders", "serving", "tracking", "registry", "run_page"),
    *("first_token", "export", "model_card", "objective", "optimization", "frozen_layers", "checkpoints", "training"),
    *("teaching", "baselines", "cross_validation", "sweeping"),
    *("embedding", "retrieval", "claim_reading", "verification", "verdict_report"),
    *("verdict_serving", "nli", "command_line"),
]
HEAVY = ("torch", "transformers", "mlflow", "hydra", "sklearn", "pandas", "trafilatura", "pypdf", "docx")
MODULES = [path.stem for path in sorted((SOURCE / "allegedly").glob("*.py"))]


def imports(module: str) -> set[str]:
    """Modules of this package that ``module`` imports, at the top or inside a function."""
    return imported((SOURCE / "allegedly" / f"{module}.py").read_text(encoding="utf-8"))


def imported(source: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = "allegedly" if node.level else ""  # the package has no folders: a dot is always `allegedly`
            base = ".".join(filter(None, (start, node.module)))
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("allegedly.")}
    return found


def test_all_kinds_of_import_are_seen():
    source = """
import allegedly.bundle
from allegedly import corpus as c, config
from allegedly.labels import LABELS
from . import reading
from .report import write
def f():
    from allegedly.tracking import fetch
import numpy, json.decoder
"""
    assert imported(source) == {"bundle", "corpus", "config", "labels", "reading", "report", "tracking"}


def test_every_module_has_its_place_in_the_order():
    assert sorted(ORDER) == sorted(set(MODULES) - {"__init__"})


@pytest.mark.parametrize("module", ORDER)
def test_a_module_imports_only_modules_above_it(module):
    assert imports(module) - set(ORDER[: ORDER.index(module)]) == set()


def test_only_what_bounds_a_process_needs_unix():
    unix = re.compile(r"^\s*(?:import|from) (?:fcntl|grp|pty|pwd|resource|termios)\b", re.MULTILINE)
    found = {path.stem for path in SOURCE.rglob("*.py") if unix.search(path.read_text(encoding="utf-8"))}
    assert found == {"isolation"}
    assert "isolation" not in needed("training")


def needed(module: str) -> set[str]:
    """The modules of this package that ``module`` imports, and those that they import."""
    return imports(module).union(*map(needed, imports(module)))


@pytest.mark.parametrize("module", [*MODULES, "train", "predict", "verify"])
def test_nobody_imports_the_module_that_mlflow_runs(module):
    path = (
        SOURCE / f"{module}.py" if module in ("train", "predict", "verify") else SOURCE / "allegedly" / f"{module}.py"
    )
    assert not {"serving", "verdict_serving"} & imported(path.read_text(encoding="utf-8"))


def test_what_a_server_runs_needs_only_what_its_model_asks_for(tmp_path):
    program = """
import sys
from allegedly import labelling, verdict_report, verification
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"bm25s", "torch", "transformers", "omegaconf"}))
"""
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout) == (0, "\n"), result.stderr


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_every_module_says_what_it_is_for(path):
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring
    assert len(docstring.splitlines()[0]) <= 120


@pytest.mark.parametrize("command", ["predict", "verify"])
@pytest.mark.parametrize("arguments", [None, ["--help"]], ids=["import", "help"])
def test_a_command_starts_without_heavy_libraries(command, arguments, tmp_path):
    program = f"""
import sys
import {command}
try:
    {f"{command}.main({arguments})" if arguments else "pass"}
except SystemExit as end:
    assert not end.code
print("loaded:", *sorted({{name.partition(".")[0] for name in sys.modules}} & set({HEAVY})), "numpy" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "loaded: True"
    assert not arguments or f"usage: {command}" in result.stdout
