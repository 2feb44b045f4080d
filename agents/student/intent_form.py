"""The form of an intent: its letters in all scripts, and the functions that bring a text into the form."""

import unicodedata
from functools import cache

import regex

from bundlewise.scripts import plain_forms
from bundlewise.titles import clean

INTENT_WORDS = 6
LONGEST_WORD = 24
"""The most letters of a word, and of an intent in a script without spaces between words."""
_UNSEEN = r"\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
"""Invisible letters and marks."""
_OTHER = rf"&&[^\x00-\x7f{_UNSEEN}]]"
_BEGINNING = rf"[[\p{{L}}{_OTHER}]"
_LETTER = rf"[a-z'\-[\p{{L}}\p{{M}}{_OTHER}]"
_SIGN = rf"[a-z0-9'\-[\p{{L}}\p{{M}}\p{{Nd}}{_OTHER}]"
_UNSPACED = (
    r"[[\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}&&\p{L}]" rf"&&[^{_UNSEEN}]]"
)
_JOINER = "[\u200c\u200d]?"
"""The joiner characters that Persian and Hindi words need; between other letters `said` removes them."""
FIRST_WORD = rf"([a-z]{_LETTER}|{_BEGINNING})({_JOINER}{_LETTER}){{0,{LONGEST_WORD - 2}}}"
INTENT = (
    rf"({FIRST_WORD}( ({_JOINER}{_SIGN}){{1,{LONGEST_WORD}}}){{1,{INTENT_WORDS - 1}}}"
    rf"|{_UNSPACED}({_JOINER}{_SIGN}){{1,{LONGEST_WORD - 1}}})"
)
"""Two to six words without Latin capitals, or one run of letters in a script without spaces; no other signs."""
CLASSES = {"FIRST": _BEGINNING, "LETTER": _LETTER, "SIGN": _SIGN, "UNSPACED": _UNSPACED}
"""The sets of letters in the pattern, with names for grammars that cannot name a script."""

_LAST = 0x32000
"""The end of the visible letters in Unicode."""
_WORD = regex.compile(rf"{_SIGN}(?:{_JOINER}{_SIGN})*", regex.V1)
_TAUGHT = regex.compile(rf"(?:[a-z0-9]|{_BEGINNING}|[\p{{Nd}}--[0-9]])(?:{_JOINER}{_SIGN})*", regex.V1)
_ADMITTED = regex.compile(rf" ?({INTENT})", regex.V1)
_CUT = regex.compile(rf" ?({FIRST_WORD})", regex.V1)


def said(text: str) -> str:
    """Return the intent in a text by a student or a server: at most six words of letters and digits."""
    found = _bounded(_WORD.findall(_composed(text)))
    return found if any(map(str.isalnum, found)) else ""


def taught(text: str) -> str:
    """Return an annotated intent in the student's form; every word begins with a letter or a digit."""
    return _bounded(_TAUGHT.findall(_composed(text)))


def admitted(text: str, cut: bool) -> str:
    """Return the intent at the beginning of a line; one word is enough if `cut` says that the tokens ran out."""
    line = unicodedata.normalize("NFC", text.partition("\n")[0])
    found = _ADMITTED.match(line) or (_CUT.fullmatch(line.rstrip("\ufffd")) if cut else None)
    return said(found[1]) if found else ""


@cache
def ranges(name: str) -> str:
    """Return a named set of letters as ranges of characters, which may contain unassigned ones."""
    letters, known = "".join(map(chr, [*range(0x80, 0xD800), *range(0xE000, _LAST)])), CLASSES[name]
    runs = regex.findall(rf"{known}++(?:\p{{Cn}}++{known}++)*+", letters, regex.V1)
    # The characters are not escaped, because servers differ in the escapes that they read.
    spelt = "".join(run if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    plain = "".join(filter(regex.compile(known, regex.V1).fullmatch, "0123456789'"))
    return f"[{'a-z' if regex.fullmatch(known, 'a', regex.V1) else ''}{plain}{spelt}{'-' if plain else ''}]"


def _composed(text: str) -> str:
    lower = plain_forms(clean(text)).replace("\u2019", "'").lower()
    return unicodedata.normalize("NFC", lower)


def _bounded(words: list[str]) -> str:
    """Return the first words with a bounded length, without a joiner at the end of a word."""
    return " ".join(word[:LONGEST_WORD].rstrip("\u200c\u200d") for word in words[:INTENT_WORDS])
