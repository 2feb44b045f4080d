"""The form of an intent: the letters of all scripts it may be written in, and how a text is brought into it."""

import unicodedata
from functools import cache

import regex

from bundlewise.scripts import plain_forms
from bundlewise.titles import clean

INTENT_WORDS = 6
LONGEST_WORD = 24
"""Letters of a word, and of an intent in a script that puts no spaces between words."""
_UNSEEN = r"\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
"""Letters and marks that nobody can see."""
_OTHER = rf"&&[^\x00-\x7f{_UNSEEN}]]"
_BEGINNING = rf"[[\p{{L}}{_OTHER}]"
_LETTER = rf"[a-z'\-[\p{{L}}\p{{M}}{_OTHER}]"
_SIGN = rf"[a-z0-9'\-[\p{{L}}\p{{M}}\p{{Nd}}{_OTHER}]"
_UNSPACED = (
    r"[[\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}&&\p{L}]" rf"&&[^{_UNSEEN}]]"
)
_JOINER = "[\u200c\u200d]?"
"""What shapes words of Persian and Hindi; between other letters the reader of an answer leaves it out."""
FIRST_WORD = rf"([a-z]{_LETTER}|{_BEGINNING})({_JOINER}{_LETTER}){{0,{LONGEST_WORD - 2}}}"
INTENT = (
    rf"({FIRST_WORD}( ({_JOINER}{_SIGN}){{1,{LONGEST_WORD}}}){{1,{INTENT_WORDS - 1}}}"
    rf"|{_UNSPACED}({_JOINER}{_SIGN}){{1,{LONGEST_WORD - 1}}})"
)
"""Two to six words without capitals of Latin, or one run of a script without spaces; no other signs."""
CLASSES = {"FIRST": _BEGINNING, "LETTER": _LETTER, "SIGN": _SIGN, "UNSPACED": _UNSPACED}
"""The sets of letters in the pattern, by names for grammars that cannot name a script."""

_LAST = 0x32000
"""Above it there are no letters but invisible ones."""
_WORD = regex.compile(rf"{_SIGN}(?:{_JOINER}{_SIGN})*", regex.V1)
_TAUGHT = regex.compile(rf"(?:[a-z0-9]|{_BEGINNING}|[\p{{Nd}}--[0-9]])(?:{_JOINER}{_SIGN})*", regex.V1)
_ADMITTED = regex.compile(rf" ?({INTENT})", regex.V1)
_CUT = regex.compile(rf" ?({FIRST_WORD})", regex.V1)


def said(text: str) -> str:
    """Return an intent as a student or a server wrote it: words of letters and digits alone, six at most."""
    found = _bounded(_WORD.findall(_composed(text)))
    return found if any(map(str.isalnum, found)) else ""


def taught(text: str) -> str:
    """Return an annotated intent in the form the student writes; no word begins with a mark of punctuation."""
    return _bounded(_TAUGHT.findall(_composed(text)))


def admitted(text: str, cut: bool) -> str:
    """Return what the form admits at the beginning of a line, of which one word is enough where tokens ran out."""
    line = unicodedata.normalize("NFC", text.partition("\n")[0])
    found = _ADMITTED.match(line) or (_CUT.fullmatch(line.rstrip("\ufffd")) if cut else None)
    return said(found[1]) if found else ""


@cache
def ranges(name: str) -> str:
    """Return the set of letters of a name as ranges of characters; unassigned ones may stand in them."""
    letters, known = "".join(map(chr, [*range(0x80, 0xD800), *range(0xE000, _LAST)])), CLASSES[name]
    runs = regex.findall(rf"{known}++(?:\p{{Cn}}++{known}++)*+", letters, regex.V1)
    # As they are: servers differ in the escapes that they read.
    spelt = "".join(run if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    plain = "".join(filter(regex.compile(known, regex.V1).fullmatch, "0123456789'"))
    return f"[{'a-z' if regex.fullmatch(known, 'a', regex.V1) else ''}{plain}{spelt}{'-' if plain else ''}]"


def _composed(text: str) -> str:
    lower = plain_forms(clean(text)).replace("\u2019", "'").lower()
    return unicodedata.normalize("NFC", lower)


def _bounded(words: list[str]) -> str:
    """Return the first words, each of a bounded length; what is cut there ends with no joiner."""
    return " ".join(word[:LONGEST_WORD].rstrip("\u200c\u200d") for word in words[:INTENT_WORDS])
