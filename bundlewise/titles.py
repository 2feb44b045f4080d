"""Titles as shops write them, cleaned the same way wherever they come in: entities decoded, invisible letters gone."""

import html
import re
import unicodedata
from collections.abc import Iterable

MAX_TITLE = 1_000
"""Characters that a product's title may have, wherever it comes from."""
LONGEST = 4_000
"""Characters that a message or a search may have, whichever way it comes in."""

_AMPERSANDS = re.compile(r"&(?:(?:amp|AMP|#0{0,5}38|#[xX]0{0,4}26);)+")
"""An ampersand that was encoded once or several times over."""
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
"""A whole entity: without its semicolon, `rock&region` would hold a registered trade mark."""
_ROUNDS = 4
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufeff\uffa0\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)
"""What has no width and changes no letter beside it; marks that turn the direction of writing are among them."""
_JOINERS = re.compile("(?<![^\x00-\x7f])[\u200c\u200d]+|[\u200c\u200d]+(?![^\x00-\x7f])")
"""Joiners beside plain letters or at an end; between others they shape words of Persian, Hindi, and emoji."""


def clean(text: str) -> str:
    """Return a title or an intent as it is meant; cleaned text stays as it is.

    HTML entities are decoded, those that were encoded twice too. What has no width is left out, control characters
    and runs of blanks become one blank.
    """
    if text.isascii() and "&" not in text and text.isprintable():
        return " ".join(text.split())
    text = _seen(text)
    text = _seen(_decoded(text)) if "&" in text else text
    return " ".join("".join(" " if unicodedata.category(c) == "Cc" else c for c in text).split())


def is_named(title: str) -> bool:
    """Say whether a title names anything: it has a letter, a digit or a symbol, an emoji for example."""
    return any(_is_telling(unicodedata.category(letter)) for letter in title if letter != "\ufffd")


def title_fault(title: str) -> str:
    """Return what is wrong with a title, with the remedy; nothing where it can be used."""
    cleaned = clean(title)
    if not cleaned:
        return "title is empty; write the product's title"
    if not is_named(cleaned):
        return f"title {cleaned[:40]!r} names nothing; write the product's title"
    if len(cleaned) > MAX_TITLE:
        return f"title has {len(cleaned):,} characters; shorten it to {MAX_TITLE:,} or fewer"
    return ""


def titles_fault(titles: Iterable[str]) -> str:
    """Return the fault of the first title that cannot be used, by its number; nothing where all can be used."""
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
