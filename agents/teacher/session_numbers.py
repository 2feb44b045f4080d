"""The finder of product numbers in a text, such as `case 1`, which say nothing to a reader of another session."""

import re
from collections.abc import Sequence
from itertools import takewhile

from bundlewise.agents.teacher.word_lists import set_of

_WORD = re.compile(r"[a-z0-9][a-z0-9'\u2019]*", re.IGNORECASE)
_NUMBER = re.compile(
    r"(?<![\w.$\u20ac\u00a3/-])(?<!\d\sof\s)#?(\d{1,3})(?:s\b)?(?!\w|[.,]\d|\s?%|\s?-[a-z]|/\d|\s?[\"\u2033])",
    re.IGNORECASE,
)
_MEASURE = re.compile(
    r"\s(?:[gmkt]b|inch(?:es)?|f(?:oo|ee)?t|[cm]m|mah|watts?|volts?|m?hz|ghz|megapixels?|mp|oz|ounces?|lbs?|pounds?"
    r"|grams?|kg|ml|liters?|litres?|ct|packs?|pcs|pieces?|ports?|pins?|years?|months?|days?|hours?|minutes?|times"
    r"|generations?|bundles|pairs of|sizes|colou?rs|flavou?rs|products|items|sessions|shoppers)\b",
    re.IGNORECASE,
)
"""Words after a number that make it a quantity."""
_SCALES = set_of("""
    size sizes us uk eu usb hdmi ddr version windows type level gen generation cat category class bluetooth series stage
    aisle plus step vol volume part
""")
"""Words before a number that make it a measure or a version."""
_MODELS = set_of("ipad iphone ipod nano mini air galaxy tab note nexus kindle fire surface xbox pro core max")
_SPELLED = re.compile(r"\b(?:item|product) (?:one|two|three|four|five|six|seven|eight|nine|ten)\b", re.IGNORECASE)
_CHAIN = re.compile(r"(?:\b\d+(?:\s*,\s*(?:and\s+|or\s+)?|\s+(?:and|or|to)\s+|/))+$")
"""Earlier numbers of the same list."""
_GENERAL = re.compile(
    r"\b(?:items?|products?|articles?)\s+(?:nos?\.?\s*|numbers?\s+)?#?\d{1,3}(?!\w|[.,]\d)|(?<!\w)#\d{1,3}(?!\w)",
    re.IGNORECASE,
)


def session_numbers(text: str, titles: Sequence[str]) -> list[str]:
    """Return the places of a text that name a product of its session by number, each with the word before it.

    Numbers of titles (`iPhone 6`), quantities (`2 GB`) and numbers that no product has are not meant.
    """
    names = [[word.lower() for word in _WORD.findall(title)] for title in titles]
    found = [each[0] for each in _SPELLED.finditer(text)]
    for each in _NUMBER.finditer(text):
        until = _CHAIN.sub("", text[: each.start()])
        before = _WORD.findall(until[-40:])
        word = before[-1].lower() if before and not re.search(r"[.,;:(]\s*$", until) else ""
        measured = _MEASURE.match(text, each.end()) or word in _SCALES
        if 1 <= int(each[1]) <= len(titles) and not measured and not _is_name(word, int(each[1]), names):
            found.append(f"{word} {each[0]}".strip())
    return found


def _is_name(word: str, number: int, titles: Sequence[Sequence[str]]) -> bool:
    """Say whether a word with a number after it is a name: a title has both, or it is a model that no title has."""
    for title in titles:
        for place in (place for place, each in enumerate(title) if each == word):
            numbers = [*takewhile(str.isdigit, title[place + 1 :])]
            after = "".join(title[place + 1 + len(numbers) :][:1])
            if str(number) in (numbers[:-1] if _MEASURE.match(f" {after}") else numbers):
                return True
    return word in _MODELS and word not in titles[number - 1]


def general_numbers(text: str) -> list[str]:
    """Return the places of a text about no single session that name products by number, such as `items 1 and 3`."""
    return [each[0] for each in _GENERAL.finditer(text)]
