"""What a trained bundle must get right: `make behaviour`, after `make train`. Without a bundle these are left out."""

import pytest
from conftest import ROOT

from allegedly import behaviour
from allegedly.classifier import Classifier

BUNDLE = ROOT / "models" / "stance"
CASES = behaviour.read(ROOT / "data" / "behaviour")
pytestmark = [
    pytest.mark.bundle,
    pytest.mark.skipif(not (BUNDLE / "bundle.json").exists(), reason="no models/stance; make train first"),
]


@pytest.fixture(scope="module")
def outcomes():
    classifier = Classifier.load(BUNDLE)
    if classifier.manifest["config"]["trainer"]["max_steps"] > 0:
        pytest.skip("models/stance was trained for a fixed few steps; make train first")
    found = behaviour.check(CASES, lambda texts: [prediction.label for prediction in classifier.predict(texts)])
    print("\n" + behaviour.table(found))
    return found


@pytest.mark.parametrize("test", behaviour.TARGETS)
def test_the_default_model_reaches_its_target(test, outcomes):
    share = behaviour.rates(outcomes)[test]
    failed = [
        (o.case.capability, o.case.changed or o.case.text) for o in outcomes if o.case.test == test and not o.passed
    ]
    assert share >= behaviour.TARGETS[test], failed
