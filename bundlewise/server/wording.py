"""What clients that know text alone are told: the reply, and its cards in words."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bundlewise.agents.cards import lines_of
from bundlewise.agents.conversation import BundlesEvent, CartEvent, Event, TextEvent
from bundlewise.agents.router import Seen, understand
from bundlewise.assistant import Assistant

AND_BUNDLE = {"role": "user", "content": "bundle this"}


def spoken(assistant: Assistant, messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the reply to a conversation in pieces of text.

    A list of products is bundled at once: who sends nothing else to a program wants no cart.
    """
    held, bundled = 0, False
    for event in assistant.complete(messages):
        held = len(event.items) if isinstance(event, CartEvent) else held
        bundled = bundled or isinstance(event, BundlesEvent)
        yield words_of(event)
    if is_list(str(messages[-1]["content"])) and held > 1 and not bundled:
        yield "\n"
        for event in assistant.complete([*messages, AND_BUNDLE]):
            yield words_of(event)


def is_list(text: str) -> bool:
    """Say whether a message has several products in it, lines or parts between semicolons, and no orders or talk."""
    several = sum(bool(part.strip()) for part in text.replace(";", "\n").splitlines()) > 1
    return several and any(action.name == "paste" for action in understand(text, Seen()))


def words_of(event: Event) -> str:
    """Return an event in words; nothing for a cart, of which the reply's text says enough."""
    if isinstance(event, TextEvent):
        return event.text
    rows = [] if isinstance(event, CartEvent) else list(lines_of(event))
    return "\n" + "\n".join(rows) + "\n" if rows else ""
