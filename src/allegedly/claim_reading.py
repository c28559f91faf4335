"""A file of claims, or an article and what it alleges, in; Claims out, and an InputError for each line that is none."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from allegedly import labelling, reading
from allegedly.classifier import Classifier
from allegedly.errors import InputError

JSONL_SUFFIXES = (".jsonl", ".ndjson")

# "The daily reported on Monday that …": who says it, how, and what. "claims" and "reports" may be nouns ("False claims
# that …"): they count after two words or a pronoun.
FRAME = re.compile(
    r"""(?P<who>[^,;:"“”]{1,80}?\s
        (?:alleg(?:e|es|ed)|claimed|reported|assert(?:s|ed)?|contend(?:s|ed)?|insist(?:s|ed)?|maintain(?:s|ed)?|says?|said
        |charged|testified)
    |(?:he|she|it|[^\s,;:"“”]+\s[^,;:"“”]{1,80}?)\s(?:claims|reports))
    \s(?:on\s\w+\s)?that\s(?P<what>\S.*)""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
# Words before "that" by which it may be that nobody says it, or that who writes takes it for wrong: then all of the
# sentence is the claim. Some of them are harmless at times ("who" in a name); a claim too long does less harm than one
# that nobody made.
NOT_SAID = re.compile(
    r"""\b(?:not|cannot|never|nobody|none|no|nor|neither|few|hardly|scarcely|rarely|without|stopped\sshort
        |refus\w*|declin\w*|den(?:y|ies|ied|ying|ials?)|reject\w*|disput\w*|doubt\w*|retract\w*|withdr[ae]w\w*|avoid\w*
        |fals\w*|wrong\w*|untrue|incorrect\w*|unclear|mistaken\w*|l(?:ie|ied|ies|ying)
        |if|unless|whether|wh(?:o|om|ose|ich|at|en|ere|y)|how|that
        |(?:to|can|could|may|might|must|shall|should|will|would)\s
            (?:have|allege|assert|claim|contend|insist|maintain|report|say)
    )\b|n[’']t\b""",
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True)
class Source:
    """The sentence of an article that alleges a claim: ``start`` and ``end`` are offsets into the extracted text."""

    file: str
    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Claim:
    """What is to be checked.

    id: as given, else the number of the line, counted from 1; in an article the index of the sentence.
    evidence: sentences that came with the claim, None if none did.
    source: where an article alleges it.
    """

    id: str
    text: str
    evidence: tuple[str, ...] | None = None
    source: Source | None = None


def read(path: str) -> Iterator[Claim | InputError]:
    """Read one claim a line, or JSON lines of ``claim`` and, at will, ``id`` and ``evidence``; "-": standard input.

    Told apart by the file's name or, failing that, by a brace that it begins with. A line that cannot be used is
    yielded as an InputError that names it. Raises InputError for a file that cannot be read or holds no line.
    """
    try:
        text = reading.load(path, None).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not text in UTF-8; save it as such") from None
    if not text.strip():
        raise InputError(f"{path}: the file is empty; write one claim a line")
    parse = _from_json if path.endswith(JSONL_SUFFIXES) or text.lstrip().startswith("{") else _from_text
    seen: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: JSON strings may hold U+2028
        if not line.strip():
            continue
        try:
            claim = parse(line.strip(), number)
            if claim.id in seen:
                raise InputError(f"id {claim.id!r} stands in line {seen[claim.id]} already; ids must differ")
            seen[claim.id] = number
            yield claim
        except InputError as error:
            yield InputError(f"{path}:{number}: {error}")


def _from_text(line: str, number: int) -> Claim:
    return Claim(str(number), line)


def _from_json(line: str, number: int) -> Claim:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError(f'is not JSON ({error}); write {{"id": …, "claim": …}}') from None
    if not isinstance(row, dict) or not _is_text(row.get("claim")):
        raise InputError('has no text "claim"; write {"id": …, "claim": …}')
    evidence, name = row.get("evidence"), row.get("id", number)
    if isinstance(name, bool) or not isinstance(name, int | str) or name == "":
        raise InputError('"id" must be a text or a whole number')
    if evidence is not None and not (isinstance(evidence, list) and evidence and all(map(_is_text, evidence))):
        raise InputError('"evidence" must be a list of sentences, none of them blank; leave it out if there is none')
    return Claim(str(name), row["claim"].strip(), None if evidence is None else tuple(evidence))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def alleged(documents: Iterable[reading.Document], classifier: Classifier) -> Iterator[Claim]:
    """What the sentences say that a stance classifier takes for allegations, as claims."""
    for row in labelling.label(documents, classifier):
        if row.label == "allegation":
            yield Claim(str(row.index), content(row.text), source=Source(row.file, row.start, row.end, row.text))


def content(sentence: str) -> str:
    """What is said, without who says it, where a sentence begins with "X alleged that"; else the whole sentence.

    Whether the dam burst is to be checked, not whether a paper says so. The sentence stays whole, too, where it may be
    that nobody says it.

    >>> content("The daily reported that the dam had burst.")
    'The dam had burst.'
    >>> content("Prosecutors accused the governor of fraud.")
    'Prosecutors accused the governor of fraud.'
    >>> content("Officials declined to say that the dam had burst.")
    'Officials declined to say that the dam had burst.'
    """
    sentence = " ".join(sentence.split())
    found = FRAME.fullmatch(sentence)
    if found is None or NOT_SAID.search(found["who"]) or re.search('["“”]|\\?$', found["what"]):
        return sentence
    return found["what"][0].upper() + found["what"][1:]
