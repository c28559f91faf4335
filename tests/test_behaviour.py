"""What a trained bundle must get right: `make behaviour`, after `make train`. Without a bundle these are left out."""

import pytest
from conftest import ROOT

from allegedly.classifier import Classifier

BUNDLE = ROOT / "models" / "stance"
FURNITURE = [
    "Subscribe now for unlimited access",
    "This e-mail address is protected against spam bots; enable JavaScript to see it.",
    "We and our partners use cookies to personalise content.",
    "Share this article on WhatsApp",
    "Sign up to our weekly newsletter",
    "All rights reserved.",
    "Follow us on Facebook",
    "Log in or create an account to leave a comment",
    "Reject all",
]
DIRECT = {
    "warning": [
        "The health agency warned that the tablets could damage the liver.",
        "Moscow threatened to cut gas supplies unless the debt was paid by Friday.",
        "The minister urged the neighbouring state not to sell the missiles.",
    ],
    "denial": [
        "The chairman denied that he had ever met the lobbyist.",
        '"It is a lie from beginning to end," the governor told reporters.',
        "The army dismissed reports of a massacre as baseless.",
    ],
    "allegation": [
        "The lawsuit says the company hid the test results for six years.",
        "The opposition accused the president of funnelling aid money to his cousins.",
        "The newspaper reported that the leader is ready to conclude a secret arms deal.",
    ],
    "background": [
        "The two ministers met for three hours on Tuesday.",
        "A judge denied him bail and set the trial for May.",
        "Sanctions were imposed on the country in 2014.",
    ],
}
pytestmark = [
    pytest.mark.bundle,
    pytest.mark.skipif(not (BUNDLE / "bundle.json").exists(), reason="no models/stance; make train first"),
]


@pytest.fixture(scope="module")
def classifier():
    loaded = Classifier.load(BUNDLE)
    if loaded.manifest["config"]["trainer"]["max_steps"] > 0:
        pytest.skip("models/stance was trained for a fixed few steps; make train first")
    return loaded


def test_page_furniture_is_background(classifier):
    found = {text: p.label for text, p in zip(FURNITURE, classifier.predict(FURNITURE), strict=True)}
    assert set(found.values()) == {"background"}, found


def test_direct_cases_get_their_label(classifier):
    cases = [(text, label) for label, texts in DIRECT.items() for text in texts]
    predictions = classifier.predict([text for text, _ in cases])
    wrong = [(text, p.label) for (text, label), p in zip(cases, predictions, strict=True) if p.label != label]
    assert not wrong
