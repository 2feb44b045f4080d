"""Amounts of money in a text: figures of any country, currencies, and what of them is in doubt."""

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

from bundlewise.titles import clean

LONGEST = 80
"""Characters that a price may have; a sentence is none."""
MOST_FIGURES = 24
Mark = Literal[".", ","]
MARKS: tuple[Mark, Mark] = (".", ",")
_FIGURES = re.compile(r"[0-9]+(?:[.,' ][0-9]+)*|(?<![0-9])[.,][0-9]{1,2}(?![0-9])")
_WESTERN = re.compile(r"[0-9]{1,3}(?: [0-9]{3})+")
_INDIAN = re.compile(r"[0-9]{1,2}(?: [0-9]{2})+ [0-9]{3}")
_SAME = str.maketrans(
    {"\u2019": "'", "\u2018": "'", "\u02bc": "'", "`": "'", "\u00b4": "'", "\u066b": ".", "\u066c": ","}
    | {"\uff0e": ".", "\uff0c": ",", "\uffe5": "\u00a5", "\uff04": "$", "\uffe1": "\u00a3"}
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-")
)
"""Signs that are written in several ways."""
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
}
"""Names of common currencies; others are known to a library."""
THREE_DECIMALS = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND", "KD", "JD"})
GROUPED_BY: dict[str, tuple[str, ...]] = {
    ",": ("USD", "GBP", "INR", "JPY", "CNY", "KRW", "AUD", "CAD", "AU$", "CA$", "A$", "C$", "HK$", "S$", "NZ$"),
    ".": ("kr", "PLN", "BRL", "HUF", "VND", "JPY", "KRW", "DKK", "NOK", "SEK", "TRY", "IDR", "TL", "\u20ba", "Rp"),
}
"""Currencies whose prices have thousands parted by a mark, so that three figures after it are no fraction."""
FREE = frozenset({"free", "gratis", "kostenlos", "gratuit", "for free", "free of charge"})
UNKNOWN = frozenset(
    {"n/a", "na", "n.a.", "-", "--", "---", "?", "none", "null", "nan", "tbd", "tba", "unknown", "on request"}
    | {"price on request", "auf anfrage", "preis auf anfrage", "sur demande", "call for price"}
)
"""What stands where there is no price."""
_BESIDE = re.compile(
    r"(?<![^\W\d_])(?:incl(?:uding|\.)?|inkl\.?|excl(?:uding|\.)?|exkl\.?|zzgl\.?|plus|inc\.?|ex\.?"
    r"|vat|mwst\.?|ust\.?|tax(?:es)?|gst|ttc|ht|iva|moms|btw|net|gross|netto|brutto|uvp|rrp|msrp|only|now|nur|jetzt|sale|price|preis"
    r"|each|ea\.?|apiece|(?:/|per|pro)\s*(?:piece|item|unit|pair|set|pack|st(?:k|\u00fcck|ck)?\.?|pc\.?|ea\.?)"
    r"|pcs?\.?|st(?:k|\u00fcck)\.?|ca\.?|approx\.?|about)(?![^\W\d_])",
    re.IGNORECASE,
)
"""Words beside a price that change nothing of it."""
_LEAST = re.compile(
    r"^(?:from|starting at|as low as|ab|von|desde|da|od|vanaf|fra|fr\u00e5n|[\u00e0a] partir de|d\u00e8s)(?![^\W\d_])",
    re.IGNORECASE,
)
_CENTS_BEHIND = re.compile(r"([0-9])\s?([\u20ac$\u00a3])\s?([0-9]{2})(?![0-9])")
"""`12€99`, as price tags have it."""
_SPAN = re.compile(
    r"(?P<one>[^#]*#[^#]*?)\s*(?:-|~|/?(?<![^\W\d_])(?:to|bis|until)(?![^\W\d_]))\s*(?P<two>[^#]*#[^#]*)"
)
_SHARE = re.compile(r"(incl(?:uding|\.)?|inkl\.?|excl(?:uding|\.)?|plus|zzgl\.?)\s*[0-9]{1,2}(?:[.,][0-9])?\s?%", re.I)
"""A share of tax, which is no second amount."""
_WHOLE = re.compile(r"#\s*[,.:/]-{1,2}(?!\s*[^\W\d_]*\s*#)")
"""A whole amount as shops write it: `12,-`."""
_HIDDEN = re.compile(r"^\(.*\)$")
"""An amount in brackets is negative in bookkeeping."""


@dataclass(frozen=True)
class Written:
    """A price as it is written: its figures, its currency where there is one, and what was passed over.

    `doubt` is `least` where a text names a least price or a span, and `unknown` where it says that there is none.
    """

    figures: str
    currency: str = ""
    doubt: Literal["", "least", "unknown"] = ""


def written(text: str) -> Written | None:
    """Return the price that a text is, as it is written; None where it is none."""
    said = _SHARE.sub(r"\1", _CENTS_BEHIND.sub(r"\1 \3 \2", plain(text)))
    if said.casefold() in UNKNOWN:
        return Written("", doubt="unknown")
    if said.casefold() in FREE:
        return Written("0")
    if len(said) > LONGEST:
        return None
    figures = _FIGURES.findall(said)
    is_price = 0 < len(figures) <= 2 and len(figures[0]) <= MOST_FIGURES
    found = _frame(_FIGURES.sub("#", said)) if is_price else None
    return found and Written(figures[0], found[0], found[1])


def plain(text: str) -> str:
    """Return a text whose blanks, figures, dashes and apostrophes are the plain ones."""
    return " ".join(alike(clean(text)).split())


def alike(text: str) -> str:
    """Return a text of the same length whose figures, marks, dashes and apostrophes are the plain ones."""
    if text.isascii():
        return text
    return "".join(str(int(c)) if not c.isascii() and c.isdecimal() else c for c in text).translate(_SAME)


@lru_cache(10_000)
def _frame(frame: str) -> tuple[str, Literal["", "least"]] | None:
    """Return the currency of a price whose figures are `#`, and what is in doubt; None where it is no price."""
    doubt: Literal["", "least"] = "least" if _LEAST.match(frame) or frame.count("#") == 2 else ""
    if _HIDDEN.match(frame):
        return None
    frame = _BESIDE.sub(" ", _LEAST.sub("", _WHOLE.sub("#", frame)))
    sides = [frame]
    if frame.count("#") == 2:
        span = _SPAN.fullmatch(frame)
        if span is None:
            return None
        sides = [span["one"], span["two"]]
    names = [name.strip(" .,:;*()[]") for side in sides for name in side.split("#")]
    found = {currency_of(name) for name in names if name}
    if None in found or len(found) > 1:
        return None
    return next(iter(found)) or "" if found else "", doubt


@cache
def _aliases() -> dict[str, str]:
    return {name: code for code, names in CURRENCIES.items() for name in names.split()}


@lru_cache(10_000)
def currency_of(name: str) -> str | None:
    """Return the currency that a sign, a code or a word stands for, one name for each; None if it is none."""
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
    """Return the number that figures stand for; None where they are no number.

    Args:
        figures: such as `1,299.00`, `1.299`, `1 299,00`, `1'299`, `1,29,900`, `12 99`.
        decimal: the decimal mark of what they stand in, for those that read both ways; these are thousands without.
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
    """Say whether figures are read as thousands in one country and as a fraction in another: `1.299`."""
    return re.fullmatch(r"[1-9][0-9]{0,2}[.,][0-9]{3}", figures) is not None


def proves(figures: str, currency: str = "") -> Mark | None:
    """Return the decimal mark that figures show beyond doubt; None where they show none."""
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


def amount_of(text: str) -> float | None:
    """Return the price that a text is: `12.99`, `$1,299.00`, `12,99 €`; thousands where it reads both ways."""
    found = written(text)
    if found is None or not found.figures:
        return None
    return value_of(found.figures, proves(found.figures, found.currency))
