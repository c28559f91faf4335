"""A sentence in, why it is no English prose out: another language, a table, code, gibberish; None for what looks fine.

The language is CLD2's guess (`pycld2`: no start-up, a few MB), the rest is told by shape. Rules err on the side of
silence: what is short or mixed passes. Words of English thrown together pass too.
"""

import functools
import re
import unicodedata

REASONS = ("language", "table", "code", "gibberish")

ADDRESS = re.compile(r"\b(?:https?://|www\.)\S+|\S+@\S+|[@#]\w+")
NUMBER = re.compile(r"[-+–−$€£(]{0,3}\d[\d.,:/%)–-]*[a-zA-Z]?")
# One mark of program text each; some stand in prose too, so it takes several. Brackets count where no editor of a
# quotation would put them.
CODE_MARK = re.compile(
    r"""[=!<>+|&:-]=|=>|->|::|\+\+|&&|\|\||[{}<>=;_\\`^~]|\w\[|\[[\]"'(]|\](?=[;:,)(])|\w\(|\)[.;:]|\$[a-zA-Z_{(]|[a-z_]\.[a-z_]|%[sd]\b"""
)
CODE_LINE = re.compile(
    r"""\s*(?: import\s+\w+(\.\w+)*(\s+as\s+\w+)?\s*;?\s*$ | from\s+[\w.]+\s+import\b | def\s+\w+\(
    | class\s+\w+\s*[:({]
    | \#include\b | \#!/ | <[!?/]?[a-zA-Z][^<>]*>.*</?\w+ | <(?:!DOCTYPE|\?php|\?xml) | SELECT\s.+\sFROM\s
    | (?:INSERT\s+INTO|CREATE\s+TABLE|DELETE\s+FROM|UPDATE\s+\w+\s+SET)\b | (?:const|let|var)\s+\w+\s*=
    | (?:public|private|protected|static)\s+\w+\s+\w+ .* [({;]\s*$ | \$\s*(?:sudo|pip|git|cd|curl|npm|docker)\s )""",
    re.X,
)
# Words that English has and other languages hardly do; they keep a sentence full of foreign names from being taken for
# a foreign sentence.
ENGLISH = frozenset(
    """the and that with from his their they were which would could said says this been not have after who is he she it
    was for by about than its told will at what into when has had are but an""".split()  # noqa: SIM905
)


def reason(text: str) -> str | None:
    """Which of `REASONS` keeps ``text`` from being a sentence of English prose; None if none does.

    >>> [reason(text) for text in ("The mayor denied it.", "Der Minister wies die Vorwürfe am Dienstag zurück.")]
    [None, 'language']
    >>> reason("Albania 2.1 -3.5 4.0 2.2"), reason("for (i = 0; i < n; i++) { sum += a[i]; }")
    ('table', 'code')
    """
    if not text.isprintable():  # CLD2 takes no control characters
        text = "".join(c if c == "\t" or c.isprintable() else " " for c in text)
    text = ADDRESS.sub(" ", text)
    words = text.split()
    if not words:
        return None
    if _is_code(text, words):
        return "code"
    if _is_table(text, words):
        return "table"
    letters = [c for c in text if c.isalpha()]
    if not letters:
        marks = sum(not c.isalnum() and not c.isspace() for c in text)
        return "gibberish" if marks > 8 else None
    if not text.isascii() and len(letters) > 3 and sum(not _is_latin(c) for c in letters) > len(letters) / 2:
        return "language"
    plain = [word.strip(".,;:!?\"'()“”‘’").casefold() for word in words]
    share_english = sum(word in ENGLISH for word in plain) / len(words)
    if share_english >= 0.15:
        return None
    language = _language(text)
    if language not in (None, "en", "sco", "un"):  # a short headline is taken for Scots now and then
        return "language"
    if language == "un" and not share_english and _is_gibberish(words):
        return "gibberish"
    return None


def checks_languages() -> bool:
    """Whether the language identifier is installed here; without it other languages pass unless their script tells."""
    return _cld2() is not None


@functools.cache
def _cld2():
    try:
        import pycld2
    except ImportError:
        return None
    return pycld2


def _language(text: str) -> str | None:
    """The code of the language that CLD2 is sure of, ``un`` if of none; None where CLD2 is not installed."""
    if _cld2() is None:
        return None
    lowered = text.lower() if text.isupper() else text
    reliable, _, guesses = _cld2().detect(lowered.encode("utf-8", errors="replace"))
    return guesses[0][1] if reliable else "un"


def _is_code(text: str, words: list[str]) -> bool:
    if CODE_LINE.match(text):
        return True
    marks = len(CODE_MARK.findall(text))
    return marks >= 2 and marks >= 0.4 * len(words)


def _is_table(text: str, words: list[str]) -> bool:
    """Mostly numbers, or cells of one or two words between tabs."""
    cells = [word for word in words if any(c.isalnum() for c in word)]
    numbers = sum(NUMBER.fullmatch(word.strip("|,;*")) is not None for word in cells)
    if numbers >= 4 and numbers >= 0.5 * len(cells):
        return True
    tabs = text.strip().count("\t")
    return tabs >= 2 and len(words) <= 3 * (tabs + 1)


@functools.cache
def _is_latin(character: str) -> bool:
    return "LATIN" in unicodedata.name(character, "") or character in "ªº"


def _is_gibberish(words: list[str]) -> bool:
    """Most words are unspeakable or none can be a word; names and headlines begin with capitals and pass."""
    if any(len(word) > 40 and "-" not in word and "/" not in word for word in words):
        return True
    small = [word for word in words if word[0].islower()]
    return len(words) >= 5 and len(small) >= 0.7 * len(words)
