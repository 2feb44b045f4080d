"""The assistant graph: it reads a message or a click and streams events; the thread keeps the desk and the messages.

listen -> understand -> (change | bundle | complete | explain)* -> reply. With a chat model the actions are its tool
calls, and it is asked again with their results; without one the router finds the actions. All statements about
products, prices and bundles come from the desk.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import Checkpointer

from bundlewise.agents.assistant import router
from bundlewise.agents.assistant.cart import Deed, Finder
from bundlewise.agents.assistant.conversation import Action, Desk, DoneEvent, Event, Message, TextEvent
from bundlewise.agents.assistant.deeds import do
from bundlewise.agents.assistant.meaning import Meaning
from bundlewise.agents.assistant.offers import Bundler, explained, goes_with, offered
from bundlewise.agents.assistant.wording import UNKNOWN
from bundlewise.errors import ModelError

ROUNDS = 4
"""The most times that a chat model is asked in one turn."""
REMEMBERED = 400
UNDOABLE = 20
WAITING = "After that I go on with the rest of your wish."
STEPS = 200
"""The most steps of a turn; a message may ask for many things."""


class Pilot(Protocol):
    """A chat model that decides on the next actions."""

    def decide(self, state: "AssistantState") -> tuple[tuple[dict[str, Any], ...], tuple[Action, ...]]:
        """Return the model's answer for the next round, and the actions in it; both are empty when it is done.

        Raises:
            ModelError: the model cannot be asked, or gives an invalid answer.
        """


@dataclass(frozen=True)
class AssistantContext:
    """The objects that a conversation uses; without a pilot the router reads the messages."""

    student: Bundler
    finder: Finder
    pilot: Pilot | None = None
    meaning: Meaning = field(default_factory=Meaning)


@dataclass(frozen=True)
class AssistantState:
    """A thread: the desk, the messages, and the current turn.

    `said`, `todo` and `open` are the input: a message, or clicked actions, and whether a reply is due; an interrupted
    turn stays open. `told` and `cards` are the reply so far. `past` holds the desks for undo; the last one is the desk
    at the beginning of the turn. `calls` holds the chat model's calls and their results in this turn.
    """

    said: str = ""
    todo: tuple[Action, ...] = ()
    desk: Desk = field(default_factory=Desk)
    past: tuple[Desk, ...] = ()
    messages: tuple[Message, ...] = ()
    told: tuple[str, ...] = ()
    cards: tuple[Event, ...] = ()
    calls: tuple[dict[str, Any], ...] = ()
    rounds: int = 0
    open: bool = False


class AssistantUpdate(TypedDict, total=False):
    """The parts of the state that a node changes."""

    todo: tuple[Action, ...]
    desk: Desk
    past: tuple[Desk, ...]
    messages: tuple[Message, ...]
    told: tuple[str, ...]
    cards: tuple[Event, ...]
    calls: tuple[dict[str, Any], ...]
    rounds: int
    open: bool


Run = Runtime[AssistantContext]
Step = Literal["understand", "change", "bundle", "complete", "explain", "reply"]
ASKS: dict[str, Step] = {"bundle": "bundle", "complete": "complete", "explain": "explain"}
"""The actions that need the student, with their nodes."""


def turn(said: str = "", todo: tuple[Action, ...] = ()) -> dict[str, Any]:
    """Return the input that begins a turn: a message, or clicked actions."""
    return {"said": said, "todo": todo, "open": True}


def listen(state: AssistantState, runtime: Run) -> AssistantUpdate:
    """Begin a turn: keep the message and the current desk; a desk equal to the last one replaces it in the history."""
    said = (Message(role="user", text=state.said),) if state.said else ()
    same = bool(state.past) and _wishes(state.past[-1]) == _wishes(state.desk)
    past = (*(state.past[:-1] if same else state.past), state.desk)[-UNDOABLE - 1 :]
    messages = (*state.messages, *said)[-REMEMBERED:]
    rounds = 0 if state.said else ROUNDS
    desk = state.desk.model_copy(update={"currency": runtime.context.finder.currency})
    return {"desk": desk, "messages": messages, "past": past, "told": (), "cards": (), "calls": (), "rounds": rounds}


def understand(state: AssistantState, runtime: Run) -> AssistantUpdate:
    """Find the actions of a message: by the chat model, or by the router if there is no model or it fails."""
    context = runtime.context
    if context.pilot is not None:
        try:
            said, actions = context.pilot.decide(state)
        except ModelError as error:
            if state.rounds:
                return {"rounds": ROUNDS, "told": _say(state, f"(The chat model failed: {error}.)", runtime)}
            told = _say(state, f"(The chat model failed: {error}. I follow commands without it.)", runtime)
            return {"todo": _routed(state, context), "rounds": ROUNDS, "told": told}
        rounds = state.rounds + 1 if said else ROUNDS
        return {"todo": actions, "calls": (*state.calls, *said), "rounds": rounds}
    return {"todo": _routed(state, context), "rounds": ROUNDS}


def _routed(state: AssistantState, context: AssistantContext) -> tuple[Action, ...]:
    finder = context.finder
    return tuple(
        router.understand(
            state.said, router.Seen(state.desk, finder.knows, finder.spelt, finder.titled, context.meaning)
        )
    )


def change(state: AssistantState, runtime: Run) -> AssistantUpdate:
    """Carry out an action that needs no student: search, cart, limits, undo."""
    action = state.todo[0]
    if action.name == "undo":
        update = _done(state, _undone(state), runtime)
        update["past"] = state.past[:-1] or state.past
        return update
    desk = state.desk.model_copy(update={"question": None})
    return _done(state, do(desk, action, runtime.context.finder), runtime)


def bundle(state: AssistantState, runtime: Run) -> AssistantUpdate:
    """Let the student bundle the cart within the limits, and offer the bundles."""
    update = _done(state, offered(state.desk, runtime.context.student), runtime)
    if not update["desk"].bundles:  # A waiting explanation would ask for bundles again without end.
        update["todo"] = tuple(action for action in update["todo"] if action.name != "explain")
    return update


def complete(state: AssistantState, runtime: Run) -> AssistantUpdate:
    """Let the student judge which catalogue products go with the cart, or with a part of it."""
    context = runtime.context
    return _done(state, goes_with(state.desk, state.todo[0], context.student, context.finder), runtime)


def explain(state: AssistantState, runtime: Run) -> AssistantUpdate:
    """Explain bundles by the knowledge that they rest on."""
    return _done(state, explained(state.desk, state.todo[0], runtime.context.student), runtime)


def reply(state: AssistantState, runtime: Run) -> AssistantUpdate:
    """End the turn, and store the reply with its cards as a message of the thread."""
    refusals = [call["content"] for call in state.calls if call["role"] == "result"]
    told = state.told or _say(state, refusals[-1] if refusals else UNKNOWN, runtime)
    runtime.stream_writer(DoneEvent())
    message = Message(role="assistant", text=" ".join(told), events=state.cards)
    messages = (*state.messages, message)[-REMEMBERED:]
    return {"messages": messages, "todo": (), "calls": (), "open": False}


def next_step(state: AssistantState) -> Step:
    """Return the node of the next action; after the last action ask the chat model again, or reply."""
    if state.todo:
        return ASKS.get(state.todo[0].name, "change")
    return "reply" if state.rounds >= ROUNDS else "understand"


def begin(state: AssistantState) -> Step:
    """Return the first node of a turn: clicked actions start at once, a message must be understood first."""
    return next_step(state) if state.todo else "understand"


def _undone(state: AssistantState) -> Deed:
    if len(state.past) < 2:
        return Deed(state.desk, "There is nothing to undo.", refused=True)
    kept = ("found", "query", "asked", "passed", "removed")
    before = state.past[-2].model_copy(update={name: getattr(state.desk, name) for name in kept} | {"question": None})
    return Deed(before, "Undone.", (before.card(),))


def _wishes(desk: Desk) -> tuple[object, ...]:
    """Return the parts of a desk that undo restores."""
    return desk.cart, desk.excluded, desk.limits, desk.quantities


def _say(state: AssistantState, text: str, runtime: Run) -> tuple[str, ...]:
    """Stream a piece of text, and return the reply so far."""
    runtime.stream_writer(TextEvent(text=f" {text}" if state.told else text))
    return (*state.told, text)


def _done(state: AssistantState, deed: Deed, runtime: Run) -> AssistantUpdate:
    """Stream the result of an action and go on to the next; a refusal ends the turn, or returns to the pilot."""
    question, rest = deed.desk.question, () if deed.refused else state.todo[1:]
    if deed.refused and question is not None and state.todo[1:]:
        waiting = question.model_copy(update={"then": (*question.then, *state.todo[1:])})
        deed = replace(deed, desk=deed.desk.model_copy(update={"question": waiting}), said=f"{deed.said} {WAITING}")
    again = deed.refused and runtime.context.pilot is not None and state.rounds < ROUNDS and bool(state.calls)
    told = state.told if again else _say(state, deed.said, runtime)
    for event in deed.events:
        runtime.stream_writer(event)
    follow = tuple(action for action in deed.then if action not in rest)
    heard = {"role": "result", "content": deed.said}
    return {
        "desk": deed.desk,
        "told": told,
        "cards": (*state.cards, *deed.events),
        "todo": (*follow, *rest),
        "calls": (*state.calls, heard) if state.calls else (),
    }


def build_assistant_graph(
    checkpointer: Checkpointer = None, context_schema: type[Any] = AssistantContext
) -> CompiledStateGraph[AssistantState, AssistantContext, AssistantState, AssistantState]:
    """Build the graph; run it with `stream(turn(said="..."), config, context=AssistantContext(...))`.

    Another `context_schema` must have the same attributes.
    """
    graph = StateGraph(AssistantState, context_schema=context_schema)
    graph.add_node("listen", listen)
    graph.add_node("understand", understand)
    graph.add_node("change", change)
    graph.add_node("bundle", bundle)
    graph.add_node("complete", complete)
    graph.add_node("explain", explain)
    graph.add_node("reply", reply)
    graph.add_edge(START, "listen")
    graph.add_conditional_edges("listen", begin)
    for name in ("understand", "change", "bundle", "complete", "explain"):
        graph.add_conditional_edges(name, next_step)
    graph.add_edge("reply", END)
    return graph.compile(checkpointer=checkpointer).with_config(recursion_limit=STEPS)
