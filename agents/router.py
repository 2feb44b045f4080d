"""Understanding without a chat model: clear commands and common phrasings, and honest about the rest."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from bundlewise.agents.conversation import LONGEST, Act, Action, Desk
from bundlewise.agents.limits import Limits
from bundlewise.agents.naming import ALL, called, numbers_in, slip
from bundlewise.agents.phrases import (
    ANYTHING,
    BUNDLED,
    LISTS,
    NEXT,
    PHRASES,
    POLITE,
    PRODUCTS,
    QUESTIONS,
    SOFT,
    STARTS,
    compiled,
    lexicon,
)
from bundlewise.agents.wishes import Wish, wish_in
from bundlewise.text import line, words

SHORTEST_SLIP = 4
LONGEST_NAME = 6
MOST_PRODUCTS = 30
MOST_ORDERS = 30
"""Orders that a message may give; a turn has a limited number of steps."""
AGAIN = frozenset({"limit", "free", "exclude", "include"})
"""Acts after which the cart is bundled anew."""
BULLET = re.compile(r"^\s*(?:[-*\u2022\u00b7]|[0-9]{1,2}[.):])\s+")
HEADER = re.compile(r"^.{0,60}:$")


@dataclass(frozen=True)
class Seen:
    """What the router may look at: the desk, and whether a word stands in the catalogue."""

    desk: Desk = field(default_factory=Desk)
    knows: Callable[[str], bool] = lambda _: False


def understand(text: str, seen: Seen) -> list[Action]:
    """Return what a message asks for, in order; one `unknown` where it is not clear."""
    text = text[:LONGEST]
    rows = [" ".join(row.split()) for row in text.splitlines() if row.strip()]
    if len(rows) > 1:
        return _pasted(rows, seen)
    said = corrected(plain(rows[0]) if rows else "", seen)
    if not said:
        return [Action(name="unknown", text=text)]
    parts = [part for part in re.split(NEXT + STARTS, said) if part.strip()]
    if len(parts) > MOST_ORDERS:
        return [Action(name="unknown", text=text)]
    found = [_one(plain(part), seen) for part in parts] if len(parts) > 1 else []
    if found and all(found):
        return _once([action for actions in found for action in actions])
    return _one(said, seen) or _listed(rows[0], seen) or [Action(name="unknown", text=text)]


def _once(actions: list[Action]) -> list[Action]:
    """Take out a bundling that a later wish about bundles makes again."""
    last = max((n for n, action in enumerate(actions) if action.name in AGAIN), default=-1)
    return [action for n, action in enumerate(actions) if n > last or action.name != "bundle"]


def plain(text: str) -> str:
    """Return a message in lower case, without politeness around it and punctuation at its end."""
    said = line(text).lower().replace("\u2019", "'").strip()
    before = None
    while said != before:
        before = said
        said = re.sub(r"[\s?!.,;]+$", "", said)
        said = re.sub(POLITE[1], "", said) or said
    shorter = re.sub(POLITE[0], "", said)
    return shorter if shorter and not re.fullmatch(compiled(dict(PHRASES)["thanks"]), said) else said


def corrected(said: str, seen: Seen) -> str:
    """Return a message with the slips in its command words mended; words of products stay."""
    known = lexicon()
    titles = {word for item in (*seen.desk.cart, *seen.desk.found) for word in words(item.title)}

    def mend(match: re.Match[str]) -> str:
        word = match[0]
        if len(word) < SHORTEST_SLIP or word in known or word in titles or seen.knows(word):
            return word
        close = sorted(other for other in known if len(other) >= SHORTEST_SLIP and _is_slip(word, other))
        return close[0] if close else word

    return re.sub(r"[a-z]+(?:'[a-z]+)?", mend, said)


def _is_slip(word: str, other: str) -> bool:
    """Say whether a word is another one mistyped; the first letter is hardly ever another one, but may be swapped."""
    return slip(word, other) and (word[0] == other[0] or sorted(word) == sorted(other))


def _one(said: str, seen: Seen) -> list[Action]:
    """Return what one clause asks for: wishes in it first, then what is left of it; nothing if that is not clear."""
    wish, rest = wish_in(said)
    rest = plain(rest) if wish else rest
    if wish is None:
        return _command(rest, seen)
    if wish.limits is not None:
        limit = Action(name="limit", limits=wish.limits)
        further = _command(rest, seen) if rest and not re.fullmatch(rf"{ANYTHING}|{BUNDLED}", rest) else []
        return [limit, *(a for a in further if a.name != "bundle")] if further or not rest or _is_bare(rest) else []
    return _priced(wish, rest, seen)


def _is_bare(rest: str) -> bool:
    return re.fullmatch(rf"{ANYTHING}|{BUNDLED}|{compiled('{these}').pattern}", rest) is not None


def _priced(wish: Wish, rest: str, seen: Seen) -> list[Action]:
    """Return what a price asks for: of bundles on the table, else of the products last shown, else of any."""
    prices = {"least_price": wish.least_price, "max_price": wish.max_price}
    if re.fullmatch(PRODUCTS, rest):
        return [Action(name="search", **prices)]
    if re.fullmatch(BUNDLED, rest) and wish.max_price:
        return [_total(wish.max_price)]
    if not rest or re.fullmatch(ANYTHING, rest):
        if seen.desk.bundles and wish.max_price:
            return [_total(wish.max_price)]
        return [Action(name="search", text=seen.desk.query, **prices)]
    found = _command(rest, seen)
    if len(found) == 1 and found[0].name in ("search", "complete"):
        return [found[0].model_copy(update=prices)]
    if len(found) == 1 and found[0].name == "bundle" and wish.max_price:
        return [_total(wish.max_price)]
    return []


def _total(price: float) -> Action:
    return Action(name="limit", limits=Limits(total=price))


def _command(said: str, seen: Seen) -> list[Action]:
    for name, pattern in PHRASES:
        if match := compiled(pattern).fullmatch(said):
            what = next((text for text in match.groups() if text), "").strip()
            if action := _action(name, what, seen):
                return [action]
    if match := compiled(SOFT).fullmatch(said):
        return [_wanted(match["what"], seen)]
    if numbers := numbers_in(said):
        return [Action(name="add", numbers=numbers)] if seen.desk.found else []
    return [Action(name="search", text=said)] if _names_a_product(said, seen) else []


def _action(name: Act, what: str, seen: Seen) -> Action | None:
    if name == "search":
        asks = QUESTIONS.intersection(what.split())
        return None if asks or not words(what) else Action(name="search", text=what)
    if {"instructions", "prompt"} & set(what.split()):
        return None
    if name in ("add", "remove", "exclude", "include", "complete", "explain") and what:
        pointed = re.fullmatch(compiled(r"{these}(?: one| ones| bundles?)?"), what)
        return Action(name=name, numbers=numbers_in(what), text="" if pointed and name == "complete" else what)
    return Action(name=name) if not what or name not in ("add", "remove", "exclude", "include") else None


def _wanted(what: str, seen: Seen) -> Action:
    """Return whether something that was shown is wanted, or something is to be looked for."""
    shown = seen.desk.found
    numbers = numbers_in(what)
    if shown and (numbers or set(what.split()) & ALL or called(what, shown)):
        return Action(name="add", numbers=numbers, text=what)
    return Action(name="search", text=what)


def _names_a_product(said: str, seen: Seen) -> bool:
    parts = words(said)
    if not parts or len(parts) > LONGEST_NAME or QUESTIONS.intersection(said.split()):
        return False
    return all(seen.knows(word) or word.isdigit() for word in parts)


def _pasted(rows: list[str], seen: Seen) -> list[Action]:
    """Return a pasted list as products, with what its first and last line ask for."""
    first = last = list[Action]()
    if HEADER.match(rows[0]) or _asks(rows[0], seen):
        first, rows = _one(corrected(plain(rows[0].rstrip(":")), seen), seen), rows[1:]
    if len(rows) > 1 and _asks(rows[-1], seen):
        last, rows = _one(corrected(plain(rows[-1]), seen), seen), rows[:-1]
    titles = tuple(title for row in rows if (title := BULLET.sub("", row).strip(" \t,;")))
    wanted = [action for action in (*first, *last) if action.name in ("bundle", "limit", "complete")]
    return [Action(name="paste", titles=titles[:MOST_PRODUCTS]), *wanted]


def _asks(row: str, seen: Seen) -> bool:
    """Say whether a line of a pasted list is a request and no product."""
    if BULLET.match(row):
        return False
    found = _one(corrected(plain(row), seen), seen)
    return bool(found) and all(action.name in ("bundle", "limit", "complete", "help") for action in found)


def _listed(row: str, seen: Seen) -> list[Action]:
    """Return a list within one line: parts between semicolons, or after "bundle" or "I have" between commas."""
    said = line(row).strip()
    match = compiled(LISTS).fullmatch(said.lower().rstrip("?!. "))
    if not match and said.count(";") < 1:
        return []
    body = said[match.start("what") : match.end("what")] if match else said
    parts = re.split(r"\s*;\s*" if ";" in body else r"\s*,\s*(?:and\s+)?|\s+and\s+", body)
    titles = tuple(re.sub(r"^(?:a|an|some|the)\s+", "", part.strip(" .")) for part in parts if part.strip(" ."))
    if len(titles) < 2 or any(QUESTIONS.intersection(t.lower().split()) for t in titles):
        return []
    paste = Action(name="paste", titles=titles[:MOST_PRODUCTS])
    return (
        [paste, Action(name="bundle")]
        if re.match(r"(?:please )?(?:bundle|group|combine|find)", said.lower())
        else [paste]
    )
