"""The faults of sessions: wrong types and fields, and contents that cannot be."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from bundlewise.domain import Bundle, Item, Session
from bundlewise.titles import title_fault

EXPECTED = {
    "model_type": "an object in { }",
    "tuple_type": "a list in [ ]",
    "string_type": "a text in double quotes",
    "float_type": "a number without quotes",
    "literal_error": "train, validation or test",
}
"""The expected value in messages, for each of pydantic's error types."""


def explain(error: ValidationError) -> str:
    """Return pydantic's first error on one line: field, value and remedy."""
    first = error.errors(include_url=False)[0]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    match first["type"]:
        case "json_invalid":
            reason = str(first["ctx"]["error"]).replace("at line 1 column", "at column")
            return f"not valid JSON ({reason}); write one JSON object per line"
        case "missing":
            return f"{field} is missing; add it"
        case "extra_forbidden":
            return f"{field} is not a field of a session; remove or rename it"
        case kind if kind in EXPECTED:
            return f"{field or 'a line'} must be {EXPECTED[kind]}, got {show(first['input'])}"
        case _:
            return f"{field}: {first['msg'][:1].lower()}{first['msg'][1:]}, got {show(first['input'])}"


def problems(session: Session) -> Iterator[str]:
    """Yield the faults of a session whose types are right, each with value and remedy."""
    if not session.session_id.strip():
        yield "session_id is empty; give every session an id of its own"
    if not session.items:
        yield f"session {show(session.session_id)} has no items; add its products or remove the line"
    for number, item in enumerate(session.items):
        yield from _item_problems(item, f"items[{number}]")
    ids = [item.id for item in session.items]
    for item_id in _repeated(ids):
        yield f"item id {show(item_id)} occurs {ids.count(item_id)} times; list each product once"
    for number, bundle in enumerate(session.bundles):
        yield from _bundle_problems(bundle, f"bundles[{number}]", set(ids))


def _item_problems(item: Item, where: str) -> Iterator[str]:
    """Yield the faults of a product."""
    if not item.id.strip():
        yield f"{where}.id is empty; give every product an id"
    if fault := title_fault(item.title):
        yield f"{where}.{fault}"
    if item.price is not None and not (math.isfinite(item.price) and item.price >= 0):
        yield f"{where}.price must be a number of at least 0, got {item.price}; leave unknown prices out"


def _bundle_problems(bundle: Bundle, where: str, known: set[str]) -> Iterator[str]:
    """Yield the faults of an annotated bundle of a session with the known item ids."""
    for item_id in bundle.item_ids:
        if item_id not in known:
            yield f"{where} names item {show(item_id)}, which is not in the session; use ids of its items"
    for item_id in _repeated(bundle.item_ids):
        yield f"{where} names item {show(item_id)} twice; name each product once"
    if len(bundle.item_ids) < 2:
        yield f"{where} must have at least 2 items, got {len(bundle.item_ids)}; add one or remove the bundle"


def _repeated(ids: list[str] | tuple[str, ...]) -> list[str]:
    return [item_id for item_id, count in Counter(ids).items() if count > 1]


def show(value: Any) -> str:
    """Return a value as JSON, cut to a length that fits in a message."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
