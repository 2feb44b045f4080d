"""The finder of the products that a shopper mentions: by numbers, ordinals, "all", or words of titles with typos."""

import re
from collections.abc import Collection, Sequence
from typing import TypeVar

from bundlewise.agents.assistant.title_words import title_words, words_of
from bundlewise.domain import Item
from bundlewise.text import STOP_WORDS, line

Listed = TypeVar("Listed")
ORDINALS = {
    "first": 1,
    "1st": 1,
    "second": 2,
    "2nd": 2,
    "third": 3,
    "3rd": 3,
    "fourth": 4,
    "4th": 4,
    "fifth": 5,
    "5th": 5,
    "sixth": 6,
    "6th": 6,
    "seventh": 7,
    "7th": 7,
    "eighth": 8,
    "8th": 8,
    "last": -1,
}
COUNTS = {
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "couple": 2,
    "pair": 2,
}
ALL = frozenset({"all", "everything", "both", "these", "those", "them", "it", "this", "that"})
MOST_PLACES = 100
"""The most numbers that a message may name; no list is so long."""
MOST_NAMING = 500
"""The most words of a text to compare with titles; no title has more."""
FILLER = STOP_WORDS | ALL | frozenset({"a", "an", "one", "ones", "my", "some", "please", "thing", "product", "item"})
_COUNT = rf"[0-9]{{1,2}}|{'|'.join(COUNTS)}"
_NUMBERS = re.compile(
    r"(?:(?:the|number|numbers|no|item|items|product|products|option|and|one|ones|#)\s*|[,&]\s*)*"
    rf"(?:(?P<side>first|last|top) (?P<count>{_COUNT})|(?P<number>[0-9]{{1,2}}|{'|'.join(ORDINALS)}))\b"
)
_NUMBER_WORD = re.compile(rf"(?<=\bnumber )({'|'.join(COUNTS)})\b")
_LAST_NOUN = re.compile(r"\s*\b(?:ones|product|products|item|items|of them|(?<!first )(?<!last )one)\s*$")
LONGEST_NOUN = 20
"""The number of characters at the end of a text to search for its last noun."""
_AMOUNT = re.compile(rf"(?:{_COUNT}|a couple|a few|some|any|several)(?: (?:of )?(?:them|these|those|more))?")
_BUNDLES = re.compile(r"(?:the )?bundles? (?:number |no |#)?(?P<after>.+)|(?P<before>.+) bundles?")
AND = re.compile(r"\s*,\s*(?:and\s+)?|\s+and\s+")


def numbers_in(text: str) -> tuple[int, ...]:
    """Return the distinct numbers in a text if it has nothing else: `the first and third`, `1, 2 and 4`."""
    rest = _NUMBER_WORD.sub(lambda match: str(COUNTS[match[1]]), text.strip().lower())
    if is_amount(rest) and not rest.isdecimal():
        return ()
    rest = _without_nouns(rest)
    found: dict[int, None] = {}
    span = re.fullmatch(r"(?:items?|products?|numbers?)?\s*([0-9]{1,2})\s*(?:-|to)\s*([0-9]{1,2})", rest)
    if span:
        return tuple(range(int(span[1]), int(span[2]) + 1))
    while rest:
        match = _NUMBERS.match(rest)
        if not match:
            return ()
        found.update(dict.fromkeys(_places(match)))
        rest = rest[match.end() :].lstrip()
    return tuple(found)[:MOST_PLACES]


def _without_nouns(said: str) -> str:
    """Return a text without `ones` or `products` at its end; `the first one` is a number."""
    while match := _LAST_NOUN.search(said[-LONGEST_NOUN:]):
        said = said[: len(said) - len(match[0])]
    return said


def _places(match: re.Match[str]) -> Sequence[int]:
    if match["side"] is None:
        return [ORDINALS.get(match["number"]) or int(match["number"])]
    size = COUNTS.get(match["count"]) or int(match["count"])
    return range(-size, 0) if match["side"] == "last" else range(1, size + 1)


def is_amount(text: str) -> bool:
    """Say whether a text gives only an amount: `2 of them`, `a few`."""
    return _AMOUNT.fullmatch(text.strip().lower()) is not None


def bundles_in(text: str) -> tuple[int, ...]:
    """Return the numbers of bundles in a text if it has nothing else: `bundle 1`, `the second bundle`."""
    match = _BUNDLES.fullmatch(text.strip().lower())
    if match is None:
        return ()
    said = match["after"] or match["before"]
    return (COUNTS[said],) if said in COUNTS else numbers_in(said)


def at(numbers: Sequence[int], listed: Sequence[Listed]) -> tuple[list[Listed], list[int]]:
    """Return the entries with these numbers, from 1 (-1 is the last), and the numbers without an entry."""
    there = [n for n in numbers if n and -len(listed) <= n <= len(listed)]
    return [listed[n - 1 if n > 0 else n] for n in there], [n for n in numbers if n not in there]


def called(text: str, among: Sequence[Item]) -> list[Item]:
    """Return the products whose titles match a text best; several if they match equally well.

    A word matches if it is in the title, begins a word of it, or is one slip away from one. The list is empty if
    fewer than half of the words match.
    """
    asked = _asked(text)
    if not asked:
        return []
    scores = _scores(asked, among)
    best = max(scores, default=0.0)
    fitting = [item for score, item in zip(scores, among, strict=True) if score == best]
    return fitting if best >= 0.5 * len(asked) and best > 0 else []


def called_wholly(text: str, among: Sequence[Item]) -> list[Item]:
    """Return the products whose titles match every word of a text."""
    fitting, asked = called(text, among), _asked(text)
    held = title_words(tuple(item.title for item in fitting))
    met = [held.meets(word) for word in asked] if fitting else []
    return [item for place, item in enumerate(fitting) if all(place in each for each in met)]


def called_each(text: str, among: Sequence[Item]) -> list[Item]:
    """Return the products in a list such as `the tablet, the case and the pen`; none if a part is not clear."""
    parts = [part for part in AND.split(line(text)) if part.strip()]
    if len(parts) < 2:
        return []
    found: dict[str, Item] = {}
    for part in parts:
        fitting = called(part, among)
        if len(fitting) != 1:
            return []
        found[fitting[0].id] = fitting[0]
    return list(found.values())


def _asked(text: str) -> list[str]:
    """Return the distinct words of a text that may name a product."""
    return list(dict.fromkeys(word for word in words_of(text) if word not in FILLER))[:MOST_NAMING]


def _scores(asked: Sequence[str], among: Sequence[Item]) -> list[float]:
    """Return for each product the number of words that its title matches; a near match counts less."""
    scores, held = [0.0] * len(among), title_words(tuple(item.title for item in among))
    for word in asked:
        for place, score in held.meets(word).items():
            scores[place] += score
    return scores


def ordered(among: Sequence[Item], order: str) -> list[Item]:
    """Return the products with a known price, from the cheapest, or from the dearest if that is the order."""
    priced = [item for item in among if item.price is not None]
    return sorted(priced, key=lambda item: item.price or 0.0, reverse=order == "dearest")


def is_exactly(text: str, item: Item, of_kind: Collection[str]) -> bool:
    """Say whether a title has every word of a text, and one is of its kind or the text ends with `one`."""
    asked, held = _asked(text), set(words_of(item.title))
    described = text.rstrip().endswith(("one", "ones"))
    return bool(asked) and held.issuperset(asked) and (described or bool(set(asked) & set(of_kind)))
