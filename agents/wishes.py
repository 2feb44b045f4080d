"""Wishes in a sentence: how large bundles may be, how many, and what they or products may cost."""

import re
from dataclasses import dataclass
from functools import cache
from itertools import count

from bundlewise.agents.limits import Limits
from bundlewise.agents.money import CASH, COIN, MONEY, SIGN, amount
from bundlewise.agents.naming import COUNTS

N = rf"(?P<n>[0-9]{{1,2}}|{'|'.join(COUNTS)})"
UPTO = r"(?:at most|at max|max(?:imum)?(?: of)?|no more than|not more than|up to|only|just|<=?)"
FROM = r"(?:at least|min(?:imum)?(?: of)?|no less than|not less than|no fewer than|or more|>=?)"
THINGS = r"(?:items?|products?|things?|pieces?|articles?)"
EACH = r"(?: ?(?:per|in (?:a|each|every|one)|for each|a|each|every|to a) (?:bundle|set|group|pack)| each| apiece)"
BESIDE_A_PRICE = (
    r"\W*(?:$|(?:and|or|but|for|with|in(?!\s*(?:,|$))|to|that|which|from|per|each|only|on|by|at|if|is|are|would|max|including|plus"
    r"|because|without|not|a|an|the|i|you|it|they|so|as|budget|altogether|total|together|apiece)\b)"
)
"""What may follow a number that is a price; other words are what is counted or measured: `at least 2 m`, `4 ports`."""
UNDER = (
    r"(?:for |that costs? |that are |costing |priced )?(?:is )?(?:under|below|less than|cheaper than"
    r"|lower than|within|for at most|not over|up to|at most|max(?:imum)?|no more than|not more than"
    r"|<=?)"
)
OVER = r"(?:over|above|more than|at least|from|>=?)"
TOTAL = (
    r"(?: (?:in )?(?:total|altogether|all together|per bundle|a bundle|each bundle|for (?:a|each"
    r"|the) bundle|together|(?:for )?everything))"
)

SIZES: tuple[tuple[str, str], ...] = (
    (
        "bundles",
        rf"{UPTO} {N} (?:bundles?|sets?|groups?)|{N} (?:bundles?|sets?) only|(?:a )?(?P<one>single) bundle"
        r"|(?:one|a) (?P<one>big|large|whole) bundle",
    ),
    ("most", rf"bundles? of {UPTO} {N}(?: {THINGS})?|(?:bundles? with )?{UPTO} {N} {THINGS}{EACH}?|{UPTO} {N}{EACH}"),
    ("most", rf"{N} {THINGS} (?:only|at most|max(?:imum)?){EACH}?|^(?P<two>pairs)$"),
    ("most", r"(?:only|just) (?P<two>pairs)|(?P<two>pairs) only|(?:in|into|as|make|show|find)(?: me)? (?P<two>pairs)$"),
    ("most", r"^(?:at most|no more than|max(?:imum)?|only|just) (?P<n>[2-9]|two|three|four|five|six)$"),
    (
        "least",
        rf"bundles? of {FROM} {N}(?: {THINGS})?|{FROM} {N} {THINGS}{EACH}?|{FROM} {N}{EACH}"
        rf"|{N} or more {THINGS}{EACH}?",
    ),
    (
        "exact",
        rf"exactly {N}(?: {THINGS})?{EACH}?|bundles? of(?: exactly)? {N}(?: {THINGS})?|{N} {THINGS}{EACH}"
        rf"|bundles? (?:with|having)(?: exactly)? {N} {THINGS}|^{N}{EACH}$",
    ),
)
BUDGET = (
    rf"(?:my |the |a )?budget(?: is| of|:)? (?:at most |up to )?{MONEY}|{UNDER} ?{MONEY}{TOTAL}"
    rf"|i(?:'ve| have)?(?: only)?(?: got)? (?:about |around |up to |only )?(?:{CASH}(?: to spend)?|{MONEY} to spend)"
    rf"|(?:i )?(?:don't|do not|can't|cannot|won't)(?: want to)? (?:spend|pay) (?:more than|over|above) {MONEY}"
    rf"|i (?:can|could|want to|will) (?:spend|pay) (?:at most |up to )?{MONEY}|{MONEY} to spend"
)
TO = r" ?(?:\bto\b|\buntil\b|[\u2013\u2014]|(?<![a-z])-|-(?![a-z])) ?"
"""What stands in a span; the hyphen of twenty-five makes none."""
PRICES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        rf"(?:between|from) {MONEY}(?: and |{TO}){MONEY}|{CASH}{TO}{MONEY}|{MONEY}{TO}{CASH}",
        ("least_price", "max_price"),
    ),
    (
        rf"{UNDER} ?{MONEY}|{CASH} (?:or less|or under|or below|max(?:imum)?|at most|tops)|for {CASH}|^{CASH}$",
        ("max_price",),
    ),
    (rf"{OVER} ?{MONEY}", ("least_price",)),
)

_A_CURRENCY = re.compile(rf"(?<![a-z])(?:{SIGN}|{COIN})(?![a-z])")


@dataclass(frozen=True)
class Wish:
    """Limits of bundles, or prices that may be of bundles or of products."""

    limits: Limits | None = None
    least_price: float | None = None
    max_price: float | None = None


def wish_in(said: str) -> tuple[Wish | None, str]:
    """Return the wish in a sentence, and the sentence without it; None where it holds none."""
    for kind, pattern in SIZES:
        if (match := _search(pattern, said)) and (limits := _limits(kind, _groups(match))):
            return Wish(limits), _without(match, said)
    if match := _search(BUDGET, said):
        total = amount(_groups(match)["price"])
        return (Wish(Limits(total=total)), _without(match, said)) if total else (None, said)
    for pattern, names in PRICES:
        if match := next((m for m in _compiled(pattern).finditer(said) if _is_price(m, said)), None):
            found = [amount(value) for value in match.groups() if value]
            amounts = dict(zip(names, sorted(value for value in found if value is not None), strict=False))
            if len(amounts) < len(names):
                return None, said
            wish = Wish(least_price=amounts.get("least_price"), max_price=amounts.get("max_price"))
            return wish, _without(match, said)
    return None, said


def is_money(said: str) -> bool:
    """Say whether a text is an amount of money, with its currency, and nothing else."""
    return _compiled(CASH).fullmatch(said) is not None


def _is_price(match: re.Match[str], said: str) -> bool:
    """Say whether a number is a price, and not how much of something there is."""
    return bool(_A_CURRENCY.search(match[0]) or re.match(BESIDE_A_PRICE, said[match.end() :]))


def _search(pattern: str, said: str) -> re.Match[str] | None:
    """Find a pattern between words; a group may stand in it several times."""
    return _compiled(pattern).search(said)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    number = count()
    unique = re.sub(r"\(\?P<([a-z]+)>", lambda match: f"(?P<{match[1]}{next(number)}>", pattern)
    return re.compile(rf"(?<![\w.,$])(?:{unique})(?![\w,]|\.\d)")


def _groups(match: re.Match[str]) -> dict[str, str]:
    return {name.rstrip("0123456789"): value for name, value in match.groupdict().items() if value}


def _limits(kind: str, groups: dict[str, str]) -> Limits | None:
    said = groups.get("n", "2" if "two" in groups else "1")
    number = COUNTS.get(said) or int(said)
    if kind == "bundles":
        return Limits(bundles=number) if number else None
    if number < 2:
        return None
    if kind == "exact":
        return Limits(least=number, most=number)
    return Limits(most=number) if kind == "most" else Limits(least=number)


def _without(match: re.Match[str], said: str) -> str:
    left, right = said[: match.start()].rstrip(" ,"), said[match.end() :].lstrip(" ,")
    left = re.sub(r"\b(?:with|and|but|for|of|that|at|to|into|in|make|keep)$", "", left).strip(" ,")
    right = re.sub(r"^(?:and|but|with|please)\b", "", right).strip(" ,")
    return " ".join(filter(None, (left, right)))
