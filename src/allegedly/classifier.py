"""Bundle in, Classifier out; sentences, or claims with evidence, in, Predictions out: encoding, backend, calibration.

Classifier.load("models/stance").predict(["The ministry denied that the dam had been mined."])
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from allegedly import backends, bundle, calibration, encoding
from allegedly.encoding import Text
from allegedly.errors import InputError
from allegedly.labels import STANCE, Task

CPU_BATCH_TOKENS = 512  # sixteen sentences or so: what fits the caches of a core, as measured
LENGTH_STEP = 8  # tokens; of 1, 4 and 8 the fastest, warm and cold, and the least in memory, as measured
ACCELERATOR_BATCH_TOKENS = 16384  # not measured
WINDOW = 4096  # sentences sorted by length together: bounds memory, long enough to fill batches evenly
WINDOW_CHARACTERS = 1_000_000  # or so many of their characters, twice what a window of prose has


@dataclass(frozen=True)
class Prediction:
    """The likeliest label of one sentence, its probability, and those of all labels (calibrated, they sum to one)."""

    label: str
    probability: float
    probabilities: dict[str, float]

    def label_set(self, threshold: float) -> tuple[str, ...]:
        """The labels at or above ``threshold``, the likeliest always; see `calibration.label_sets`."""
        held = calibration.label_sets(np.array([[*self.probabilities.values()]]), threshold)[0]
        return tuple(label for label, holds in zip(self.probabilities, held, strict=True) if holds)


@dataclass(frozen=True)
class Classifier:
    """A loaded bundle; `load` makes one."""

    tokenizer: Tokenizer
    backend: backends.Backend
    temperature: float
    manifest: dict[str, Any]
    batch_tokens: int = CPU_BATCH_TOKENS

    @property
    def labels(self) -> list[str]:
        """What it tells apart, in the order of its logits."""
        return self.manifest["labels"]

    @property
    def max_length(self) -> int:
        """Tokens of a text, or of a claim and its evidence together, that it reads; what is longer is cut."""
        return int(self.manifest["max_length"])

    @property
    def label_set_threshold(self) -> float:
        """The probability from which a label belongs to a sentence's set; InputError if none was fitted."""
        try:
            threshold = float(self.manifest["label_sets"]["threshold"])
        except (KeyError, TypeError, ValueError):
            raise InputError(f"label sets: {bundle.MANIFEST} of this model holds none; {bundle.RETRAIN}") from None
        return threshold

    @classmethod
    def load(
        cls,
        folder: str | Path = "models/stance",
        *,
        device: str = "auto",
        threads: int | None = None,
        task: Task = STANCE,
    ) -> "Classifier":
        """Open a bundle for ``task`` on ``device``; raises InputError if the bundle or the device is not usable."""
        device = backends.choose_device(device)
        weights = bundle.CPU_MODEL if device == "cpu" else ("model.safetensors",)
        folder, manifest = bundle.open_folder(folder, verify=(*weights, "tokenizer.json"), task=task)
        return cls(
            tokenizer=encoding.load_tokenizer(folder / "tokenizer.json", max_length=int(manifest["max_length"])),
            backend=backends.open_backend(folder, device=device, threads=threads),
            temperature=float(manifest["temperature"]),
            manifest=manifest,
            batch_tokens=CPU_BATCH_TOKENS if device == "cpu" else ACCELERATOR_BATCH_TOKENS,
        )

    def predict(self, texts: Sequence[Text], *, batch_size: int | None = None) -> list[Prediction]:
        """Label sentences, one Prediction each, in order; ``batch_size`` None takes as many at a time as suits."""
        return list(self.stream(texts, batch_size=batch_size))

    def stream(self, texts: Iterable[Text], *, batch_size: int | None = None) -> Iterator[Prediction]:
        """Label sentences as they come, in order, holding no more than `WINDOW` of them at a time."""
        for window in windows(texts):
            for row in calibration.apply(self.logits(window, batch_size=batch_size), self.temperature):
                probabilities = dict(zip(self.labels, row.tolist(), strict=True))
                label = max(probabilities, key=probabilities.__getitem__)
                yield Prediction(label, probabilities[label], probabilities)

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens that each text takes of `max_length`."""
        return encoding.lengths(self.tokenizer, texts)

    def logits(self, texts: Sequence[Text], *, batch_size: int | None = None) -> np.ndarray:
        """Uncalibrated scores, float32 of shape (n_sentences, n_labels)."""
        logits = np.zeros((len(texts), len(self.labels)), dtype=np.float32)
        encodings = encoding.encode(self.tokenizer, texts)
        batches = encoding.batches(
            encodings,
            batch_size=batch_size,
            batch_tokens=self.batch_tokens,
            step=LENGTH_STEP,
            max_length=self.max_length,
        )
        placed, sent = tee(batches)
        for (positions, _), rows in zip(placed, self.backend(batch for _, batch in sent), strict=True):
            logits[positions] = rows
        return logits


def windows(texts: Iterable[Text]) -> Iterator[list[Text]]:
    """Texts that are encoded together: `WINDOW` of them, or fewer where they are long."""
    window: list[Text] = []
    characters = 0
    for text in texts:
        window.append(text)
        characters += len(text) if isinstance(text, str) else sum(map(len, text))
        if len(window) == WINDOW or characters > WINDOW_CHARACTERS:
            yield window
            window, characters = [], 0
    if window:
        yield window
