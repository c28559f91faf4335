"""Documents in, Labelled sentences out, in reading order: joins sentences, classifier and scope."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, tee

from allegedly import scope
from allegedly.classifier import Classifier
from allegedly.labels import UNCERTAIN
from allegedly.reading import Document
from allegedly.report import Labelled
from allegedly.sentences import Sentence, lines, split, trim


def label(
    documents: Iterable[Document],
    classifier: Classifier,
    *,
    one_a_line: bool = False,
    batch_size: int | None = None,
    label_sets: bool = False,
) -> Iterator[Labelled]:
    """Split every document into sentences and label them as they come; a few thousand are held at a time.

    ``one_a_line``: every line of prose, and every record of JSONL and CSV, is one sentence as it stands.
    ``label_sets``: give each its label set; raises InputError for a bundle that was made without.
    """
    threshold = classifier.label_set_threshold if label_sets else None
    found, ahead = tee(_numbered(documents, one_a_line=one_a_line))
    predictions = classifier.stream((sentence.text for _, _, sentence in ahead), batch_size=batch_size)
    for (file, index, sentence), prediction in zip(found, predictions, strict=True):
        row = Labelled.of(file, index, sentence, prediction)
        may_be = None if threshold is None else prediction.label_set(threshold)
        yield replace(row, out_of_scope=scope.reason(sentence.text), label_set=may_be)


def doubt(rows: Iterable[Labelled], *, min_probability: float = 0.0) -> Iterator[Labelled]:
    """Call `uncertain` what is below ``min_probability`` or out of scope; everything else of a row stays."""
    for row in rows:
        unsure = row.probability < min_probability or row.out_of_scope is not None
        yield replace(row, label=UNCERTAIN) if unsure else row


def _numbered(documents: Iterable[Document], *, one_a_line: bool) -> Iterator[tuple[str, int, Sentence]]:
    """(file, index, sentence), counted and placed in the whole file, whose parts follow each other."""
    index = 0
    for document in documents:
        if not document.start:
            index = 0
        for sentence in sentences(document, one_a_line=one_a_line):
            start, end = sentence.start + document.start, sentence.end + document.start
            yield document.file, index, Sentence(sentence.text, start, end)
            index += 1


def sentences(document: Document, *, one_a_line: bool = False) -> Iterator[Sentence]:
    """The sentences of a document; their offsets point into ``document.text``. None reaches across two records."""
    return chain.from_iterable(records(document, one_a_line=one_a_line))


def records(document: Document, *, one_a_line: bool = False) -> Iterator[list[Sentence]]:
    """The sentences of each record; what has no records is one. Offsets point into ``document.text``."""
    if document.rows is None:
        yield lines(document.text) if one_a_line else split(document.text)
        return
    for start, end in document.rows:
        if one_a_line:
            yield trim(document.text, start, end)
        else:
            found = split(document.text[start:end])
            yield [Sentence(sentence.text, start + sentence.start, start + sentence.end) for sentence in found]
