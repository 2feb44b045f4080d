"""Lists of products that a message holds: lines, or parts of one line, with the request that comes with them."""

import re
from collections.abc import Callable

from bundlewise.agents.assistant.conversation import Action
from bundlewise.agents.assistant.mentions import called_each, numbers_in
from bundlewise.agents.assistant.normalise import POLITE, Seen, heard
from bundlewise.agents.assistant.phrases import THESE
from bundlewise.agents.assistant.wishes import is_money
from bundlewise.text import STOP_WORDS, line
from bundlewise.titles import LONGEST

Ask = Callable[[str, Seen], list[Action]]
"""Returns the actions that a line says word by word."""
MOST_PRODUCTS = 30
BULLET = re.compile(r"^\s*(?:[-*\u2022\u00b7]|[0-9]{1,2}[.):])\s+")
HEADER = re.compile(r"^.{0,60}:$")
_CART = r"(?:(?:the|my) )?(?:cart|basket|bag)"
LISTS = (
    rf"(?:(?:bundle|group|combine)(?: up)?|i have|i(?:'ve| have) got|i bought|i(?:'m| am) buying"
    rf"|{_CART}(?: is| has| holds| contains)?"
    rf"|here(?:'s| is| are)(?: {THESE}| (?:the|my) list)?|(?:the )?(?:list|products|items)(?: are| is)?|in {_CART}"
    rf"|add|find bundles (?:in|for|among))\s*:?\s*(?P<what>.+)"
)
GOING_ON = frozenset({"what", "which", "why", "how", "where", "when", "need", "want", "find", "show"})
"""First words of a part of a list that belongs to the sentence."""
SPOKEN = (
    r"(?:i(?:'m|'d|'ll|'ve)|i (?:am|need|want|have|like|would|was|will|think|bought|do|don't|just|also|only)"
    r"|(?:do|does|is|are|can|could|would|will) (?:you|these|those|they|i|it|this|that|there)|please|thanks|we"
    r"|my [a-z]+ (?:is|are|was))\b.*"
    r"|(?:what|which|how|why|where|when|who)\b.*\?"
)
"""A line of a message that is a sentence rather than a product."""
QUESTIONS = frozenset(
    {"who", "when", "how", "tell", "write", "say", "print", "ignore", "forget", "repeat", "translate", "you", "your"}
    | {"i", "me", "prompt", "instructions", "cart", "basket", "is", "are", "was", "will", "can", "do", "does", "don't"}
)
"""Words that show that a message is not the name of a product."""


def is_title(row: str) -> bool:
    """Say whether a line is written like a title: `Show Horse Toy with Saddle`."""
    capitals = [word for word in row.split() if word[0].isupper()]
    return len(capitals) >= 3 and not any(word[0].islower() for word in row.split() if word not in STOP_WORDS)


def is_bare_name(row: str, actions: list[Action], seen: Seen) -> bool:
    """Say whether a line is only the name of a product, without a word that asks for it."""
    whole = [Action(name="search", text=heard(row, seen))]
    return actions == whole and not POLITE.match(row.lower())


def _is_sentence(row: str) -> bool:
    said = POLITE.sub("", row.lower().replace("\u2019", "'"), count=1)
    spoken = re.fullmatch(SPOKEN, said) or re.fullmatch(SPOKEN, row.lower())
    return bool(spoken) and not BULLET.match(row) and not is_title(row)


def pasted(rows: list[str], seen: Seen, ask: Ask) -> list[Action]:
    """Return the action that pastes a list of products, with the actions of its first and last line."""
    first = last = list[Action]()
    bulleted = len(rows) > 1 and all(BULLET.match(row) for row in rows[1:])
    if HEADER.match(rows[0]) or _asks(rows[0], seen, ask) or (bulleted and _is_sentence(rows[0])):
        first, rows = ask(rows[0].rstrip(":"), seen), rows[1:]
    if len(rows) > 1 and _asks(rows[-1], seen, ask):
        last, rows = ask(rows[-1], seen), rows[:-1]
    titles = tuple(title for row in rows if not is_place(title := BULLET.sub("", row).strip(" \t,;")))
    if not titles or any(_is_sentence(row) for row in rows):
        return []
    wanted = [action for action in (*first, *last) if action.name in ("bundle", "limit", "complete")]
    return [Action(name="paste", titles=titles[:MOST_PRODUCTS]), *wanted]


def is_place(title: str) -> bool:
    """Say whether a part of a list is empty or only a number."""
    return not title or re.fullmatch(r"[0-9]{1,2}", title) is not None


def _asks(row: str, seen: Seen, ask: Ask) -> bool:
    """Say whether a line of a pasted list is a request rather than a product."""
    if BULLET.match(row):
        return False
    found = ask(row, seen)
    return bool(found) and all(action.name in ("bundle", "limit", "complete", "help") for action in found)


def is_led(row: str) -> bool:
    """Say whether a line begins with words such as "I have" before a list."""
    return re.fullmatch(LISTS, row.lower().rstrip("?!. ")) is not None


def listed(row: str, seen: Seen) -> list[Action]:
    """Return the actions of a list in one line, split at semicolons, or at commas after words such as "I have"."""
    said = line(row).strip()[:LONGEST]
    match = re.fullmatch(LISTS, said.lower().rstrip("?!. "))
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
