"""A conversation without an assistant: a pasted list of products is bundled, and anything else is told what to send."""

import json
import re
from collections.abc import Iterator
from typing import Any

from bundlewise.domain import Item, Prediction, Session
from bundlewise.server.limits import MAX_ITEMS, MAX_TITLE
from bundlewise.server.service import Service

MARK = re.compile(r"\s*(?:[-*•·]|\d{1,3}[.):]|\(\d{1,3}\))\s+")
INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")
HELP = "Send me a list of products, each on a line of its own, and I will find the bundles in it."


class ListTalker:
    """Bundles the products of the last message."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def talk(self, messages: list[dict[str, str]]) -> Iterator[str]:
        """Yield the reply to the last message."""
        titles = titles_in(messages[-1]["content"])
        if len(titles) < 2:
            yield HELP
            return
        if len(titles) > MAX_ITEMS:
            yield f"That are {len(titles)} products, I can read {MAX_ITEMS} at once. Send me fewer."
            return
        session = Session(
            session_id="chat", items=tuple(Item(id=str(n), title=title) for n, title in enumerate(titles, 1))
        )
        (prediction,) = self._service.from_thread(lambda caller: self._service.bundle(caller, [session]))
        yield from lines_of(session, prediction)


def titles_in(text: str) -> list[str]:
    """Return the product titles of a message: a JSON list, a line each, or parted by semicolons."""
    if text.lstrip().startswith("["):
        try:
            given = json.loads(text)
        except (ValueError, RecursionError):
            given = None
        if isinstance(given, list):
            return [clean for each in given if (clean := _clean(_title_of(each)))]
    rows = [row for row in text.splitlines() if row.strip()]
    marked = [row for row in rows if MARK.match(row)]
    if len(marked) >= 2:
        rows = marked
    elif len(rows) == 1:
        rows = rows[0].rpartition(":")[2].split(";")
    elif rows and rows[0].rstrip().endswith(":"):
        rows = rows[1:]
    return [clean for row in rows if (clean := _clean(MARK.sub("", row, count=1)))]


def _title_of(value: Any) -> str:
    found = value.get("title") if isinstance(value, dict) else value
    return found if isinstance(found, str) else ""


def _clean(title: str) -> str:
    return " ".join(INVISIBLE.sub(" ", title).split())[:MAX_TITLE]


def lines_of(session: Session, prediction: Prediction) -> Iterator[str]:
    """Yield an answer in words, a bundle at a time."""
    if not prediction.bundles:
        yield "I find no bundle among these products."
        return
    count = len(prediction.bundles)
    yield f"I find {count} bundle{'s' * (count > 1)}:\n"
    for number, bundle in enumerate(prediction.bundles, 1):
        sure = "" if bundle.confidence is None else f" ({bundle.confidence:.0%} sure)"
        rows = "".join(f"\n   - {session.items[place - 1].title}" for place in bundle.items)
        yield f"\n{number}. {bundle.intent}{sure}{rows}\n"
    used = {place for bundle in prediction.bundles for place in bundle.items}
    rest = [item.title for place, item in enumerate(session.items, 1) if place not in used]
    if rest:
        yield f"\nLeft out: {'; '.join(rest)}\n"
