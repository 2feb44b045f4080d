"""The contracts of a large teacher: typed replies with described fields, and the checks of these replies."""

import json
import re
from collections.abc import Sequence
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bundlewise.agents.teacher.conditions import Condition
from bundlewise.domain import Session
from bundlewise.masking import without_key

MAX_FAULTS = 4
_WORDY = 200


class Contract(BaseModel):
    """A reply: unknown fields are ignored, missing and wrong ones are faults."""

    model_config = ConfigDict(frozen=True)


class Kinds(Contract):
    """The kind of every product of a session."""

    kinds: list[str] = Field(
        description="one kind per product, in the order of the products: what it is, in one to three lower-case "
        "words, judged from the title alone, such as 'usb cable'"
    )


class ProposedBundle(Contract):
    """Products that a shopper would buy together."""

    items: list[int] = Field(description="numbers of the products, from 1, at least two, each in one bundle at most")
    intent: str = Field(description="what the shopper wants with them, in two to six words")


class Proposal(Contract):
    """The bundles that a teacher makes without the annotation."""

    bundles: list[ProposedBundle] = Field(description="the bundles; products that fit none stay out")


class Lesson(Contract):
    """The general lesson of one difference."""

    together: bool = Field(description="true: such products belong together; false: they do not")
    cause: str = Field(description="why the shopper did otherwise than the proposal, in one sentence")
    lesson: str = Field(description="what holds for other sessions too, in one sentence, naming kinds of products")


class Lessons(Contract):
    """The causes and lessons of the differences in one session."""

    lessons: list[Lesson] = Field(max_length=6, description="one per discrepancy that teaches something, six at most")


class RuleDraft(Contract):
    """A rule for new sessions."""

    text: str = Field(
        description="the rule, in one or two sentences, naming kinds of products, never product numbers or one session"
    )
    together: bool = Field(description="true: put such products together; false: keep them apart")
    condition: Condition = Field(description="for which two products it speaks, so that it can be tested")
    lessons: list[int] = Field(description="numbers of the lessons it rests on, from 1")


class Rules(Contract):
    """Rules that follow from lessons."""

    rules: list[RuleDraft] = Field(max_length=20, description="few rules, each resting on several lessons")


class Reasoning(Contract):
    """A chain of thought about one annotated session."""

    kinds: list[str] = Field(description="one kind per product, in order, one to three lower-case words")
    products: str = Field(description="what the products are, by kind, and what is known of them, in a sentence or two")
    together: str = Field(description="for every bundle, its intent, which kinds go together, and why")
    left_out: str = Field(description="which kinds of products stay out, and why; empty where none does")
    lesson: str = Field(description="what this session teaches in general, in one sentence, naming kinds of products")


class Rewrite(Contract):
    """Another wording of a template."""

    reason: str = Field(description="why it should help the small model, in one sentence")
    template: str = Field(description="the whole new template, in Jinja, without fences")


Typed = TypeVar("Typed", bound=Contract)


@cache
def schema_of(contract: type[Contract]) -> dict[str, Any]:
    """Return a contract as a JSON Schema for strict servers: all fields are required and no others are allowed."""
    schema = contract.model_json_schema()
    for shape in [schema, *schema.get("$defs", {}).values()]:
        shape.pop("description", None)
        shape.pop("title", None)
        if "properties" in shape:
            shape |= {"additionalProperties": False, "required": list(shape["properties"])}
            for field in shape["properties"].values():
                field.pop("title", None)
    return schema


def parse(text: str, contract: type[Typed]) -> tuple[Typed | None, list[str]]:
    """Read a reply, even inside prose or fences; return it, or None and its faults in words for the model."""
    objects = _objects(text)
    if not objects:
        return None, ["there is no JSON object in it"]
    faults: list[str] = []
    # A model may write braces while it thinks, so the last object is the answer, and its faults are reported.
    for found in reversed(objects):
        try:
            return _masked(contract.model_validate_json(found)), []
        except ValidationError as error:
            faults = faults or [_fault(e) for e in error.errors()[:MAX_FAULTS]]
    return None, faults


def _masked(reply: Typed) -> Typed:
    """Return the reply with keys masked in its texts; JSON escapes may have hidden a key until now."""
    said = reply.model_dump_json()
    masked = without_key(said)
    return reply if masked == said else type(reply).model_validate_json(masked)


def _fault(error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"]) or "the object"
    return f"{place}: {error['msg'].lower()}"


def _objects(text: str) -> list[str]:
    """Return the text of the outermost JSON objects in a text, in order."""
    found, place, decoder = [], 0, json.JSONDecoder()
    while (start := text.find("{", place)) >= 0:
        try:
            _, place = decoder.raw_decode(text, start)
            found.append(text[start:place])
        except (ValueError, RecursionError):
            place = start + 1
    return found


def kinds_faults(kinds: Sequence[str], session: Session) -> list[str]:
    """Return the faults of the kinds of a session's products."""
    if len(kinds) != len(session.items):
        return [f"there must be {len(session.items)} kinds, one per product, not {len(kinds)}"]
    return [f"kind {n} must be one to three words, not {k!r}" for n, k in enumerate(kinds, 1) if not _is_kind(k)]


def _is_kind(kind: str) -> bool:
    return 1 <= len(as_kind(kind).split()) <= 4 and len(kind) <= 60


def proposal_faults(proposal: Proposal, session: Session) -> list[str]:
    """Return the faults of proposed bundles: unknown numbers, single products and products in two bundles."""
    count, seen, faults = len(session.items), set[int](), []
    for bundle in proposal.bundles:
        numbers = set(bundle.items)
        faults += [f"there is no product {n}, only 1 to {count}" for n in sorted(numbers) if not 1 <= n <= count]
        faults += [f"product {n} stands in two bundles" for n in sorted(numbers & seen)]
        if len(numbers) < 2:
            faults.append("a bundle needs at least two products")
        if not bundle.intent.strip() or len(bundle.intent) > _WORDY:
            faults.append("an intent has two to six words")
        seen |= numbers
    return faults[:MAX_FAULTS]


def rules_faults(rules: Rules, lessons: int) -> list[str]:
    """Return the faults of rules: no text, no condition, or unknown lessons."""
    faults = []
    for number, rule in enumerate(rules.rules, 1):
        if not rule.text.strip():
            faults.append(f"rule {number} has no text")
        if rule.condition.is_empty:
            faults.append(f"the condition of rule {number} holds for all products; say for which ones it speaks")
        faults += [f"rule {number}: there is no lesson {n}" for n in rule.lessons if not 1 <= n <= lessons]
        if not rule.lessons:
            faults.append(f"rule {number} rests on no lesson")
    return faults[:MAX_FAULTS]


def as_kind(words: str) -> str:
    """Return a kind in the form for comparison: lower case, on one line, without punctuation at its ends."""
    return re.sub(r"\s+", " ", words).strip(" .,;:\"'").lower()
