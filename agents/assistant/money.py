"""The finder of amounts of money in a sentence: number formats of all countries, number words, currencies and cents."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from bundlewise.data.amounts import alike, value_of

SMALL = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEENS = ("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
TENS = ("ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety", "hundred")
SCALES = {"hundred": 100, "thousand": 1000, "grand": 1000, "million": 1_000_000}
NOTES = {"fiver": 5, "tenner": 10}
LARGEST = 1e9
"""The largest amount; nothing costs more."""
MOST_WORDS = 14
"""The most number words of one amount; a longer sequence is ignored."""

_CODES = "aed|aud|brl|cad|chf|cny|czk|dkk|eur|gbp|hkd|huf|ils|inr|jpy|krw|mxn|nok|nzd"
_CODES += "|php|pln|ron|rub|sar|sek|sgd|try|usd|zar"
_SIGNS = "$\u00a3\u00a5\u058f\u060b\u09f2\u09f3\u0af1\u0bf9\u0e3f\u17db\u20a0-\u20c0\ufdfc"
_NATION = "us|u\\.s\\.|american|canadian|australian|new zealand|hong kong|singapore|swiss|french|mexican|british"
_ONE_COIN = ("dollar", "buck", "euro", "pound", "quid", "rupee", "franc", "peso", "rand", "zloty", "lira", "shekel")
_OTHER_COINS = (
    *(
        "franken",
        "yen",
        "yuan",
        "won",
        "krone",
        "kronen",
        "kroner",
        "krona",
        "kronor",
        "koruna",
        "crown",
        "real",
        "reais",
    ),
    *("zl", "z\u0142", "z\u0142otych", "z\u0142ote", "ruble", "rouble", "forint", "baht", "dirham", "riyal", "ringgit"),
    *("naira", "taka", "lei", "leva", "hryvnia", "rupiah", "dong", "dinar", "rs", "kr", "k\u010d"),
    *("\u0440\u0443\u0431", "\u0440\u0443\u0431\u043b\u0435\u0439", "\u0433\u0440\u043d"),
)
_CENTS = r"(?:\s?(?:cents?|pence|pennies)(?![^\W_])|\s?\u00a2)"
_SIGN = rf"(?:(?:us|ca|au|nz|hk|mx|nt|[acrs]) ?\$|[{_SIGNS}]|(?:{_CODES}|rs|kr|z\u0142|sfr|fr)\.?(?=\s?[0-9]|\s))"
_COIN = (
    rf"(?:(?:us|ca|au|nz|hk|mx|[acrs])\$|[{_SIGNS}\u5186\u5143\uc6d0]"
    rf"|(?:(?:{_NATION}) )?(?:pounds? sterling|(?:{'|'.join((*_ONE_COIN, *_OTHER_COINS))})s?|{_CODES})(?![^\W_])\.?)"
)
_FIGURES = (
    r"(?:[0-9]{1,2}(?:,[0-9]{2}){1,3},[0-9]{3}(?:\.[0-9]{1,2})?"  # 1,29,900
    r"|[0-9]{1,3}(?:[ .,'][0-9]{3}){1,3}(?:[.,][0-9]{1,2})?"  # 1,299.00 and 1.299,00 and 1'299
    r"|[0-9]{1,4} ?[\u20ac$\u00a3] ?[0-9]{2}|[0-9]{1,4} [0-9]{2}"  # 12€99 and 12 99, as price tags have it
    r"|[0-9]{1,15}(?:[.,][0-9]{1,2})?)(?![0-9]|[.,][0-9])"
)
_SCALE = "|".join(SCALES)
_PLURAL = "|".join(f"{note}s" for note in NOTES)
_SUM = "|".join((*TEENS, *TENS[:-1]))
_ANY = "|".join((*SMALL, *TEENS, *TENS, *(scale for scale in SCALES if scale not in TENS)))
_AND = (
    rf"(?:(?<=hundred)|(?<=thousand)|(?<=million)|(?<=grand)) and "
    rf"(?=(?:{_SUM})\b|(?:{'|'.join(SMALL)})\b(?! (?:{_SCALE})\b))"
    rf"|(?:(?<=thousand)|(?<=million)|(?<=grand)) and (?=(?:{'|'.join(SMALL)}) hundred\b(?! (?:{_SCALE})\b))"
)
"""An `and` within a number; in `between a hundred and two hundred` it separates two numbers."""
_RUN = rf"(?>(?:{_ANY})\b(?:(?:[ -]|{_AND})(?:{_ANY})\b)*+)"
_SPOKEN = (
    rf"(?:half an? (?:{_SCALE})\b|couple (?:of )?(?:{_SCALE})\b|(?:{'|'.join(NOTES)})\b"
    rf"|(?:{'|'.join(SMALL)}) (?:{_PLURAL})\b|{_RUN})"
)
_FOUND = re.compile(
    r"(?<![\w.,$%])(?<!\s-)(?<!^-)(?<![a-z]/)(?:"
    rf"(?:an? )?(?P<sign>{_SIGN}\s?|r ?(?=[0-9]))?"
    rf"(?:(?P<figures>{_FIGURES})(?P<bare>,-|\.-|:-|/-)?"
    rf"(?: ?k\b| (?:{_SCALE})\b(?: and (?P<more>{_RUN}))?| (?:{_PLURAL})\b)?|(?P<spoken>{_SPOKEN}))"
    rf"(?P<half> and a half\b(?: (?:{_SCALE})\b)?)?"
    rf"(?P<cents>{_CENTS}|(?<=[0-9])p\b)?(?P<coin>\s?{_COIN})?"
    rf"(?(coin)(?:,? (?:and )?(?P<part>[0-9]{{1,2}}|{_RUN})(?:{_CENTS}|p\b)"
    rf"|,? (?:and )?(?P<rest>[0-9]{{2}})(?=[ )]*$|[,;!?]))?)"
    rf"|(?P<one>an? (?:{'|'.join(_ONE_COIN)})\b(?! of\b)))(?![\w%\u00b0\u2033\"]|[.,]\d|'|/\w)",
)
COINS = frozenset(
    (*_ONE_COIN, *_OTHER_COINS, *(f"{coin}s" for coin in _ONE_COIN), "cents", "cent", "pence", "sterling")
)
NUMBER_WORDS = frozenset((*SMALL, *TEENS, *TENS, *SCALES, *NOTES, "half", "couple", *COINS))
_A_PRICE_FOLLOWS = re.compile(
    r"(?:under|below|(?:less|cheaper|lower|more) than|budget(?: is| of|:)?|spend|cost|costs|costing|priced)"
    r" ?(?:about |around |at )?$"
)
"""The text before `4k` that makes it an amount; otherwise it is the resolution of a screen."""
_SCREEN = re.compile(r"[24568] ?k")
_A_SIGN = re.compile(f"[{_SIGNS}]")


@dataclass(frozen=True)
class Amount:
    """An amount in a text: its position, its value, and whether it names a currency."""

    start: int
    end: int
    value: float
    is_cash: bool


def amounts_in(said: str) -> Iterator[Amount]:
    """Yield the amounts in a lower-case text in order, in time that is linear in its length."""
    text = alike(said)
    for found in _FOUND.finditer(text):
        sign, words = found["sign"], found[0]
        is_cash = bool((sign and sign.strip() != "r") or found["coin"] or found["cents"] or found["one"])
        is_cash = is_cash or bool(_A_SIGN.search(words)) or any(note in words for note in NOTES)
        if _SCREEN.fullmatch(words) and not _A_PRICE_FOLLOWS.search(text[max(0, found.start() - 40) : found.start()]):
            continue
        if words in SMALL or (value := _value(found)) is None:
            continue
        yield Amount(found.start(), found.end(), min(value, LARGEST), is_cash)


def _value(found: re.Match[str]) -> float | None:
    """Return the value of a match; None if the match is not an amount."""
    if found["one"]:
        return 1.0
    value = _number(found["figures"], found[0]) if found["figures"] else _spoken(found["spoken"])
    if value is not None and found["half"]:
        scale = found["half"].removeprefix(" and a half").strip()
        last = (found["spoken"] or "").rpartition(" ")[2]
        value = (value + 0.5) * SCALES[scale] if scale else value + 0.5 * SCALES.get(last, 1)
    if value is None or (found["cents"] == "p" and value > 99):  # 1080p is a screen.
        return None
    if found["cents"] and not found["sign"]:
        return value / 100
    more = _worded(found["more"]) if found["more"] else 0.0
    part = found["part"] or found["rest"]
    cents = (float(part) if part.isdecimal() else _worded(part)) if part else 0.0
    return None if cents is None or more is None else round(value + more + cents / 100, 4)


def _number(figures: str, whole: str) -> float | None:
    value = value_of(" ".join(re.sub(r"[^0-9.,' ]+", " ", figures).split()))
    behind = whole[whole.index(figures) + len(figures) :].lstrip(",.:/-")
    scale = re.match(rf" ?(?:(?P<k>k)\b|(?P<scale>{_SCALE})\b|(?P<note>{'|'.join(NOTES)})s\b)", behind)
    if value is None or scale is None:
        return value
    return value * (1000 if scale["k"] else SCALES.get(scale["scale"] or "", 0) or NOTES[scale["note"]])


def _spoken(text: str) -> float | None:
    """Return the value of number words."""
    count, _, note = text.rpartition(" ")
    if (value := NOTES.get(note.removesuffix("s"))) is not None:
        return value * (_worded(count) or 0.0) if count else float(value)
    if text.startswith("half"):
        return 0.5 * SCALES[text.split()[-1]]
    return _worded(re.sub(r"^couple (?:of )?", "two ", text).replace("-", " "))


def _worded(text: str) -> float | None:
    from text_to_num import alpha2digit, text2num

    words = re.sub(r"^an? ", "one ", text).replace("grand", "thousand").replace("-", " ")
    if words.count(" ") >= MOST_WORDS:
        return None
    with suppress(ValueError):
        return float(text2num(words, "en"))
    # Two numbers next to each other are units and cents: twelve ninety-nine.
    figures = alpha2digit(words, "en")
    return value_of(figures) if re.fullmatch(r"[0-9 ]+", figures) else None
