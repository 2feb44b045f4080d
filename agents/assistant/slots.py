"""The slots of what a shopper names: pieces, places in a list, superlatives; the rest is text."""

import re
from dataclasses import dataclass
from functools import lru_cache

from bundlewise.agents.assistant.conversation import MOST_PIECES, Order
from bundlewise.agents.assistant.mentions import COUNTS, MOST_PLACES, numbers_in
from bundlewise.agents.assistant.phrases import COUNT, Phrases
from bundlewise.text import UNITS

MEASURES = frozenset({"meter", "meters", "metre", "metres", "feet", "foot", "inches", "watt", "watts", "volt", "volts"})
"""Units that shoppers and titles may spell differently."""
_NOUNS = r"(?:ones?|products?|items?|of (?:the|them|these|those|all)|in (?:my|the) (?:cart|list))"
_LEADING = re.compile(
    rf"(?:just |only )?(?:a )?(?P<n>{COUNT}|another)(?P<x> ?x\b| ?\u00d7| times| pieces?| pcs)?(?P<more> more)?"
    r"(?P<of> of)?(?: (?:the|these|those|number))?(?P<rest>(?: .*)?)"
)
_TRAILING = re.compile(rf"(?P<rest>.+?)[ ,]+(?:(?P<twice>twice)|x ?(?P<x>[0-9]{{1,3}})|(?P<n>{COUNT}) ?(?:x|times))")
_NOT_COUNTED = frozenset({"and", "or", "to", "per", "in", "with", "for", "port", "way", "pack", "inch", "star", "nd"})


@dataclass(frozen=True)
class Slots:
    """What a text names: places in a list, the `top` cheapest or dearest, pieces of each, and further words."""

    text: str
    numbers: tuple[int, ...] = ()
    order: Order = ""
    top: int = 1
    count: int | None = None

    def fields(self) -> dict[str, object]:
        """Return the slots as fields of an action."""
        return {
            "text": self.text,
            "numbers": self.numbers,
            "order": self.order,
            "top": self.top,
            "count": self.count,
        }


def slots_in(what: str, phrases: Phrases) -> Slots:
    """Return the slots of what a shopper names; quantities are read before places: `2 of the first`."""
    what = what.removeprefix("of ")
    if numbers := numbers_in(what):
        return Slots(what, numbers)
    count, rest = _counted(what)
    if match := _superlatives(phrases).search(rest):
        order: Order = phrases.superlatives[match["superlative"]]
        left = re.sub(rf"^(?:the|of the|both of the)\b|\b{_NOUNS}(?=$| )", "", _cut(rest, match)).strip()
        beside = match["a"] or match["b"] or ("2" if "both" in what.split() else "")
        top = number_of(beside) if beside else 1
        if count and not beside and (left.endswith("s") or rest.endswith("ones")):
            top, count = count, None
        left = re.sub(r"^(?:both|of|the|all)(?:\s+|$)", "", left).removeprefix("the ").strip()
        return Slots(left, order=order, top=min(max(1, top), MOST_PLACES), count=count)
    return Slots(rest, numbers_in(rest) if count is not None else (), count=count)


def number_of(said: str) -> int:
    """Return the number that a count names: `3`, `three`, `a couple`."""
    return 1 if said == "another" else COUNTS.get(said) or int(said)


def _cut(text: str, match: re.Match[str]) -> str:
    return " ".join(f"{text[: match.start()]} {text[match.end() :]}".split())


def _counted(what: str) -> tuple[int | None, str]:
    """Return the pieces that a text asks for, and the rest; None where the number is a place or a measure."""
    if match := _TRAILING.fullmatch(what):
        said = match["x"] or match["n"] or "2"
        return min(number_of(said), MOST_PIECES), match["rest"]
    match = _LEADING.fullmatch(what)
    if match is None:
        return None, what
    rest = match["rest"].strip()
    first, count = rest.split(" ")[0] if rest else "", min(number_of(match["n"]), MOST_PIECES)
    if match["more"] or match["n"] == "another" or (rest and (match["x"] or match["of"])):
        return count, "it" if rest in ("", "one", "ones") else rest
    if not rest or first in _NOT_COUNTED | UNITS | MEASURES or len(first) == 1 or first in ("of", ","):
        return None, what
    plural = rest.endswith("s") and not rest.endswith("ss") and first not in COUNTS
    return (count, rest) if plural and match["n"] != "one" else (None, what)


@lru_cache(8)
def _superlatives(phrases: Phrases) -> re.Pattern[str]:
    said = "|".join(map(re.escape, sorted(phrases.superlatives, key=len, reverse=True))) or "(?!)"
    return re.compile(rf"\b(?:the )?(?:(?P<a>{COUNT}) )?(?P<superlative>{said})(?: (?P<b>{COUNT}))?\b")
