"""Read amounts of money in texts: figures of any country, currencies, and doubts about the amount."""

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

from bundlewise.titles import clean

LONGEST = 80
"""The most characters of a price; a longer text is not a price."""
MOST_FIGURES = 24
Mark = Literal[".", ","]
MARKS: tuple[Mark, Mark] = (".", ",")
_FIGURES = re.compile(r"[0-9]+(?:[.,' ][0-9]+)*|(?<![^\W_])(?<!/)[.,][0-9]{1,2}(?![0-9])")
_SCIENTIFIC = re.compile(r"[0-9](?:[.,][0-9]{1,15})?[eE][+-][0-9]{1,2}")
"""A number in the scientific form of spreadsheets: `1.2E+03`."""
_WESTERN = re.compile(r"[0-9]{1,3}(?: [0-9]{3})+")
_INDIAN = re.compile(r"[0-9]{1,2}(?: [0-9]{2})+ [0-9]{3}")
_SAME = str.maketrans(
    {"\u2019": "'", "\u2018": "'", "\u02bc": "'", "`": "'", "\u00b4": "'", "\u066b": ".", "\u066c": ","}
    | {"\uff0e": ".", "\uff0c": ",", "\uffe5": "\u00a5", "\uff04": "$", "\uffe1": "\u00a3"}
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-")
)
"""Replaces variants of a sign by one form."""
CURRENCIES = {
    "EUR": "\u20ac euro euros eur",
    "USD": "$ us$ usd dollar dollars buck bucks",
    "GBP": "\u00a3 gbp pound pounds quid",
    "INR": "\u20b9 rs inr rupee rupees \u20a8",
    "CHF": "chf sfr fr franken francs",
    "JPY": "\u00a5 jpy yen \u5186",
    "CNY": "cny rmb yuan \u5143 cn\u00a5",
    "BRL": "r$ brl reais real",
    "PLN": "z\u0142 zl pln zloty",
    "CZK": "k\u010d kc czk",
    "HUF": "ft huf forint",
    "KRW": "\u20a9 krw won",
    "VND": "\u20ab vnd \u0111",
    "ZAR": "r zar rand",
    "kr": "kr kronor kroner",
    "AUD": "a$ au$ aud",
    "CAD": "c$ ca$ cad",
    "HKD": "hk$ hkd",
    "MXN": "mx$ mex$ mxn",
    "NZD": "nz$ nzd",
    "SGD": "s$ sg$ sgd",
    "AED": "aed \u062f.\u0625",
    "MAD": "mad \u062f.\u0645",
    "DH": "dh dhs",
    "KES": "ksh kes",
    "PEN": "s/ s/. pen",
    "BGN": "\u043b\u0432 \u043b\u0435\u0432\u0430 bgn",
    "ILS": '\u20aa ils nis \u05e9"\u05d7',
    "GHS": "\u20b5 gh\u20b5 ghs",
}
"""Names of common currencies; a library knows the others."""
CENTS = dict.fromkeys(("\u00a2", "c", "ct", "cts", "cent", "cents"), "")
CENTS |= {"p": "GBP", "pence": "GBP", "\u00f6re": "kr"}
"""Names of hundredths, and their currency; empty if several currencies use the name."""
THREE_DECIMALS = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND", "KD", "JD"})
GROUPED_BY: dict[str, tuple[str, ...]] = {
    ",": ("USD", "GBP", "INR", "JPY", "CNY", "KRW", "AUD", "CAD", "HKD", "SGD", "NZD", "MXN", "KES", "AED", "ILS"),
    ".": (
        *("kr", "PLN", "BRL", "HUF", "VND", "JPY", "KRW", "DKK", "NOK", "SEK", "TRY", "IDR", "TL", "\u20ba", "Rp"),
        *("ARS", "CLP", "COP", "ISK"),
    ),
}
"""Currencies that separate thousands by a mark, so that three digits after it are not a fraction."""
FREE = frozenset({"free", "gratis", "kostenlos", "gratuit", "for free", "free of charge"})
UNKNOWN = frozenset(
    {"n/a", "na", "n.a.", "-", "--", "---", "?", "none", "null", "nan", "tbd", "tba", "unknown", "on request"}
    | {"price on request", "auf anfrage", "preis auf anfrage", "sur demande", "call for price", "sold out"}
    | {"out of stock", "ausverkauft", "nicht lieferbar", "\u00e9puis\u00e9", "agotado", "esaurito"}
)
"""Texts that mean that there is no price."""
SHARED = {
    "$": "USD AUD CAD HKD MXN NZD SGD TWD ARS CLP COP UYU JMD TTD BBD FJD",
    "\u00a3": "GBP EGP LBP GIP FKP",
    "\u00a5": "JPY CNY",
    "kr": "SEK NOK DKK ISK",
    "rs": "INR PKR LKR NPR MUR",
    "fr": "CHF",
}
"""Signs of several currencies; a code beside the sign says which: `$12.99 CAD`."""
_NAMES = re.compile(r"[^\W\d_]+\.?|[^\w\s]")
_BESIDE = re.compile(
    r"(?<![^\W\d_])(?:incl(?:uding|\.)?|inkl\.?|excl(?:uding|\.)?|exkl\.?|zzgl\.?|plus|inc\.?|ex\.?"
    r"|vat|mwst\.?|ust\.?|tax(?:es)?|gst|ttc|ht(?!\$)|iva|moms|btw|net|gross|netto|brutto"
    r"|(?:our |list |special )?price|preis"
    r"|uvp|rrp|msrp|mrp|m\.r\.p\.?|only|now|nur|jetzt|sale|deal|offer|today"
    r"|each|ea\.?|apiece|pcs?\.?|st(?:k|\u00fcck)\.?|ca\.|ca(?!\s?\$)|approx\.?|about)(?![^\W\d_])"
    r"|(?:/|(?<![^\W\d_])(?:per|pro|je)(?![^\W\d_]))"
    r"\s*(?:piece|item|unit|pair|set|pack|each|st(?:k|\u00fcck|ck)?|pc|ea)(?![^\W\d_])\.?",
    re.IGNORECASE,
)
"""Words beside a price that do not change its amount."""
_MEASURE = re.compile(
    r"\s*(?:/|(?<![^\W\d_])(?:per|pro|je)\s)\s*(?:[0-9]{1,4}\s?)?"
    r"(?:k?g|mg|lbs?|oz|[mc]?l|lit(?:er|re)s?|ltr|[cm]?m[23\u00b2\u00b3]?|met(?:er|re)s?|ft|yd|kilo(?:gram)?s?|pound|gal(?:lon)?)\.?$",
    re.IGNORECASE,
)
"""The measure of a price per unit: `12,99 €/kg`."""
_FORMER = re.compile(
    r"(?<![^\W\d_])(?:was|before|formerly|instead of|statt|vorher|bisher|au lieu de|antes|prima|old(?: price)?"
    r"|reg(?:ular)?(?: price)?|list(?: price)?|uvp|rrp|msrp|mrp|m\.r\.p)(?![^\W\d_])\.?",
    re.IGNORECASE,
)
"""Words before an old price, or before the recommended price."""
_APART = re.compile(r"[#;,()]|\s-\s")
"""Separators between the currencies of an old and a current price."""
_LEAST = re.compile(
    r"^(?:from|starting at|as low as|ab|von|desde|da|od|vanaf|fra|fr\u00e5n|[\u00e0a] partir de|d\u00e8s)(?![^\W\d_])",
    re.IGNORECASE,
)
_CENTS_BEHIND = re.compile(r"(?<![0-9.,])([0-9]{1,7})\s?([\u20ac$\u00a3])\s?([0-9]{2})(?![0-9]|[.,][0-9])")
"""A price with the cents after the sign, as on price tags: `12€99`."""
_SPAN = re.compile(
    r"(?P<one>[^#]*#[^#]*?)\s*(?:-|~|/?(?<![^\W\d_])(?:to|bis|until)(?![^\W\d_]))\s*(?P<two>[^#]*#[^#]*)"
)
_SHARE = re.compile(r"(incl(?:uding|\.)?|inkl\.?|excl(?:uding|\.)?|plus|zzgl\.?)\s*[0-9]{1,2}(?:[.,][0-9])?\s?%", re.I)
"""A tax rate, whose number is not a second amount."""
_WHOLE = re.compile(r"#\s*[,.:/]-{1,2}(?!\s*[^\W\d_]*\s*#)")
"""A whole amount in the form of shops: `12,-`."""
_HIDDEN = re.compile(r"^\(.*\)$")
"""An amount in brackets, which is negative in bookkeeping."""


Doubt = Literal["", "least", "measure", "unknown"]


@dataclass(frozen=True)
class WrittenAmount:
    """A price as it is written: its figures, its currency if there is one, and a doubt about the amount.

    `doubt` is `least` if the text names a least price or a span, `measure` if the price is per unit (a kilogram for
    example), and `unknown` if the text says that there is no price. `in_cents` says that the figures are hundredths.
    """

    figures: str
    currency: str = ""
    doubt: Doubt = ""
    in_cents: bool = False

    def value(self, decimal: Mark | None) -> float | None:
        """Return the price as a number; `decimal` is the decimal mark for ambiguous figures."""
        found = value_of(self.figures, decimal) if self.figures else None
        return round(found / 100, 4) if found is not None and self.in_cents else found


def written(text: str) -> WrittenAmount | None:
    """Return the price in a text as it is written; None if the text is not a price."""
    said = _SHARE.sub(r"\1", _CENTS_BEHIND.sub(r"\1 \3 \2", plain(text)))
    if said.casefold() in UNKNOWN:
        return WrittenAmount("", doubt="unknown")
    if said.casefold() in FREE:
        return WrittenAmount("0")
    if len(said) > LONGEST:
        return None
    if _SCIENTIFIC.fullmatch(said):
        return WrittenAmount(f"{float(said.replace(',', '.')):.2f}")
    measured = _MEASURE.sub("", said)
    return _framed(measured, "measure" if measured != said else "")


def _framed(said: str, doubt: Doubt) -> WrittenAmount | None:
    """Return the price in a text of one or two amounts; of an old and a current price, the current one."""
    figures = _FIGURES.findall(said)
    if not 0 < len(figures) <= 2 or len(figures[0]) > MOST_FIGURES:
        return None
    frame = _FIGURES.sub("#", said)
    former = [place for place, before in enumerate(frame.split("#")[:2]) if _FORMER.search(before)]
    if len(figures) == 2 and len(former) == 1:
        place = 1 - former[0]
        found = _named(_APART.split(_BESIDE.sub("#", _FORMER.sub("#", frame))), "")
    else:
        place, found = 0, _frame(frame)
    if found is None:
        return None
    currency, least, in_cents = found
    if in_cents and not figures[place].isdecimal():
        return None
    return WrittenAmount(figures[place], currency, least or doubt, in_cents)


def plain(text: str) -> str:
    """Return a cleaned text with plain blanks, digits, marks, dashes and apostrophes."""
    return " ".join(alike(clean(text)).split())


def alike(text: str) -> str:
    """Return a text of the same length with plain digits, marks, dashes and apostrophes."""
    if text.isascii():
        return text
    return "".join(str(int(c)) if not c.isascii() and c.isdecimal() else c for c in text).translate(_SAME)


@lru_cache(10_000)
def _frame(frame: str) -> tuple[str, Doubt, bool] | None:
    """Return the currency of a price whose figures are replaced by `#`, its doubt, and whether it counts cents.

    The result is None if the text is not a price.
    """
    doubt: Doubt = "least" if _LEAST.match(frame) or frame.count("#") == 2 else ""
    if _HIDDEN.match(frame):
        return None
    frame = _BESIDE.sub(" ", _LEAST.sub("", _WHOLE.sub("#", frame)))
    sides = [frame]
    if frame.count("#") == 2:
        span = _SPAN.fullmatch(frame)
        if span is None:
            return None
        sides = [span["one"], span["two"]]
    return _named([name for side in sides for name in side.split("#")], doubt)


def _named(parts: list[str], doubt: Doubt) -> tuple[str, Doubt, bool] | None:
    """Return the currency, doubt and cents of the texts beside figures; None if one of them is not a currency."""
    names = [name for part in parts if (name := part.strip(" .,:;*()[]"))]
    if names and all(name.casefold() in CENTS for name in names):
        return CENTS[names[0].casefold()], doubt, True
    found = _currency(names)
    return None if found is None else (found, doubt, False)


def _currency(names: list[str]) -> str | None:
    """Return the one currency that names stand for, empty without any; None where there are two, or one is none."""
    each = [part for name in names for part in ([name] if currency_of(name) else _NAMES.findall(name) or [name])]
    codes = {currency_of(name) for name in each if name.casefold().rstrip(".") not in SHARED}
    signs = {name.casefold().rstrip(".") for name in each} & SHARED.keys()
    if not codes and len(signs) <= 1:
        return currency_of(next(iter(signs))) if signs else ""
    code, *others = codes or {None}
    return code if not others and all(code in SHARED[sign].split() for sign in signs) else None


@cache
def _aliases() -> dict[str, str]:
    return {name: code for code, names in CURRENCIES.items() for name in names.split()}


@lru_cache(10_000)
def currency_of(name: str) -> str | None:
    """Return the name of the currency for a sign, a code or a word; None if it is not a currency."""
    if found := _aliases().get(name.casefold().replace(" $", "$")):
        return found
    if len(name) > 12 or (len(name) == 1 and name.isascii()):
        return None
    name = name.replace(" $", "$")
    from price_parser import Price

    for form in (name, f"{name}.", name.upper()):
        if Price.fromstring(f"{form} 1").currency == form:
            return _aliases().get(form.casefold(), form.rstrip("."))
    return None


def value_of(figures: str, decimal: Mark | None = None) -> float | None:
    """Return the number that figures stand for; None if they are not a number.

    Args:
        figures: such as `1,299.00`, `1.299`, `1 299,00`, `1'299`, `1,29,900`, `12 99`.
        decimal: the decimal mark for ambiguous figures; without it their mark separates thousands.
    """
    parts, marks = re.split(r"[.,' ]", figures), re.findall(r"[.,' ]", figures)
    fraction = ""
    if is_open(figures):
        has_fraction = marks[-1] == decimal
    else:
        has_cents = marks == [" "] and len(parts[-1]) == 2
        has_fraction = has_cents or (bool(marks) and proves(figures) == marks[-1])
    if has_fraction:
        fraction, parts, marks = parts[-1], parts[:-1], marks[:-1]
    grouped = " ".join(parts)
    if len(set(marks)) > 1 or (marks and not (_WESTERN.fullmatch(grouped) or _INDIAN.fullmatch(grouped))):
        return None
    return float(f"{''.join(parts) or '0'}.{fraction or '0'}")


def is_open(figures: str) -> bool:
    """Say whether figures are ambiguous: thousands in one country and a fraction in another, as `1.299`."""
    return re.fullmatch(r"[1-9][0-9]{0,2}[.,][0-9]{3}", figures) is not None


def proves(figures: str, currency: str = "") -> Mark | None:
    """Return the decimal mark that figures prove; None if they prove none."""
    marks = [mark for mark in re.findall(r"[.,' ]", figures) if mark in MARKS]
    if not marks:
        return None
    last: Mark = "." if marks[-1] == "." else ","
    other: Mark = "," if last == "." else "."
    if is_open(figures):
        if currency in THREE_DECIMALS:
            return last
        return other if currency in GROUPED_BY[last] else None
    return other if marks.count(last) > 1 else last
