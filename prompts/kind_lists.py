"""Kinds of products in words: plurals, ordinals and lists with equal kinds counted."""

import re
from collections import Counter
from collections.abc import Sequence

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
ORDINALS = ("zeroth", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_UNCOUNTED = re.compile(
    r"\b(?:apparel|candy|chocolate|clothing|cocoa|coffee|corn|equipment|eyewear|flour|footwear|furniture|gear|hardware"
    r"|honey|hosiery|jerky|jewelry|lingerie|memory|milk|oatmeal|oil|pasta|popcorn|ram|rice|salt|seasoning|sleepwear"
    r"|storage|sugar|swimwear|tea|underwear|water|wear)$"
)
"""Last words of kinds that have no plural in use."""


def in_words(count: int) -> str:
    """Return a number in words, or in digits if it is large."""
    return NUMBERS[count] if count < len(NUMBERS) else str(count)


def ordinal(place: int) -> str:
    """Return the ordinal of a place from 1 in words, or in digits if it is large."""
    return ORDINALS[place] if place < len(ORDINALS) else f"{place}th"


def plural(kind: str) -> str:
    """Return a kind in the plural; a kind without a plural becomes `tea products`."""
    if _UNCOUNTED.search(kind):
        return f"{kind} products"
    last = kind.rsplit(" ", 1)[-1]
    if last.endswith("s") and not last.endswith("ss"):
        return kind
    if last.endswith("y") and last[-2:-1] not in "aeiou":
        return f"{kind[:-1]}ies"
    return f"{kind}es" if last.endswith(("ch", "sh", "x", "ss")) else f"{kind}s"


def counted(kinds: Sequence[str]) -> str:
    """Return kinds as a list in words, in their order, with equal kinds counted: `two tablet cases and charger`."""
    counts = Counter(kinds)
    return listed([kind if count == 1 else f"{in_words(count)} {plural(kind)}" for kind, count in counts.items()])


def listed(words: Sequence[str]) -> str:
    """Return words as a list in English, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
