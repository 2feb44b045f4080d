"""The router: understands commands and common phrasings without a chat model, and reports the rest as unknown."""

import re

from bundlewise.agents.assistant.conversation import Act, Action
from bundlewise.agents.assistant.mentions import ALL, bundles_in, called_each, called_wholly, is_amount, numbers_in
from bundlewise.agents.assistant.normalise import Seen, heard, is_courtesy, plain
from bundlewise.agents.assistant.phrases import (
    ANYTHING,
    BUNDLED,
    GOING_ON,
    LISTS,
    MEASURES,
    NEXT,
    PHRASES,
    POLITE,
    PRODUCTS,
    QUESTIONS,
    SOFT,
    SPOKEN,
    STARTS,
    TALK,
    compiled,
)
from bundlewise.agents.assistant.wishes import Wish, compared, is_money, wish_in
from bundlewise.agents.student.limits import Limits
from bundlewise.text import STOP_WORDS, UNITS, line, words
from bundlewise.titles import LONGEST

__all__ = ["Seen", "understand"]
LONGEST_NAME = 6
MOST_PRODUCTS = 30
MOST_ORDERS = 30
"""The most commands of a message, because a turn has a limited number of steps."""
AGAIN = frozenset({"limit", "free", "exclude", "include"})
"""The acts after which the cart is bundled again."""
BULLET = re.compile(r"^\s*(?:[-*\u2022\u00b7]|[0-9]{1,2}[.):])\s+")
HEADER = re.compile(r"^.{0,60}:$")


def understand(text: str, seen: Seen) -> list[Action]:
    """Return the actions that a message asks for, in order; one `unknown` if the message is not clear."""
    text = text[:LONGEST]
    rows = [" ".join(row.split()) for row in text.splitlines() if row.strip()]
    rows = _without_courtesy(rows)
    found = _said(rows[0], seen) if len(rows) == 1 else _orders(rows, seen) or _pasted(rows, seen)
    return found if 0 < len(found) <= MOST_ORDERS else [Action(name="unknown", text=text)]


def _said(row: str, seen: Seen) -> list[Action]:
    """Return the actions of one line; none if the line is not clear."""
    said = heard(row, seen)
    parts = [part for part in re.split(NEXT + STARTS, said) if part.strip()]
    if not said or len(parts) > MOST_ORDERS:
        return []
    found = [_one(plain(part), seen) for part in parts] if len(parts) > 1 else []
    if found and all(found):
        return _once([action for actions in found for action in actions])
    return _one(said, seen) or _listed(row, seen)


def _once(actions: list[Action]) -> list[Action]:
    """Remove a bundling that a later wish about bundles repeats."""
    last = max((n for n, action in enumerate(actions) if action.name in AGAIN), default=-1)
    return [action for n, action in enumerate(actions) if n > last or action.name != "bundle"]


def _without_courtesy(rows: list[str]) -> list[str]:
    """Return lines without greetings at the start and thanks at the end; at least one line."""
    while len(rows) > 1 and is_courtesy(plain(rows[0])):
        rows = rows[1:]
    while len(rows) > 1 and is_courtesy(plain(rows[-1])):
        rows = rows[:-1]
    return rows or [""]


def _one(said: str, seen: Seen) -> list[Action]:
    """Return the actions of one clause: its wishes first, then the rest; none if the clause is not clear."""
    if found := compared(said, seen.desk):
        return found
    wish, rest = wish_in(said)
    rest = plain(rest) if wish else rest
    if wish is None:
        return _command(rest, seen)
    if wish.limits is not None:
        limit = Action(name="limit", limits=wish.limits)
        price, left = wish_in(rest)
        if price and price.of_each and (not left or _is_bare(left)):
            bounds = {"least_price": price.least_price, "max_price": price.max_price}
            return [limit, Action(name="search", text=seen.desk.query, **bounds)]
        if price and price.max_price and _is_bare(left):
            told = wish.limits.model_dump(exclude_unset=True)
            return [Action(name="limit", limits=Limits(**told, total=price.max_price))]
        further = _command(rest, seen) if rest and not re.fullmatch(rf"{ANYTHING}|{BUNDLED}", rest) else []
        return [limit, *(a for a in further if a.name != "bundle")] if further or not rest or _is_bare(rest) else []
    return _priced(wish, rest, seen)


def _is_bare(rest: str) -> bool:
    return re.fullmatch(rf"{ANYTHING}|{BUNDLED}|{compiled('{these}').pattern}", rest) is not None


def _priced(wish: Wish, rest: str, seen: Seen) -> list[Action]:
    """Return the actions of a price: for the present bundles, or else for the last list, or else for any products."""
    prices = {"least_price": wish.least_price, "max_price": wish.max_price}
    if re.fullmatch(PRODUCTS, rest):
        return [Action(name="search", **prices)]
    if re.fullmatch(BUNDLED, rest) and wish.max_price:
        return [_total(wish.max_price)]
    if not rest or re.fullmatch(ANYTHING, rest):
        if seen.desk.bundles and wish.max_price and not wish.of_each:
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
        return None if asks or set(words(what)) <= TALK else Action(name="search", text=what)
    if {"instructions", "prompt"} & set(what.split()):
        return None
    if name in ("add", "remove", "exclude", "include", "complete", "explain") and what:
        pointed = re.fullmatch(compiled(r"{these}(?: one| ones| bundles?)?"), what)
        numbers = numbers_in(what) or (bundles_in(what) if name == "explain" else ())
        return Action(name=name, numbers=numbers, text="" if pointed and name == "complete" else what)
    return Action(name=name) if not what or name not in ("add", "remove", "exclude", "include") else None


def _wanted(what: str, seen: Seen) -> Action:
    """Return the action of a wish for products: add products of the last list, or search for new ones."""
    shown = seen.desk.found
    numbers = numbers_in(what)
    meant = numbers or is_amount(what) or set(what.split()) <= ALL | {"of", "the"} or called_wholly(what, shown)
    if bundles_in(what) or (shown and meant):
        return Action(name="add", numbers=numbers, text=what)
    return Action(name="search", text=what)


def _names_a_product(said: str, seen: Seen) -> bool:
    parts = words(said)
    if len(parts) > LONGEST_NAME or QUESTIONS.intersection(said.split()):
        return False
    named = [word for word in parts if not word.isdigit() and word not in TALK | UNITS | MEASURES]
    return bool(named) and all(seen.knows(word) for word in named)


def _orders(rows: list[str], seen: Seen) -> list[Action]:
    """Return the actions of lines if every line is a command and none could be the title of a product."""
    found: list[Action] = []
    for row in rows[: MOST_ORDERS + 1]:
        actions = [] if BULLET.match(row) or HEADER.match(row) or _is_title(row) else _said(row, seen)
        if not actions or any(action.name == "paste" for action in actions) or _is_bare_name(row, actions, seen):
            return []
        found += actions
    return _once(found)


def _is_title(row: str) -> bool:
    """Say whether a line is written like a title: `Show Horse Toy with Saddle`."""
    capitals = [word for word in row.split() if word[0].isupper()]
    return len(capitals) >= 3 and not any(word[0].islower() for word in row.split() if word not in STOP_WORDS)


def _is_bare_name(row: str, actions: list[Action], seen: Seen) -> bool:
    """Say whether a line is only the name of a product, without a word that asks for it."""
    whole = [Action(name="search", text=heard(row, seen))]
    return actions == whole and not re.match(POLITE, row.lower())


def _is_sentence(row: str) -> bool:
    said = re.sub(POLITE, "", row.lower().replace("\u2019", "'"))
    spoken = re.fullmatch(SPOKEN, said) or re.fullmatch(SPOKEN, row.lower())
    return bool(spoken) and not BULLET.match(row) and not _is_title(row)


def _pasted(rows: list[str], seen: Seen) -> list[Action]:
    """Return the action that pastes a list of products, with the actions of its first and last line."""
    first = last = list[Action]()
    bulleted = len(rows) > 1 and all(BULLET.match(row) for row in rows[1:])
    if HEADER.match(rows[0]) or _asks(rows[0], seen) or (bulleted and _is_sentence(rows[0])):
        first, rows = _one(heard(rows[0].rstrip(":"), seen), seen), rows[1:]
    if len(rows) > 1 and _asks(rows[-1], seen):
        last, rows = _one(heard(rows[-1], seen), seen), rows[:-1]
    titles = tuple(title for row in rows if not is_place(title := BULLET.sub("", row).strip(" \t,;")))
    if not titles or any(_is_sentence(row) for row in rows):
        return []
    wanted = [action for action in (*first, *last) if action.name in ("bundle", "limit", "complete")]
    return [Action(name="paste", titles=titles[:MOST_PRODUCTS]), *wanted]


def is_place(title: str) -> bool:
    """Say whether a part of a list is empty or only a number."""
    return not title or re.fullmatch(r"[0-9]{1,2}", title) is not None


def _asks(row: str, seen: Seen) -> bool:
    """Say whether a line of a pasted list is a request rather than a product."""
    if BULLET.match(row):
        return False
    found = _one(heard(row, seen), seen)
    return bool(found) and all(action.name in ("bundle", "limit", "complete", "help") for action in found)


def _listed(row: str, seen: Seen) -> list[Action]:
    """Return the actions of a list in one line, split at semicolons, or at commas after words such as "I have"."""
    said = line(row).strip()[:LONGEST]
    match = compiled(LISTS).fullmatch(said.lower().rstrip("?!. "))
    if not match and said.count(";") < 1:
        return []
    body = said[match.start("what") : match.end("what")] if match else said
    bundles = re.match(r"(?:please )?(?:bundle|group|combine|find)", said.lower()) is not None
    if bundles and (pointed := _pointed(body.lower(), seen)):
        return pointed
    parts = re.split(r"\s*;\s*" if ";" in body else r"\s*,\s*(?:and\s+)?|\s+and\s+", body)
    titles = tuple(re.sub(r"^(?:a|an|some|the)\s+", "", part.strip(" .")) for part in parts if part.strip(" ."))
    if any(_is_talk(title.lower()) for title in titles) or (titles and is_place(titles[0])):
        return []
    titles = tuple(title for title in titles if not is_place(title))
    if len(titles) < 2:
        return []
    paste = Action(name="paste", titles=titles[:MOST_PRODUCTS])
    return [paste, Action(name="bundle")] if bundles else [paste]


def _is_talk(part: str) -> bool:
    """Say whether a part of a list belongs to the sentence: `what goes with it`, `need a mouse`."""
    return bool(QUESTIONS.intersection(part.split())) or part.split()[0] in GOING_ON or is_money(part)


def _pointed(body: str, seen: Seen) -> list[Action]:
    """Return the actions that bundle present products: numbers in a list, or `the tablet and the case`."""
    desk, numbers = seen.desk, numbers_in(body)
    if len(numbers) > 1 and desk.found:
        return [Action(name="add", numbers=numbers, text=body), Action(name="bundle")]
    called = re.match(r"(?:the|my|this|that)\b", body) is not None
    if (len(numbers) > 1 and desk.cart) or (called and called_each(body, desk.cart)):
        return [Action(name="bundle")]
    return [Action(name="add", text=body), Action(name="bundle")] if called and called_each(body, desk.found) else []
