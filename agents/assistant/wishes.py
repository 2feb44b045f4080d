"""The wishes in a sentence: limits on the size and number of bundles, and on the prices of bundles or products."""

import re
from dataclasses import dataclass
from functools import cache
from itertools import count

from bundlewise.agents.assistant.conversation import Action, Desk
from bundlewise.agents.assistant.mentions import COUNTS
from bundlewise.agents.assistant.money import Amount, amounts_in
from bundlewise.agents.student.limits import Limits

CENT = 0.01
ASKED = (
    r"(?:(?:make|show|find|give|get|i want|i need|i'd like|do you have|is there|are there|have you got) ?)*"
    r"(?:(?:me|it|them|the bundles?|these|anything|something|some|any) ?)*"
)
KINDS = (r"(smaller)(?: bundles?| sets?)?", r"(larger|bigger)(?: bundles?| sets?)?", r"(fewer|less) (?:bundles|sets)")


def compared(said: str, desk: Desk) -> list[Action]:
    """Return the actions of a comparison; none if there is no comparison or nothing to compare with."""
    smaller, larger, fewer = (re.fullmatch(ASKED + kind, said) for kind in KINDS)
    sizes = [len(offer.items) for offer in desk.bundles]
    if smaller and max(sizes, default=0) > 2:
        return _limit(Limits(most=max(sizes) - 1))
    if larger and sizes:
        return _limit(Limits(least=min(sizes) + 1))
    return _limit(Limits(bundles=len(sizes) - 1)) if fewer and len(sizes) > 1 else []


def cheaper(desk: Desk) -> list[Action]:
    """Return a limit below the most expensive bundle, or else a search below the cheapest product in the list."""
    totals = [offer.total for offer in desk.bundles if offer.total and offer.total > CENT]
    if totals:
        return _limit(Limits(total=round(max(totals) - CENT, 2)))
    prices = [item.price for item in desk.found if item.price and item.price > CENT]
    below = round(min(prices) - CENT, 2) if prices else None
    return [Action(name="search", text=desk.query, max_price=below)] if prices and desk.query else []


def dearer(desk: Desk) -> list[Action]:
    """Return a search above the most expensive product in the list."""
    prices = [item.price for item in desk.found if item.price]
    return [Action(name="search", text=desk.query, least_price=max(prices) + CENT)] if prices and desk.query else []


def _limit(limits: Limits) -> list[Action]:
    return [Action(name="limit", limits=limits)]


N = rf"(?P<n>[0-9]{{1,2}}|{'|'.join(COUNTS)})"
UPTO = r"(?:at most|at max|max(?:imum)?(?: of)?|no more than|not more than|up to|only|just|<=?)"
FROM = r"(?:at least|min(?:imum)?(?: of)?|no less than|not less than|no fewer than|or more|>=?)"
THINGS = r"(?:items?|products?|things?|pieces?|articles?)"
EACH = r"(?: ?(?:per|in (?:a|each|every|one)|for each|a|each|every|to a) (?:bundle|set|group|pack)| each| apiece)"
_CASH, _BARE, _ON = "\ue000", "\ue001", "\ue002"
"""The signs that replace an amount with currency, an amount without, and the rest of its characters."""
CASH = rf"{_CASH}{_ON}*+"
"""An amount with its currency."""
MONEY = rf"[{_CASH}{_BARE}]{_ON}*+"
BESIDE_A_PRICE = (
    r"[\s,.;:!?()\[\]\u2026\u2013\u2014-]*"
    r"(?:$|(?:and|or|but|for|with|in(?!\s*(?:,|$))|to|that|which|from|per|each|only|on|by|at|if|is|are|would|max|including|plus"
    r"|because|without|not|a|an|the|i|you|it|they|so|as|budget|altogether|total|together|apiece)\b)"
)
"""The text that may follow a price; other words say what a number counts or measures: `at least 2 m`, `4 ports`."""
UNDER = (
    r"(?:for |that costs? |that are |costing |priced )?(?:is )?(?:under|below|less than|cheaper than"
    r"|lower than|within|for at most|up to|at most|(?:(?:a|the) )?max(?:imum)?(?: price)?(?: of)?\.?"
    r"|(?:not?|nothing|none|never|isn't|aren't) (?:over|above|more(?: expensive)? than|higher than|exceeding|beyond)"
    r"|<=?|\u2264)"
)
OVER = r"(?:over|above|more than|at least|from|>=?|\u2265)"
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
    rf"|(?:i )?(?:don't|do not|can't|cannot|won't)(?: want to)? (?:spend|pay) (?:more than|over|above) {MONEY}{TOTAL}?"
    rf"|i (?:can|could|want to|will) (?:spend|pay) (?:at most |up to )?{MONEY}{TOTAL}?|{MONEY} to spend"
    rf"|no bundles? (?:over|above|(?:for )?more than) {MONEY}"
)
TO = r" ?(?:\bto\b|\buntil\b|[\u2013\u2014]|(?<![a-z])-|-(?![a-z])) ?"
"""The sign or word within a range; the hyphen of twenty-five does not make a range."""
OR_LESS = r"(?:or less|or under|or below|max(?:imum)?|at most|tops)"
OF_EACH = r"(?P<each> each| apiece| a piece| per (?:item|piece|product))"
PRICES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        rf"(?:between|from) {MONEY}(?: and |{TO}){MONEY}|{CASH}{TO}{MONEY}|{MONEY}{TO}{CASH}",
        ("least_price", "max_price"),
    ),
    (
        rf"{UNDER} ?{MONEY}(?: or {MONEY})?{OF_EACH}?|(?:for )?{CASH} {OR_LESS}{OF_EACH}?"
        rf"|for {CASH}{OF_EACH}?|^{CASH}$",
        ("max_price",),
    ),
    (rf"(?:for )?(?:(?:around|roughly|approximately|approx\.?|circa) {MONEY}|(?:about|~) ?{CASH})", ("around",)),
    (rf"{OVER} ?{MONEY}", ("least_price",)),
)
_NO = re.compile(r"(?P<ask>(?:(?:find|show)(?: me)? )?)no (?=\w)")
NEARLY = 0.2
"""The share of a price by which another price may differ and still be around it."""


@dataclass(frozen=True)
class Wish:
    """Limits of bundles, or prices of bundles or products."""

    limits: Limits | None = None
    least_price: float | None = None
    max_price: float | None = None
    of_each: bool = False


def wish_in(said: str) -> tuple[Wish | None, str]:
    """Return the wish in a sentence, or None, and the sentence without the wish."""
    for kind, pattern in SIZES:
        if (match := _search(pattern, said)) and (limits := _limits(kind, _groups(match))):
            return Wish(limits), _without(match, said)
    amounts = list(amounts_in(said))
    return _priced(said, amounts) if amounts else (None, said)


def _priced(said: str, amounts: list[Amount]) -> tuple[Wish | None, str]:
    """Return the wish that names one of these amounts, and the sentence without it."""
    marked = _marked(said, amounts)
    if match := _search(BUDGET, marked):
        total = _within(match, amounts)[0].value
        return (Wish(Limits(total=total)), _without(match, said)) if total else (None, said)
    for pattern, names in PRICES:
        for match in _compiled(pattern).finditer(marked):
            found = _within(match, amounts)
            if any(each.is_cash for each in found) or re.match(BESIDE_A_PRICE, said[match.end() :]):
                wish = _price(names, [each.value for each in found], "each" in _groups(match))
                return _denied(wish, _without(match, said))
    return None, said


def _denied(wish: Wish, rest: str) -> tuple[Wish, str]:
    """Return a wish and the rest of its sentence; `no tablets over 150` wishes for tablets up to 150."""
    denied = _NO.match(rest) if wish.least_price and not wish.max_price else None
    if denied is None:
        return wish, rest
    return Wish(max_price=wish.least_price, of_each=wish.of_each), f"{denied['ask']}{rest[denied.end() :]}"


def _marked(said: str, amounts: list[Amount]) -> str:
    """Return the sentence with signs in place of its amounts, of the same length."""
    pieces, done = list[str](), 0
    for each in amounts:
        sign = _CASH if each.is_cash else _BARE
        pieces += [said[done : each.start], sign, _ON * (each.end - each.start - 1)]
        done = each.end
    return "".join((*pieces, said[done:]))


def _within(match: re.Match[str], amounts: list[Amount]) -> list[Amount]:
    return [each for each in amounts if match.start() <= each.start < match.end()]


def _price(names: tuple[str, ...], values: list[float], of_each: bool) -> Wish:
    if names == ("around",):
        low, high = (round(values[0] * (1 + sign * NEARLY), 2) for sign in (-1, 1))
        return Wish(least_price=low, max_price=high)
    least = min(values) if "least_price" in names else None
    return Wish(least_price=least, max_price=max(values) if "max_price" in names else None, of_each=of_each)


def is_money(said: str) -> bool:
    """Say whether a text is only an amount of money with its currency."""
    return any(each.is_cash and (each.start, each.end) == (0, len(said)) for each in amounts_in(said))


def _search(pattern: str, said: str) -> re.Match[str] | None:
    """Find a pattern between words; the pattern may repeat a group."""
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
    if left[-1:] == "(" and right[:1] == ")":
        left, right = left[:-1].rstrip(" ,"), right[1:].lstrip(" ,")
    left = re.sub(r"\b(?:with|and|but|for|of|that|at|to|into|in|make|keep)$", "", left).strip(" ,")
    right = re.sub(r"^(?:and|but|with|please)\b", "", right).strip(" ,")
    return " ".join(filter(None, (left, right)))
