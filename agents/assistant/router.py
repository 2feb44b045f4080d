"""The router: finds the actions of a message by its slots, by phrases word by word, and then by meaning."""

import re
from typing import Any

from bundlewise.agents.assistant import pasted
from bundlewise.agents.assistant.clauses import command, numbered
from bundlewise.agents.assistant.conversation import Action
from bundlewise.agents.assistant.mentions import at, called_wholly, ordered
from bundlewise.agents.assistant.naming import names_something
from bundlewise.agents.assistant.normalise import (
    Seen,
    heard,
    is_courtesy,
    is_other_language,
    named_in,
    plain,
    spelt,
)
from bundlewise.agents.assistant.phrases import THESE, expanded
from bundlewise.agents.assistant.slots import slots_in
from bundlewise.agents.assistant.wishes import Wish, compared, wish_in
from bundlewise.agents.student.limits import Limits
from bundlewise.text import line, tokens
from bundlewise.titles import LONGEST

__all__ = ["Seen", "understand"]
MOST_ORDERS = 30
"""The most commands of a message, because a turn has a limited number of steps."""
MOST_BEFORE = 40
"""The most characters before an exact title."""
AGAIN = frozenset({"limit", "free", "exclude", "include"})
"""The acts after which the cart is bundled again."""
NEXT = re.compile(
    r"(?:\s*[,;.!]\s*(?:and\s+|then\s+|but\s+)*|\s+(?:and then|and|then|but)\s+)"
    r"(?=(?:add|remove|delete|drop|bundle|group|find|search|show|clear|empty|undo|explain|why|what|make|create|put|leave"
    r"|without|only|exclude|suggest|complete|recommend|start|at most|under|take|sort|compare|swap|replace)\b)"
)
ANYTHING = (
    r"(?:(?:show me|show|give me|find me|find|i want|i need|make it|keep it|keep them|it should be"
    r"|make them|but|only)\s*)*"
    r"(?:the |any )?(?:something|anything|everything|some|it|them|ones?|things?|stuff|all)?(?: else)?"
)
BUNDLED = (
    r"(?:(?:all|each|every|the|keep|make|only|show|show me|find|find me|no|my)\s*)*bundles?(?: "
    r"(?:that|which|to be|must|should|are|be|cost|costs|is))*"
)
_NUMBERED = re.compile(
    r"^(find|show)(?: me)? (?:at least|at most|up to|exactly)? ?[0-9]{1,2} (items|products|things)"
    r"(?= (?!in|per|each|a bundle))"
)
"""A search for some number of products, which is no limit of bundles."""
PRODUCTS = (
    r"(?:(?:all|any|some|only|show|show me|find|find me|the|which|what|at least|up to|[0-9]{1,2}) )*"
    r"(?:products?|items?|things?)"
)


def understand(text: str, seen: Seen) -> list[Action]:
    """Return the actions that a message asks for, in order; one `unknown` if the message is not clear."""
    text = text[:LONGEST]
    rows = [" ".join(row.split()) for row in text.splitlines() if row.strip()]
    if len(rows) == 1 and ";" in rows[0] and not pasted.is_led(rows[0]):
        rows = [part.strip() for part in rows[0].split(";") if part.strip()] or rows
    rows = _without_courtesy(rows)
    found = _said(rows[0], seen) if len(rows) == 1 else _orders(rows, seen) or pasted.pasted(rows, seen, exactly)
    return found if 0 < len(found) <= MOST_ORDERS else _unclear(text, seen)


def _unclear(text: str, seen: Seen) -> list[Action]:
    """Return the actions of a message that is not clear: a search of what it names, or a word about the language."""
    phrases, named = seen.meaning.phrases, " ".join(named_in(text, seen))
    if phrases.language and is_other_language(text.lower(), seen):
        search = [Action(name="search", text=named)] if named else []
        return [Action(name="answer", text=phrases.language), *search]
    first = spelt(line(text).lower(), phrases).split(" ")[0].strip(",.!?")
    if not named and any(phrase.act == "greet" for phrase, _ in phrases.matching(first)):
        return [Action(name="greet")]
    return [Action(name="unknown", text=named[:LONGEST])]


def exactly(row: str, seen: Seen) -> list[Action]:
    """Return the actions of a line that a phrase or a slot names word by word."""
    return _one(heard(row, seen), seen, exact=True)


def _said(row: str, seen: Seen, exact: bool = False) -> list[Action]:
    """Return the actions of one line; none if the line is not clear."""
    if found := _titled(row, seen):
        return found
    said = heard(row, seen)
    if not said:
        return []
    if found := _answered(said, seen):
        return found
    parts = [part for part in NEXT.split(said, maxsplit=MOST_ORDERS + 1) if part.strip()]
    if len(parts) > MOST_ORDERS:
        return []
    each = [_one(plain(part), seen, exact=True) for part in parts] if len(parts) > 1 else []
    if each and all(each):
        return _postponed(_once([action for actions in each for action in actions]), seen)
    found = _one(said, seen, exact=True) or pasted.listed(row, seen)
    if exact or (found and not (found[0].name == "search" and not names_something(found[0].text, seen))):
        return _postponed(found, seen)
    return _postponed(found if found and found[0].order else _spoken(said, seen) or _one(said, seen) or found, seen)


def _spoken(said: str, seen: Seen) -> list[Action]:
    """Return the actions of the sentences of a message that are clear word by word; the others are talk."""
    sentences = [plain(part) for part in re.split(r"[,.;!?]+\s+", said, maxsplit=MOST_ORDERS)]
    clear = [_one(part, seen, exact=True) for part in sentences if part] if len(sentences) > 1 else []
    orders = [action for actions in clear for action in actions]
    orders = [action for action in orders if action.name not in ("thanks", "greet")] or orders
    return _once(orders) if any(action.name not in ("limit", "search") or action.text for action in orders) else []


def _titled(row: str, seen: Seen) -> list[Action]:
    """Return the action on a product whose exact title ends a line, after a few words that say what to do with it."""
    said = line(row).strip(" .!?\"'")
    for start in (0, *(match.end() for match in re.finditer(" ", said[:MOST_BEFORE]))):
        if item := seen.titled(said[start:]):
            before = expanded(plain(f"{said[:start]}product")) if start else "find product"
            acts = [phrase.act for phrase, _ in seen.meaning.phrases.matching(before)]
            act = next((act for act in acts if act in ("add", "take", "remove", "complete", "details")), None)
            if act is not None:
                name: Any = "add" if act == "take" else act
                return [Action(name=name, ids=(item.id,))]
            return [Action(name="search", text=item.title)]
    return []


def _answered(said: str, seen: Seen) -> list[Action]:
    """Return the actions of an answer to the desk's question, with those that waited for it."""
    question = seen.desk.question
    if question is None:
        return []
    held = {item.id: item for item in (*seen.desk.found, *seen.desk.cart)}
    among = [held[key] for key in question.among if key in held]
    listed = seen.desk.found if question.action.name == "add" else seen.desk.cart
    acts = {phrase.act for phrase, _ in seen.meaning.phrases.matching(expanded(said))}
    slots = slots_in(said, seen.meaning.phrases)
    if slots.numbers:
        chosen = at(slots.numbers, listed)[0]
    elif ("agree" in acts and len(among) == 1) or said.startswith("all") or (said[:4] == "both" and len(among) == 2):
        chosen = among
    elif slots.order and not slots.text:
        chosen = ordered(among, slots.order)[: slots.top]
    else:
        is_new = re.match(r"(?:an?|some|any) ", said) is not None or not acts <= {"agree", "take"}
        chosen = [] if is_new else called_wholly(said, among)
        chosen = chosen if len(chosen) == 1 else []
    if not chosen:
        return []
    order = question.action.order if question.action.name == "swap" else ""
    wanted = {"ids": tuple(item.id for item in chosen), "text": "", "numbers": (), "order": order}
    return [question.action.model_copy(update=wanted), *question.then]


def _postponed(found: list[Action], seen: Seen) -> list[Action]:
    """Add the wishes that waited for an answer to a clearer request of the same kind."""
    question = seen.desk.question
    if question and found and found[0].name == question.action.name and len(found) == 1:
        return [*found, *question.then]
    return found


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


def _one(said: str, seen: Seen, exact: bool = False) -> list[Action]:
    """Return the actions of one clause: its wishes first, then the rest; none if the clause is not clear."""
    if found := compared(said, seen.desk) or numbered(said, seen):
        return found
    wish, rest = wish_in(_NUMBERED.sub(r"\1 \2", said))
    rest = plain(rest) if wish else rest
    if wish is None:
        return command(rest, seen, exact)
    if wish.limits is None:
        return _priced(wish, rest, seen, exact)
    limit = Action(name="limit", limits=wish.limits)
    price, left = wish_in(rest)
    if price and price.of_each and (not left or _is_bare(left)):
        bounds = {"least_price": price.least_price, "max_price": price.max_price}
        return [limit, Action(name="search", text=seen.desk.query, **bounds)]
    if price and price.max_price and _is_bare(left):
        told = wish.limits.model_dump(exclude_unset=True)
        return [Action(name="limit", limits=Limits(**told, total=price.max_price))]
    bare = not rest or _is_bare(rest)
    further = [] if bare else command(rest, seen, exact)
    return [limit, *(a for a in further if a.name != "bundle")] if further or bare else []


def _is_bare(rest: str) -> bool:
    return re.fullmatch(rf"{ANYTHING}|{BUNDLED}|{THESE}", rest) is not None


def _priced(wish: Wish, rest: str, seen: Seen, exact: bool) -> list[Action]:
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
    found = command(rest, seen, exact)
    if not found and not exact and set(tokens(expanded(rest))) <= seen.meaning.phrases.nameless:
        return [Action(name="search", **prices)]
    if len(found) != 1:
        return []
    if found[0].name == "bundle" and wish.max_price:
        return [_total(wish.max_price)]
    if found[0].name == "clear":
        return [Action(name="remove", **prices)]
    if found[0].name in ("remove", "exclude") and re.fullmatch(rf"{ANYTHING}|{THESE}|{PRODUCTS}", found[0].text):
        return [found[0].model_copy(update=prices | {"text": ""})]
    return [found[0].model_copy(update=prices)] if found[0].name in ("search", "complete") else []


def _total(price: float) -> Action:
    return Action(name="limit", limits=Limits(total=price))


def _orders(rows: list[str], seen: Seen) -> list[Action]:
    """Return the actions of lines if every line is a command and none could be the title of a product."""
    found: list[Action] = []
    for row in rows[: MOST_ORDERS + 1]:
        is_listed = pasted.BULLET.match(row) or pasted.HEADER.match(row) or pasted.is_title(row)
        actions = [] if is_listed else _said(row, seen, exact=True)
        if not actions or any(action.name == "paste" for action in actions) or pasted.is_bare_name(row, actions, seen):
            return []
        found += actions
    return _once(found)
