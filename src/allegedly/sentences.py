"""Takes the text of a news article and gives its sentences in order, each with its place in the text:
`split("Gen. Ryder spoke. He left.")` is `[Sentence("Gen. Ryder spoke.", 0, 17), Sentence("He left.", 18, 26)]`.

A sentence is the slice `text[start:end]`, untouched, so line breaks inside it are kept. It never begins or ends
with white space or an invisible character (zero-width space, byte order mark); everything else in the text is
in exactly one sentence.

The work is done in two steps. `passages` cuts the text where a line break ends a sentence whatever the words say
(a blank line, a headline, a list item, a menu); `cuts` finds the full stops that end a sentence in what remains.
Every step looks only a fixed distance around one place, so the time grows with the length of the text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import median


@dataclass(frozen=True)
class Sentence:
    """One sentence and where it stands: `source[start:end] == text`."""

    text: str
    start: int
    end: int


def words(listing: str) -> frozenset[str]:
    return frozenset(listing.split())


# Always followed by more of the same sentence: titles, ranks and the like before a name.
TITLES = words("""
    Mr Mrs Ms Mx Messrs Mme Mlle Dr Prof Rt Hon Rev Fr Msgr Sen Sens Rep Reps Gov Govs Pres Amb Atty Supt Insp Det
    Gen Brig Maj Lt Col Cmdr Cdr Capt Cpl Sgt Pvt Pfc Adm Spc Mt Ft Pt Asst Assoc Dep
""")

# Always followed by more of the same sentence: small words of learned and legal prose.
LINKS = words("v vs cf viz ca e.g i.e approx incl")

# Go on when a number follows ("No. 10", "Fig. 2", "Jan. 6"); otherwise they are ordinary words.
NUMBERED = words("No Nos no nos Fig Figs Vol Vols Ch Sec Art Arts Para Pp pp p Op Rs Eq Ex Rte")

# Dates: go on when a number follows or when a name does, but may end a sentence ("fell in Nov. The bank said").
DATES = words("Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec Mon Tue Tues Wed Thu Thur Thurs Fri Sat")

# May stand before a name or at the end of a sentence, which only the next word can tell: firms, degrees, streets.
EITHER = words("""
    Inc Corp Co Cos Ltd Plc PLC Bros Jr Sr Esq Ph.D PhD St Ste Ave Blvd Rd Hwy Pl Sq Univ Dept Assn Intl Natl Mfg
    etc al est Est
""")

# American states and the capital as newspapers shorten them. After "Tucson, " or "R-" they close a place or a party.
PLACES = words("""
    Ala Ariz Ark Calif Colo Conn Del D.C Fla Ga Ill Ind Kan Ky La Mass Md Mich Minn Miss Mo Mont N.C N.D N.H N.J N.M
    N.Y Neb Nev Okla Ore Pa R.I S.C S.D Tenn Tex Va Vt W.Va Wash Wis Wyo Ont Que Alta Sask
""")

# Hours of the day, and what may follow them inside a sentence.
HOURS = words("a.m p.m A.M P.M am pm")
AFTER_HOURS = DATES | words("""
    Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February March April May June July August
    September October November December EST EDT ET CST CDT CT MST MDT MT PST PDT PT GMT BST UTC CET CEST AEST
    Eastern Central Mountain Pacific Greenwich Moscow Kyiv London Beijing Tokyo
""")

# Before a single letter these make it a label, not an initial: "vitamin D. Researchers", "Plan B. The".
LABELS = words("""
    Plan Vitamin vitamin Hepatitis hepatitis Influenza influenza Group Class Grade Type type Section Exhibit Schedule
    Appendix Annex Terminal Gate Ward Zone Block Phase Category Series Serie Formula Option Generation
""")

# Years: end a sentence after a number ("400 B.C. Looters found it"); without one they are initials ("B.C. Premier").
ERAS = words("B.C B.C.E C.E A.D BC BCE CE AD")

# Names that carry their own exclamation or question mark.
SHOUTED = words("Yahoo Yum Jeopardy Oklahoma Joomla Panic Guess")

# Words that begin sentences and hardly ever the second half of a name: after an abbreviation they settle the matter.
OPENINGS = words("""
    A An The This That These Those I He She It We You They There Here His Her Its Their Our My Your
    In On At By For From With Without Under Over To Of As After Before Since Until During Despite Among Because
    But And Or So Yet Then Now If When While Although Though Once However Meanwhile Instead Still Later Earlier Also
    What Who Why How Where Which Whether Not No Nobody Nothing Neither None Some Many Most Several Few Another Other
    Others Both All Each Every Asked According Only Even Such About
    Officials Police Critics Prosecutors Authorities Investigators Lawmakers Analysts Experts Economists Residents
    Witnesses Researchers Scientists Supporters Opponents Protesters Shares Voters
""")

# Verbs that give a question or a cry to its speaker: '"Why now?" Harlan Webb asked.'
SPEAKING = "said|says|asked|asks|wrote|writes|tweeted|posted|shouted|yelled|cried|added|told|wondered|replied|joked"

# Words that leave a line of prose hanging, so that the next line goes on with it.
HANGING = words("a an the of to in on at by for from with and or but that as is are was were be its his her their than")

INVISIBLE = "\u00ad\u180e\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
BLANK = "".join(char for char in map(chr, range(0x3001)) if char.isspace()) + INVISIBLE
GAP = rf"[\s{INVISIBLE}]"

STOPS = ".!?…。！？؟।"
ENDINGS = tuple(STOPS)
INNER = tuple(",;:.!?…%&/)]}»–—-")  # after a gap these go on with the sentence
CLOSINGS = "\"'”’»)]}*†"
QUOTES = frozenset("\"'“‘„”’«»")
OPENERS = "\"'“‘„«([{¿¡*_"

LINE_ENDS = r"\n\r\v\f\x1c-\x1e\x85\u2028\u2029"
LINE = re.compile(rf"[^{LINE_ENDS}]+")
LINE_BREAK = re.compile(rf"\r\n|[{LINE_ENDS}]")

# Each pattern below that is searched for always matches in full what it starts on, so no place is read twice.
# Possessive: where marks run on for megabytes, a way back to each of them would be kept.
STOP = re.compile(rf"[{STOPS}](?:[{STOPS}{re.escape(CLOSINGS)}]++|\[\d{{1,3}}\])*+(?:{GAP}?»)?(?P<gap>{GAP}*+)")
NEXT = re.compile(rf"[{re.escape(OPENERS)}]{{0,4}}(?P<word>\S{{0,40}})")
LETTERS = re.compile(r"[^\W\d_]+")
INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
ADDRESS = re.compile(r"https?://|www\.|[\w.+-]{1,40}@\w")
MARKER = re.compile(r"\(?(?:\d{1,3}|[A-Za-z])[.)]")
BULLET = re.compile(rf"[•‣◦▪●○■□·►▶✓✔➤*]{GAP}|\(?\d{{1,3}}[.)]{GAP}|\(?[a-z]\){GAP}")
DASHED = re.compile(rf"[-–—+]{GAP}")
SPEAKER = re.compile(rf"(?:[A-Z][\w.'’-]{{0,30}}\s){{1,4}}(?:{SPEAKING})\b")

LONGEST_WRAP = 140  # lines beyond this many characters are whole paragraphs, not hard-wrapped prose


def split(text: str) -> list[Sentence]:
    """Takes the text of an article; gives its sentences in order, none of them blank."""
    # In a text without any capital no word would look like the first of a sentence, so it is read as all capitals.
    shape = text.upper() if text.islower() else text
    if len(shape) != len(text):  # "ß" is "SS" in capitals, and the places would shift
        shape = text
    found = []
    for start, end in passages(text):
        for cut in [*cuts(shape, start, end), end]:
            found.extend(trim(text, start, cut))
            start = cut
    return found


def lines(text: str) -> list[Sentence]:
    """Takes text that holds one sentence a line; gives each line that is not blank."""
    return [sentence for line in LINE.finditer(text) for sentence in trim(text, *line.span())]


def trim(text: str, start: int, end: int) -> list[Sentence]:
    """Takes a stretch of text; gives it as one sentence without the blanks around it, or nothing if it is all blank."""
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip(BLANK))
    piece = piece.strip(BLANK)
    return [Sentence(piece, start + left, start + left + len(piece))] if piece else []


# --- lines -----------------------------------------------------------------------------------------------------


def passages(text: str) -> Iterator[tuple[int, int]]:
    """Takes a text; gives the stretches of it that no sentence reaches across, as starts and ends."""
    rows = lines(text)
    joints = [
        (above.text, below.text) if single(text[above.end : below.start]) else None for above, below in pairwise(rows)
    ]
    width = wrapping(joints)
    start = 0
    for row, joint in zip(rows, joints, strict=False):
        if not (joint and continues(*joint, width)):
            yield start, row.end
            start = row.end
    if rows:
        yield start, rows[-1].end


def single(gap: str) -> bool:
    """Takes the blank text between two lines; tells whether the second follows at once, without a blank line."""
    return len(gap) == 1 or len(LINE_BREAK.findall(gap)) == 1


def wrapping(joints: list[tuple[str, str] | None]) -> float:
    """Takes each pair of neighbouring lines of a text, or None where a blank line parts them; gives the width the
    text is wrapped at, or infinity if each line is a paragraph.

    Prose broken at a width has many lines that begin in lower case in the middle of a sentence; other text has few.
    """
    broken, whole = [], 0
    for above, below in filter(None, joints):
        if bulleted(below):
            continue
        if len(above) <= LONGEST_WRAP and lower(below) and above.count(" ") >= 3:
            broken.append(len(above))
        elif not finished(above):
            whole += 1
    return median(broken) if len(broken) > whole / 4 else float("inf")


def continues(above: str, below: str, width: float) -> bool:
    """Takes two neighbouring lines and the wrapping width; tells whether a sentence may go on from one to the other."""
    # A line was broken for want of room only if the next word, with the dash before it, would not have fitted.
    dashed = DASHED.match(below)
    head = " ".join(below[:LONGEST_WRAP].split()[: 2 if dashed else 1])
    full = len(above) <= LONGEST_WRAP and len(above) + 1 + len(head) >= width
    if dashed or bulleted(below):
        return full and not finished(above) and below[0] not in "•*"
    if full or lower(below) and above.count(" ") >= 3 or below[0] in ",.;:!?)%":
        return True
    last = above[-40:].split()[-1]
    if last[-1] == "-":
        return len(last) > 1 and lower(below)
    return last in HANGING or last[-1] == "," or last[-1] == "." and last[:-1] in TITLES


def bulleted(row: str) -> bool:
    """Takes a line; tells whether it is an item of a list."""
    return BULLET.match(row) is not None


def finished(row: str) -> bool:
    """Takes a line; tells whether it ends as a sentence does."""
    return row[-6:].rstrip(CLOSINGS).endswith(ENDINGS)


def lower(word: str) -> bool:
    """Takes a word; tells whether it is written small, as inside a sentence ("iPhone" and addresses are not)."""
    return word[:1].islower() and not word[1:2].isupper() and not ADDRESS.match(word)


# --- full stops ------------------------------------------------------------------------------------------------


def cuts(text: str, start: int, end: int) -> Iterator[int]:
    """Takes a stretch of text; gives the places inside it where one sentence ends and the next begins."""
    for stop in STOP.finditer(text, start, end):
        if stop.end() < end and ends(text, start, stop):
            start = stop.end()
            yield start


def ends(text: str, start: int, stop: re.Match) -> bool:
    """Takes a text, the start of the sentence and a full stop with what trails it; tells whether the sentence ends."""
    mark = stop[0][: len(stop[0]) - len(stop["gap"])].rstrip()
    after = NEXT.match(text, stop.end())
    opening = text[stop.end() : after.start("word")]
    following = after["word"]
    before = text[max(start, stop.start() - 40) : stop.start()]
    word = before.split()[-1] if before and not before[-1].isspace() else ""
    if mark[0] in "。！？":
        return True
    if not stop["gap"]:
        return joined(word, following)
    if lower(following) and (mark[-1] in CLOSINGS or not QUOTES.intersection(opening)):
        return False
    if following.startswith(INNER) and not opening:
        return False
    if stop.start() - start < 40 and MARKER.fullmatch(text[start : stop.start() + 1].strip(BLANK)):
        return False  # "1." alone is the number of a list item, and the item is still to come
    quoted = mark[-1] in QUOTES
    if "!" in mark or "?" in mark:
        if quoted and SPEAKER.match(text[stop.end() : stop.end() + 160]):
            return opens(following)
        return bare(word) not in SHOUTED or opens(following)
    if mark.count(".") > 1 or "…" in mark:
        return first(following) != "I"  # "I just... I can't"
    if "(" in opening and not opens(following):
        quoted, following = False, following.lower()
    return not shortened(word, following, before[: len(before) - len(word)], quoted)


def joined(word: str, following: str) -> bool:
    """Takes the words on both sides of a stop with no space after it; tells whether the space was forgotten."""
    return bare(word).isalpha() and bare(word)[-2:].islower() and len(word) > 1 and opens(following)


def shortened(word: str, following: str, before: str, quoted: bool) -> bool:
    """Takes the word at a full stop, the word after it, the text before it and whether a quotation closes there;
    tells whether the stop only marks an abbreviation."""
    stem = bare(word)
    hyphenated, stem = "-" in stem, re.split(r"[-–—/]", stem)[-1]
    if len(stem) > 1 and stem.isalpha() and (before + word + following).isupper():
        stem = stem.capitalize()  # "SEN. JOHN DOE"
    if stem in TITLES or stem in LINKS:
        return True
    if quoted:
        return False
    number = following[:1].isdigit()
    if stem in NUMBERED:
        return number
    if stem in HOURS:
        return number or first(following) in AFTER_HOURS
    if stem in ERAS and before.rstrip()[-1:].isdigit():
        return False
    if stem in PLACES and (hyphenated or before.rstrip().endswith(",")):
        return following.islower() or first(following) in TITLES and not hyphenated
    if stem in DATES:
        return number or not opens(following)
    if len(stem) == 1 and before[-1:].isspace():
        if set(before.split()[-1:]) & LABELS:
            return False
        if stem == "I" and following[1:2] != ".":
            return False  # "World War I. Germany", "so am I. Berg", but "the office of I. M. Petrov"
    if stem in EITHER or stem in PLACES or INITIALS.fullmatch(stem):
        return not opens(following)
    return False


def bare(word: str) -> str:
    """Takes a word; gives it without the quotation marks and brackets around it."""
    return word.strip(OPENERS + CLOSINGS + INVISIBLE)


def first(word: str) -> str:
    """Takes a word with what clings to it; gives the letters it begins with, "He" for "He's"."""
    letters = LETTERS.match(word)
    return letters[0] if letters else ""


def opens(word: str) -> bool:
    """Takes a word; tells whether it begins a sentence, as "The" and "He's" do and "A." and "All-Star" do not."""
    return first(word) in OPENINGS and word[len(first(word)) :][:1] not in {".", "-"}
