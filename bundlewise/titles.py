"""Clean titles from shops in one way everywhere: decode HTML entities and remove invisible characters."""

import html
import re
import unicodedata
from collections.abc import Iterable

MAX_TITLE = 1_000
"""The most characters of a product's title."""
LONGEST = 4_000
"""The most characters of a message or a search."""

_AMPERSANDS = re.compile(r"&(?:(?:amp|AMP|#0{0,5}38|#[xX]0{0,4}26);)+")
"""An ampersand that was encoded once or several times."""
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
"""An entity with its semicolon; without that condition, `&reg` in `rock&region` would become a trade mark sign."""
_ROUNDS = 4
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufeff\uffa0\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)
"""Characters without width that change no letter beside them, including marks of the writing direction."""
_JOINERS = re.compile("(?<![^\x00-\x7f])[\u200c\u200d]+|[\u200c\u200d]+(?![^\x00-\x7f])")
"""Joiners beside ASCII letters or at an end; between other letters they shape Persian and Hindi words, and emoji."""


def clean(text: str) -> str:
    """Return a title or an intent without artefacts of web pages; clean text stays as it is.

    HTML entities are decoded, even if they were encoded twice. Characters without width are removed. Control
    characters and runs of blanks become one blank.
    """
    if text.isascii() and "&" not in text and text.isprintable():
        return " ".join(text.split())
    text = _seen(text)
    text = _seen(_decoded(text)) if "&" in text else text
    return " ".join("".join(" " if unicodedata.category(c) == "Cc" else c for c in text).split())


def is_named(title: str) -> bool:
    """Say whether a title has a letter, a digit or a symbol such as an emoji."""
    return any(_is_telling(unicodedata.category(letter)) for letter in title if letter != "\ufffd")


def title_fault(title: str) -> str:
    """Return the fault of a title with the remedy; empty if the title can be used."""
    cleaned = clean(title)
    if not cleaned:
        return "title is empty; write the product's title"
    if not is_named(cleaned):
        return f"title {cleaned[:40]!r} names nothing; write the product's title"
    if len(cleaned) > MAX_TITLE:
        return f"title has {len(cleaned):,} characters; shorten it to {MAX_TITLE:,} or fewer"
    return ""


def titles_fault(titles: Iterable[str]) -> str:
    """Return the fault of the first title that cannot be used, with its number; empty if all can be used."""
    faults = (f"title {number}: {fault}" for number, title in enumerate(titles, 1) if (fault := title_fault(title)))
    return next(faults, "")


def _is_telling(category: str) -> bool:
    return category[0] in "LN" or category == "So"


def _seen(text: str) -> str:
    return _JOINERS.sub("", _INVISIBLE.sub("", text))


def _decoded(text: str) -> str:
    for _ in range(_ROUNDS):
        whole = _ENTITY.sub(lambda entity: html.unescape(entity[0]), _AMPERSANDS.sub("&amp;", text))
        if whole == text:
            break
        text = whole
    return text
