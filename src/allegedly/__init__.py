"""Sentence by sentence: who warns, who denies, who alleges, and what is background.

>>> from allegedly import Classifier, split
>>> classifier = Classifier.load("models/stance")  # doctest: +SKIP
>>> classifier.predict([s.text for s in split("The ministry denied it. Rain fell.")])  # doctest: +SKIP
[Prediction(label='denial', ...), Prediction(label='background', ...)]
"""

from allegedly.classifier import Classifier, Prediction
from allegedly.labels import LABELS
from allegedly.sentences import Sentence, split
from allegedly.version import VERSION

__version__ = VERSION
__all__ = ["LABELS", "Classifier", "Prediction", "Sentence", "split"]
