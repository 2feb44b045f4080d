"""Amounts of money in what shoppers say: figures of any country, number words, currencies; patterns are bounded."""

import re
from contextlib import suppress

from bundlewise.amounts import plain, value_of

SMALL = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEENS = ("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
TENS = ("ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety", "hundred")
SCALES = {"hundred": 100, "thousand": 1000, "grand": 1000, "million": 1_000_000}
NOTES = {"fiver": 5.0, "tenner": 10.0}
NUMBER_WORDS = frozenset((*SMALL, *TEENS, *TENS, *SCALES, *NOTES, "half"))

_CODES = "aed|aud|brl|cad|chf|cny|czk|dkk|eur|gbp|hkd|huf|ils|inr|jpy|krw|mxn|nok|nzd|pln|ron|rub|sar|sek|sgd|usd|zar"
_SIGNS = "[$\u20ac\u00a3\u20b9\u00a5\u20a9\u20aa\u20ab\u20ba\u20bd\u20b1\u0e3f]"
SIGN = rf"(?:(?:us|ca|au|nz|hk|mx|[acrs]) ?\$|{_SIGNS}|(?:{_CODES}|rs|kr|z\u0142|sfr|fr)\b\.?)"
"""A currency before its amount."""
COIN = (
    r"(?:dollars?|bucks|euros?|pounds?|quid|rupees?|francs?|franken|yen|yuan|krone[rn]?|kronor|zloty|zl|z\u0142|reais"
    rf"|rand|{_CODES}|rs|kr|k\u010d|{_SIGNS})"
)
"""A currency behind its amount."""
_FIGURES = (
    r"(?:[0-9]{1,2}(?:,[0-9]{2}){1,3},[0-9]{3}(?:\.[0-9]{1,2})?"  # 1,29,900
    r"|[0-9]{1,3}(?:[ .,'\u2019][0-9]{3}){1,3}(?:[.,][0-9]{1,2})?"  # 1,299.00 and 1.299,00 and 1'299
    r"|[0-9]{1,4} ?[\u20ac$\u00a3] ?[0-9]{2}|[0-9]{1,4} [0-9]{2}"  # 12€99 and 12 99, as price tags have it
    r"|[0-9]{1,7}(?:[.,][0-9]{1,2})?)(?![0-9])(?:,-|\.-|:-|(?<! [24568])k\b)?"  # 4k is a screen
)
_SCALE = "|".join(SCALES)
_LARGE = "|".join((*TEENS, *TENS, *SCALES))
_ANY = "|".join((*SMALL, *TEENS, *TENS, *SCALES))
_TAIL = rf"(?:(?:[ -]|(?<=hundred) and |(?<=thousand) and |(?<=grand) and )(?:{_ANY})\b){{0,7}}"
_SPOKEN = (
    rf"(?:half an? (?:{_SCALE})\b|(?:{'|'.join((*SMALL, *TEENS))}) and a half (?:{_SCALE})\b"
    rf"|(?:an? )?couple (?:of )?(?:{_SCALE})\b|(?:an? )?(?:{'|'.join(NOTES)})\b"
    rf"|(?:an? )?(?:(?:{'|'.join(SMALL)}) (?:{_SCALE})|(?:{_LARGE}))\b{_TAIL}|(?:{'|'.join(SMALL)})(?= ?{COIN}\b))"
)
"""Number words; a small number alone is an amount only beside a currency."""
PRICE = rf"(?P<price>{_FIGURES}|{_SPOKEN})"
MONEY = rf"(?:a )?(?:{SIGN}\s?)?{PRICE}(?:\s?{COIN})?"
CASH = rf"(?:{SIGN}\s?{PRICE}|(?:a )?{PRICE}\s?{COIN})"
"""Money that says so."""


def amount(said: str) -> float | None:
    """Return the number that a shopper's words for an amount stand for; thousands where figures read both ways."""
    text = " ".join(plain(said).replace("-", " ").strip(" ,.:").split())
    if text[:1].isdecimal():
        thousands = text.endswith("k")
        figures = re.sub(r" ?[^0-9.,' ]+ ?", " ", text).strip()
        value = value_of(figures)
        return value * 1000 if value is not None and thousands else value
    return _spoken(re.sub(r"^an? (?=couple|fiver|tenner)", "", text))


def _spoken(text: str) -> float | None:
    """Return the number that words stand for."""
    if text in NOTES:
        return NOTES[text]
    if half := re.fullmatch(r"(?:(?P<whole>.+) and a half|half an?) (?P<scale>\w+)", text):
        whole = _worded(half["whole"]) if half["whole"] else 0.0
        return None if whole is None else (whole + 0.5) * SCALES[half["scale"]]
    return _worded(re.sub(r"^couple (?:of )?", "two ", text))


def _worded(text: str) -> float | None:
    from text_to_num import alpha2digit, text2num

    words = re.sub(r"^an? ", "one ", text).replace("grand", "thousand")
    with suppress(ValueError):
        return float(text2num(words, "en"))
    # Two numbers side by side are units and cents: twelve ninety-nine.
    figures = alpha2digit(words, "en")
    return value_of(figures) if re.fullmatch(r"[0-9 ]+", figures) else None
