"""Replay a conversation that the client keeps, from its start, and remember the states that were reached."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from threading import Lock
from typing import Any

from bundlewise.agents.assistant.conversation import Event
from bundlewise.graphs.assistant import AssistantContext, build_assistant_graph, turn
from bundlewise.progress import go_on

REMEMBERED = 256
"""The most states of conversations that are remembered."""
LONGEST = 100
"""The most messages that are replayed if no state of the conversation is remembered."""
KEPT = ("desk", "past", "messages")


class Replay:
    """Answers the last message of a conversation; safe to call from any thread.

    A client sends the whole conversation with each message. The state after the earlier messages is remembered, so
    that the student and the chat model are not asked again, and "add 1" refers to the list that was really shown.
    """

    def __init__(self, context: AssistantContext) -> None:
        self._context = context
        self._graph: Any = build_assistant_graph()
        self._known: OrderedDict[tuple[str, ...], Mapping[str, Any]] = OrderedDict()
        self._lock = Lock()

    def answer(self, said: tuple[str, ...]) -> Iterator[Event]:
        """Replay a conversation, given as all messages of the shopper, and stream the reply to the last one."""
        before, after = self._after(said[:-1]), dict[str, Any]()
        for kind, part in self._stream(before, said[-1]):
            if kind == "custom":
                yield part
            else:
                after = part
        self._remember(said, after)

    def _after(self, said: tuple[str, ...]) -> Mapping[str, Any]:
        """Return the state after messages: from the longest remembered beginning, or from the last LONGEST messages."""
        length, state = self._longest_known(said)
        for place in range(length if length else max(0, len(said) - LONGEST), len(said)):
            go_on()
            *_, (_, state) = self._stream(state, said[place])
            self._remember(said[: place + 1], state)
        return state

    def _longest_known(self, said: tuple[str, ...]) -> tuple[int, Mapping[str, Any]]:
        with self._lock:
            length = next((n for n in range(len(said), 0, -1) if said[:n] in self._known), 0)
            return length, self._known[said[:length]] if length else {}

    def _stream(self, before: Mapping[str, Any], message: str) -> Iterator[tuple[str, Any]]:
        given = {**before, **turn(message)}
        yield from self._graph.stream(given, context=self._context, stream_mode=["custom", "values"])

    def _remember(self, said: tuple[str, ...], after: Mapping[str, Any]) -> None:
        """Keep the states of a conversation after its last two messages, because a client may change the last one."""
        with self._lock:
            self._known[said] = {name: after[name] for name in KEPT if name in after}
            self._known.move_to_end(said)
            self._known.pop(said[:-2], None)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
