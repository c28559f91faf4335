"""No version that pyproject.toml allows, and none that constraints.txt pins, has an advisory that SECURITY.md lists."""

import re
import tomllib

import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.version import Version

TABLE = re.findall(r"^\| ([a-z]\S*) \| (\d\S*) \| (CVE-\S+)", (ROOT / "SECURITY.md").read_text(), re.M)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ASKED = {found.name.lower(): found for found in map(Requirement, PROJECT["dependencies"])}
PINNED = dict(line.lower().split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)


def test_the_table_is_read():
    assert {name for name, _, _ in TABLE} >= {"torch", "transformers", "mlflow"}


@pytest.mark.parametrize(("name", "fixed", "advisory"), TABLE)
def test_lower_bounds_leave_advisories_behind(name, fixed, advisory):
    (bound,) = [Version(part.version) for part in ASKED[name].specifier if part.operator == ">="]
    assert bound >= Version(fixed), advisory
    assert Version(PINNED[name]) >= Version(fixed), advisory


@pytest.mark.parametrize("name", ASKED)
def test_every_dependency_has_a_bound_and_a_pin_within_it(name):
    assert ASKED[name].specifier
    assert ASKED[name].specifier.contains(PINNED[name.replace("-", "_") if name not in PINNED else name])
