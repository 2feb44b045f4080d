"""The assistant: conversations (threads) with one student and one catalogue, each stored for its owner only."""

import threading
from collections import defaultdict, deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bundlewise.agents.assistant.conversation import (
    Action,
    Event,
    Message,
    ThreadLine,
    ThreadView,
)
from bundlewise.agents.assistant.meaning import Meaning
from bundlewise.agents.assistant.offers import Bundler
from bundlewise.agents.assistant.phrases import Phrases
from bundlewise.agents.assistant.wording import words_of
from bundlewise.data.catalogue import read_catalogue, whole
from bundlewise.data.feedback import NOTE, Feedback, FeedbackLog
from bundlewise.domain import Item
from bundlewise.errors import BundlewiseError, UsageError
from bundlewise.graphs.assistant import AssistantContext, AssistantState, Pilot, build_assistant_graph, turn
from bundlewise.graphs.replay import Replay
from bundlewise.graphs.threads import config_for, forget_steps, mark_of, thread_saver, threads_of
from bundlewise.knowledge_base.embedding import Embedder
from bundlewise.pipeline.indexing import indexing
from bundlewise.pipeline.product_search import ProductFinder
from bundlewise.terminal import note
from bundlewise.titles import LONGEST

Events = Generator[Event, None, None]
"""The events of a reply as they come; close it if you stop reading before its end."""
TITLE = 60
"""Most characters of a thread's title."""


class Assistant:
    """Conversations about carts; safe to call from any thread. Call `close` at the end, or use `with`."""

    def __init__(
        self,
        student: Bundler,
        finder: ProductFinder,
        threads: Path | str | None = None,
        pilot: Pilot | None = None,
        feedback: Path | None = None,
        phrases: Phrases | None = None,
    ) -> None:
        self.place = threads
        self._open = ExitStack()
        self._saver = self._open.enter_context(thread_saver(threads))
        self._graph = build_assistant_graph(self._saver)
        self.student, self.finder = student, finder
        embed = finder.embedder.embed if finder.embedder else None
        meaning = Meaning(phrases or Phrases.read(), embed)
        self._context = AssistantContext(student, finder, pilot, meaning)
        self._replay = Replay(self._context)
        self._feedback = FeedbackLog(feedback) if feedback else None
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)

    @classmethod
    def open(
        cls,
        student: Bundler,
        catalogue: str | Sequence[Item] = "electronics",
        threads: Path | str | None = None,
        chat_model: str | None = None,
        *,
        feedback: Path | None = None,
        embedder: Embedder | None = None,
        wait: bool = False,
        phrases: Path | None = None,
        currency: str = "",
    ) -> "Assistant":
        """Open an assistant.

        Args:
            student: the student that finds bundles.
            catalogue: a file, a starter domain, or a sequence of products.
            threads: a SQLite file, a Postgres URL, or None to keep them in memory.
            chat_model: `openai:NAME[@URL]`, a model that interprets messages; with None the rules of the router do.
            feedback: the file for ratings.
            embedder: the embedder of titles and messages; MiniLM by default. If that cannot be had, words alone count.
            wait: whether to embed the catalogue now, or during the conversation. In the second case a search waits
                for the vectors if few are missing; if many are, search uses words until the next start.
            phrases: a YAML file of what shoppers say; the packaged one by default.
            currency: what is written behind prices, such as EUR; by default the one currency that the catalogue names.

        Raises:
            UsageError: there is no such catalogue, chat model or file for threads.
            DataError: the catalogue or the phrases have a fault; the message names file and place.
        """
        from bundlewise.graphs.chat_pilot import ChatPilot

        said = Phrases.read(phrases)

        products, known = read_catalogue(catalogue) if isinstance(catalogue, str) else (list(catalogue), "")
        finder = ProductFinder(products, embedder or _usual_embedder(), currency or known)
        pilot = ChatPilot.named(chat_model) if chat_model else None
        found = cls(student, finder, threads, pilot, feedback, said)
        found._open.enter_context(indexing(finder, wait, note, said.texts))
        return found

    def close(self) -> None:
        """Close the store of threads."""
        self._open.close()

    def __enter__(self) -> "Assistant":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, thread: str, message: str, owner: str = "") -> Events:
        """Send a message to a thread, which is created if it is missing; stream the reply.

        Raises:
            UsageError: the message is empty or too long, or the thread's name is invalid.
        """
        if not message.strip():
            raise UsageError("the message is empty; say something")
        if len(message) > LONGEST:
            raise UsageError(f"the message has {len(message):,} characters; write at most {LONGEST:,}")
        return self._run(thread, turn(whole(message)), owner)

    def say(self, thread: str, message: str, owner: str = "") -> str:
        """Send a message to a thread as `send` does, and return the whole reply as text."""
        return "".join(map(words_of, self.send(thread, message, owner))).strip()

    def act(self, thread: str, action: Action | Mapping[str, Any], owner: str = "") -> Events:
        """Run an action, such as a click on the page, in a thread; stream the reply.

        Raises:
            UsageError: there is no such action.
        """
        return self._run(thread, turn(todo=(_action(action),)), owner)

    def resume(self, thread: str, owner: str = "") -> Events:
        """Finish the turn that was interrupted, if there is one, and stream the rest of its reply.

        Raises:
            UsageError: the owner has no such thread.
        """
        config: Any = config_for(owner, thread)
        if self._state(thread, owner)[1]:
            with self._lock_of(config):
                yield from self._stream(None, config)

    def view(self, thread: str, owner: str = "") -> ThreadView:
        """Return the current state of a thread.

        Raises:
            UsageError: the owner has no such thread.
        """
        state, pending = self._state(thread, owner)
        return ThreadView(
            thread=thread,
            messages=state.messages,
            cart=state.desk.card(),
            bundles=state.desk.bundles,
            found=state.desk.found,
            pending=pending,
        )

    def threads(self, owner: str = "") -> list[ThreadLine]:
        """Return the owner's threads, the latest first."""
        lines = []
        for name, kept in threads_of(self._saver, owner).items():
            values = kept.checkpoint["channel_values"]
            messages: tuple[Message, ...] = tuple(values.get("messages", ()))
            desk = values.get("desk")
            said = next((m.text for m in messages if m.role == "user"), "")
            title = " ".join(said.split())[:TITLE] or "cart"
            held = len(desk.cart) if desk else 0
            lines.append(
                ThreadLine(thread=name, title=title, at=kept.checkpoint["ts"], messages=len(messages), cart=held)
            )
        return sorted(lines, key=lambda row: row.at, reverse=True)

    def forget(self, thread: str, owner: str = "") -> None:
        """Delete a thread for good.

        Raises:
            UsageError: the owner has no such thread.
        """
        self._state(thread, owner)
        config = config_for(owner, thread)
        with self._lock_of(config):
            self._saver.delete_thread(config["configurable"]["thread_id"])

    def complete(self, messages: Sequence[Mapping[str, Any]]) -> Iterator[Event]:
        """Answer the last message of a conversation that the caller stores, by replaying it from the start.

        Args:
            messages: each with `role` and `content`, as in OpenAI's chat completions; only the user's messages count.

        Raises:
            UsageError: the last message is not a user's, or has no text.
        """
        said = [text_of(message) for message in messages if message.get("role") == "user"]
        if not said or messages[-1].get("role") != "user" or not said[-1].strip():
            raise UsageError("the last message must be a user's and hold text")
        if len(said[-1]) > LONGEST:
            raise UsageError(f"the last message has {len(said[-1]):,} characters; write at most {LONGEST:,}")
        return self._replay.answer(tuple([text[:LONGEST] for text in said if text.strip()]))

    def search(self, text: str, limit: int = 20, max_price: float | None = None) -> list[Item]:
        """Return the products of the catalogue that match a text, best first."""
        return [item for item, _ in self.finder.search(text[:LONGEST], max(1, min(limit, 100)), most=max_price)]

    def rate(self, thread: str, owner: str = "", what: int | None = None, up: bool = True, note: str = "") -> Feedback:
        """Store a rating of a bundle of a thread (by its number, from 1), or of the last reply.

        Raises:
            UsageError: there is no such thread or bundle, or no file for feedback.
        """
        if self._feedback is None:
            raise UsageError("no feedback is kept here; open the assistant with a file for it")
        desk = self._state(thread, owner)[0].desk
        if len(note) > NOTE:
            raise UsageError(f"the note has {len(note):,} characters; write at most {NOTE:,}")
        if what is not None and not 1 <= what <= len(desk.bundles):
            raise UsageError(f"there is no bundle {what}; the thread has {len(desk.bundles)}")
        offer = desk.bundles[what - 1] if what is not None else None
        return self._feedback.add(
            owner=mark_of(owner),
            thread=thread,
            what="bundle" if offer else "reply",
            up=up,
            note=whole(note),
            items=tuple(item for item in desk.cart if item.id not in desk.excluded),
            bundle=offer.ids if offer else (),
            intent=offer.intent if offer else "",
            knowledge=offer.knowledge if offer else (),
        )

    def _lock_of(self, config: Any) -> threading.Lock:
        return self._locks[config["configurable"]["thread_id"]]

    def _state(self, thread: str, owner: str) -> tuple[AssistantState, bool]:
        """Return the state of an owner's thread, and whether a turn is unfinished."""
        snapshot = self._graph.get_state(config_for(owner, thread))
        if not snapshot.values and not snapshot.next:
            raise UsageError(f"no such thread: {thread}")
        state = AssistantState(**snapshot.values)
        return state, state.open

    def _run(self, thread: str, given: dict[str, Any], owner: str) -> Events:
        return self._turn(given, config_for(owner, thread))

    def _turn(self, given: dict[str, Any], config: Any) -> Events:
        """Finish a turn that a kill interrupted, then run this one; two turns of a thread never overlap.

        A turn that failed is given up: its caller got the error, and running it again would fail again.
        """
        with self._lock_of(config):
            before = self._graph.get_state(config)
            if before.values.get("open") and not any(task.error for task in before.tasks):
                deque(self._stream(None, config), maxlen=0)
            yield from self._stream(given, config)
            forget_steps(self._saver, config)

    def _stream(self, given: dict[str, Any] | None, config: Any) -> Events:
        """Run the graph, and store each step before the next."""
        graph: Any = self._graph
        yield from graph.stream(given, config, context=self._context, stream_mode="custom", durability="sync")


def _usual_embedder() -> Embedder | None:
    try:
        return Embedder.named()
    except BundlewiseError as error:
        note(f"no embedder ({error}); messages are understood and products are found by their words alone")
        return None


def text_of(message: Mapping[str, Any]) -> str:
    """Return the text of an OpenAI-style message; other parts, such as images, are ignored."""
    content = message.get("content")
    if isinstance(content, str):
        return whole(content)
    parts = content if isinstance(content, Sequence) else ()
    texts = [part.get("text") for part in parts if isinstance(part, Mapping) and part.get("type") == "text"]
    return whole("\n".join(text for text in texts if isinstance(text, str)))


def _action(given: Action | Mapping[str, Any]) -> Action:
    if isinstance(given, Action):
        return given
    try:
        return Action.model_validate(given)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"])) or "action"
        raise UsageError(f"{where}: {fault['msg'][:1].lower()}{fault['msg'][1:]}; see the schema of Action") from error
