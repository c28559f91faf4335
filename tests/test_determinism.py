"""A label depends on its sentence alone: neither on the batch size, nor on the order, nor on the neighbours.

That the same seed gives the same weights, bit for bit, is shown by test_training.py and, for a training that was killed
and went on, by test_resume.py.
"""

import pytest
from conftest import SENTENCES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from allegedly.classifier import Classifier

KNOWN = [text for texts in SENTENCES.values() for text in texts]
WORDS = sorted({word for text in KNOWN for word in text.split()})
SENTENCE = st.one_of(
    st.sampled_from(KNOWN),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=40).map(" ".join),  # longer than the limit too
    st.text(max_size=60),
)


@pytest.fixture(scope="module", params=["cpu", "torch"])
def classifier(request, tiny_bundle):
    from dataclasses import replace

    from allegedly import backends

    loaded = Classifier.load(tiny_bundle, device="cpu")
    if request.param == "torch":
        return replace(loaded, backend=backends.torch_backend(tiny_bundle, device="cpu"))
    return loaded


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(SENTENCE, min_size=1, max_size=24), st.data())
def test_neither_batch_size_nor_order_changes_a_prediction(classifier, texts, data):
    alone = [classifier.predict([text], batch_size=1)[0] for text in texts]
    order = data.draw(st.permutations(range(len(texts))))
    size = data.draw(st.one_of(st.none(), st.integers(1, 40)))
    together = classifier.predict([texts[i] for i in order], batch_size=size)
    for i, prediction in zip(order, together, strict=True):
        assert list(prediction.probabilities.values()) == pytest.approx(list(alone[i].probabilities.values()), abs=1e-5)
        ranked = sorted(alone[i].probabilities.values())
        assert prediction.label == alone[i].label or ranked[-1] - ranked[-2] < 2e-5
