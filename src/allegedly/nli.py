"""A YAML file that names a checkpoint of others in, a judge of claims out: any NLI model in Hugging Face format.

    judge = load("configs/verifier/hub.yaml")
    judge.predict([("The dam held.", "On Monday the dam burst.")])

Evidence is the premise, the claim the hypothesis. The checkpoint's labels become verdicts as the file says, and where
several become the same one, their probabilities are added. Weights are safetensors alone; no code of theirs is run.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from yaml import YAMLError

from allegedly import backends, bundle, calibration, encoders, encoding
from allegedly.classifier import Prediction
from allegedly.config import VerifierConfig
from allegedly.errors import InputError
from allegedly.labels import VERDICTS

BATCH_TOKENS = {"cpu": 2048, "accelerator": 16384}


def load(path: str | Path, *, device: str = "auto", threads: int | None = None) -> "NliModel":
    """Open the checkpoint that a YAML file describes, see `read`, on ``device``.

    Raises InputError for a file that is none, a checkpoint that cannot be fetched, is not the one described, is no
    trained sequence classifier or would run code, labels that it does not have, or a device that is not there.
    """
    config = read(path)
    device = backends.choose_device(device)
    folder = checked(config, where=str(path))
    transformers.logging.disable_progress_bar()  # of loading weights
    transformers.logging.set_verbosity_error()  # weights that are missing are said below, in one line
    if threads and device == "cpu":
        torch.set_num_threads(threads)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model, found = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=_precision(device), local_files_only=True, use_safetensors=True, trust_remote_code=False,
            output_loading_info=True, ignore_mismatched_sizes=True,
        )  # fmt: skip
    except (OSError, ValueError, ImportError, KeyError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: {config.path} cannot be opened ({reason}); take another checkpoint") from None
    untrained = sorted([*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])])
    if untrained:  # transformers fills them with random numbers
        raise InputError(
            f"{path}: {config.path} holds no weights for {', '.join(untrained)}; take a checkpoint that was trained to "
            "classify pairs"
        )
    names = [model.config.id2label[i] for i in range(model.config.num_labels)]
    return NliModel(tokenizer, model.to(device).eval(), _to_verdicts(config, names, where=str(path)), config)


def read(path: str | Path) -> VerifierConfig:
    """Read and check a YAML file: plain data with the keys of `VerifierConfig`. Raises InputError naming the key."""
    try:
        given = OmegaConf.merge(OmegaConf.structured(VerifierConfig), OmegaConf.load(path))
        missing = sorted(OmegaConf.missing_keys(given))
        if missing:
            raise InputError(f"{path}: gives no {', '.join(missing)}; see configs/verifier/hub.yaml")
        config = OmegaConf.to_object(given)
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException, ValueError, TypeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: cannot be used ({reason}); see configs/verifier/hub.yaml") from None
    for label, verdict in config.labels.items():
        if verdict not in VERDICTS:
            raise InputError(f"{path}: labels.{label}: {verdict!r} is not one of {', '.join(VERDICTS)}")
    if VERDICTS[-1] not in config.labels.values():  # else every sentence would count as relevant
        raise InputError(f"{path}: labels: none means {VERDICTS[-1]}; name the one that leaves a claim open")
    if not config.temperature > 0:
        raise InputError(
            f"{path}: temperature: {config.temperature} must be above zero; 1 leaves the scores as they are"
        )
    if config.max_length < 16:
        raise InputError(f"{path}: max_length: {config.max_length} is too small; give at least 16")
    return config


def checked(config: VerifierConfig, *, where: str) -> Path:
    """The checkpoint's folder, fetched if need be, once it is known to hold plain data and the weights described."""
    folder = encoders.fetch(config.path, config.revision, prefix=f"{where}: ")
    try:
        data = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tokenizer = folder / "tokenizer_config.json"
        also = json.loads(tokenizer.read_text(encoding="utf-8")) if tokenizer.is_file() else {}
    except (OSError, ValueError) as error:
        raise InputError(
            f"{where}: {config.path} has no readable config.json ({error}); take a whole checkpoint"
        ) from None
    if "auto_map" in data or "auto_map" in also:
        raise InputError(f"{where}: {config.path} asks to run code that came with it (auto_map); take another model")
    weights = folder / encoders.WEIGHTS
    if not weights.is_file():
        raise InputError(f"{where}: {config.path} holds no {encoders.WEIGHTS}; pickled weights are not loaded")
    if config.sha256 and bundle.digest(weights) != config.sha256:
        raise InputError(f"{where}: {weights} has another sha256 than the file gives; fetch it again")
    return folder


def _precision(device: str) -> torch.dtype:
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.float32 if device == "cpu" else torch.float16


def _to_verdicts(config: VerifierConfig, names: Sequence[str], *, where: str) -> np.ndarray:
    """Which label becomes which verdict: ones in an array of shape (n_labels, n_verdicts)."""
    if sorted(names) != sorted(config.labels):
        raise InputError(
            f"{where}: labels: names {', '.join(config.labels)}, but {config.path} has {', '.join(names)}; name these"
        )
    return np.array([[float(config.labels[name] == verdict) for verdict in VERDICTS] for name in names])


@dataclass(frozen=True)
class NliModel:
    """A loaded checkpoint; `load` makes one. It judges as `allegedly.verification.Judge` asks."""

    tokenizer: Any
    model: torch.nn.Module
    to_verdicts: np.ndarray
    config: VerifierConfig

    @property
    def max_length(self) -> int:
        return self.config.max_length

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens that each text takes of `max_length`."""
        found = self.tokenizer([encoding.clean(text) for text in texts], add_special_tokens=False, verbose=False)
        return [len(ids) for ids in found["input_ids"]]

    @torch.inference_mode()
    def predict(self, texts: Sequence[tuple[str, str]]) -> list[Prediction]:
        """The verdict on each claim with its evidence, in order; texts of like length are read together."""
        pairs = [(encoding.clean(claim), encoding.clean(evidence)) for claim, evidence in texts]
        if not self.config.claim_first:
            pairs = [(evidence, claim) for claim, evidence in pairs]
        logits = np.zeros((len(pairs), len(self.to_verdicts)))
        order = sorted(range(len(pairs)), key=lambda i: -sum(map(len, pairs[i])))
        device = next(self.model.parameters()).device
        while order:
            longest = min(self.max_length, max(self.lengths([" ".join(pairs[order[0]])])) + 4)
            size = max(1, BATCH_TOKENS["cpu" if device.type == "cpu" else "accelerator"] // longest)
            chosen, order = order[:size], order[size:]
            first, second = zip(*(pairs[i] for i in chosen), strict=True)
            batch = self.tokenizer(
                list(first), list(second), truncation="longest_first", max_length=self.max_length, padding=True,
                return_tensors="pt",
            )  # fmt: skip
            logits[chosen] = self.model(**batch.to(device)).logits.float().cpu().numpy()
        rows = calibration.apply(logits, self.config.temperature) @ self.to_verdicts
        return [_prediction(dict(zip(VERDICTS, row.tolist(), strict=True))) for row in rows]


def _prediction(probabilities: dict[str, float]) -> Prediction:
    verdict = max(probabilities, key=probabilities.__getitem__)
    return Prediction(verdict, probabilities[verdict], probabilities)
