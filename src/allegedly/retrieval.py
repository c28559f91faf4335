"""Sentences of documents in; for each claim, those that are likeliest to speak of it out.

Two looks at the same sentences are added: how near their meaning is (cosine of embeddings of "title: sentence") and
which words they share with the claim (BM25). A second, larger encoder may look again at those that come first; their
final order is left to who reads them with the claim, see `allegedly.verification`.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePath

import bm25s
import numpy as np

from allegedly import labelling
from allegedly.embedding import Embedder
from allegedly.reading import Document

LEXICAL_WEIGHT = 0.2  # of BM25, scaled to at most one, beside the cosine; from 0.1 to 0.3 all do alike
SECOND_WEIGHT = 2.0  # of the second encoder's cosine beside that sum
CLAIMS_AT_ONCE = 64  # scores of so many claims are held: 25 MB for 100,000 sentences
LONGEST_TITLE = 120  # characters
ENDS_SENTENCE = re.compile(r"[.!?:;,…][\"'”’»)\]]*$")


@dataclass(frozen=True)
class Passage:
    """One sentence of a document.

    ``index`` counts the sentences of the file as `predict` does, ``start`` and ``end`` are offsets into its extracted
    text; ``title`` is that of the article or, in a file of records (JSONL, CSV), of the record.
    """

    file: str
    index: int
    start: int
    end: int
    text: str
    title: str = ""

    @property
    def titled(self) -> str:
        """The sentence after the title of its document, which tells of whom a sentence speaks that names nobody."""
        return f"{self.title}: {self.text}" if self.title and self.title != self.text else self.text


@dataclass(frozen=True)
class Hit:
    """A place in the list of passages, and how near its passage is to a claim."""

    position: int
    score: float


def passages(documents: Iterable[Document]) -> Iterator[Passage]:
    """The sentences of documents, in order. Records of JSONL and CSV are documents of their own, and have no title
    but their headline; other files without a headline are called by their name."""
    index, title = 0, ""
    for document in documents:
        if not document.start:  # else a further part of the same file
            index, title = 0, ""
        for sentences in labelling.records(document):
            if sentences and (document.rows is not None or not document.start):
                title = headline(sentences[0].text) or ("" if document.rows is not None else name(document.file))
            for sentence in sentences:
                start, end = document.start + sentence.start, document.start + sentence.end
                yield Passage(document.file, index, start, end, sentence.text, title)
                index += 1


def headline(text: str) -> str:
    """The text if it looks like a headline: short, and no full stop at its end.

    >>> headline("Dam holds after flood"), headline("The dam held.")
    ('Dam holds after flood', '')
    """
    return text if len(text) <= LONGEST_TITLE and not ENDS_SENTENCE.search(text.strip()) else ""


def name(file: str) -> str:
    """What a file is called, in words.

    >>> name("archive/flood_report-2024.txt")
    'flood report 2024'
    """
    return "" if file == "-" else re.sub(r"[-_\s]+", " ", PurePath(file).stem).strip()


@dataclass(frozen=True)
class Index:
    """Passages that can be searched; `build` makes one."""

    passages: Sequence[Passage]
    embedder: Embedder
    embeddings: np.ndarray  # float32 (n_passages, width)
    lexical: bm25s.BM25 | None  # None where no passage holds a word that counts
    second: Embedder | None = None

    @classmethod
    def build(cls, passages: Sequence[Passage], embedder: Embedder, second: Embedder | None = None) -> "Index":
        """Embed passages, file by file, or read their embeddings from the cache, and count their words.

        ``second`` embeds nothing yet: it looks at what a search finds.
        """
        files = [[passage.titled for passage in group] for _, group in groupby(passages, key=lambda p: p.file)]
        embeddings = np.concatenate(embedder.embed_groups(files)).astype(np.float32)
        return cls(passages, embedder, embeddings, _lexical([passage.titled for passage in passages]), second)

    def search(self, claims: Sequence[str], k: int) -> list[list[Hit]]:
        """For each claim, in order, the ``k`` passages that are nearest to it (all, if there are fewer), best first."""
        hits = []
        for first in range(0, len(claims), CLAIMS_AT_ONCE):
            some = claims[first : first + CLAIMS_AT_ONCE]
            scores = self.embedder.embed(some) @ self.embeddings.T
            for row, claim in zip(scores, some, strict=True):
                shared = self._shared_words(claim)
                if shared.max() > 0:
                    row += LEXICAL_WEIGHT * shared / shared.max()
                best = np.argpartition(-row, k)[:k] if k < len(row) else np.arange(len(row))
                best = best[np.lexsort((best, -row[best]))]
                hits.append([Hit(int(position), float(row[position])) for position in best])
        return hits if self.second is None else self._again(self.second, claims, hits)

    def _again(self, second: Embedder, claims: Sequence[str], hits: list[list[Hit]]) -> list[list[Hit]]:
        """The same hits in the order that the second encoder gives them, each passage embedded once."""
        positions = sorted({hit.position for near in hits for hit in near})
        rows = dict(zip(positions, second.embed([self.passages[i].titled for i in positions]), strict=True))
        result = []
        for claim, near in zip(second.embed(claims), hits, strict=True):
            seen = [Hit(h.position, h.score + SECOND_WEIGHT * float(claim @ rows[h.position])) for h in near]
            result.append(sorted(seen, key=lambda hit: (-hit.score, hit.position)))
        return result

    def _shared_words(self, claim: str) -> np.ndarray:
        """BM25 of every passage for a claim, float32 (n_passages,)."""
        words = _words([claim])[0]
        if self.lexical is None or not words:
            return np.zeros(len(self.passages), dtype=np.float32)
        return self.lexical.get_scores(words)


def _words(texts: Sequence[str]) -> list[list[str]]:
    return bm25s.tokenize(list(texts), stopwords="en", show_progress=False, return_ids=False)


def _lexical(texts: Sequence[str]) -> bm25s.BM25 | None:
    """Robertson's BM25 as Lucene computes it (Lù 2024, "BM25S", arXiv:2407.03618), scores stored in advance."""
    words = _words(texts)
    if not any(words):
        return None
    found = bm25s.BM25()
    found.index(words, show_progress=False)
    return found
