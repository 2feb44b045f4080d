"""Turns of conversations: each runs to its end on a thread of its own, and every listener gets all of its events."""

import asyncio
import json
import logging
from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from bundlewise.agents.assistant.conversation import Event
from bundlewise.errors import BundlewiseError
from bundlewise.progress import go_on, while_wanted
from bundlewise.server.meters import Meters
from bundlewise.server.refusals import Refusal, error_body, plainly
from bundlewise.server.service import CALLER, Caller

log = logging.getLogger("bundlewise.server")
WAITING = 4
"""Most unfinished turns of one thread, including the running one."""
OPEN = 32
"""Most unfinished turns of one client, since they continue after it disconnects, and each takes a thread."""
SILENCE = 15.0
"""Seconds without an event after which a listener gets a comment that keeps the connection open."""


class Turn:
    """One turn: its events so far as rows of a stream, and whether it has ended."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.error: BaseException | None = None
        self.is_over = False
        self._news = asyncio.Event()

    def add(self, event: Event) -> None:
        """Add an event, and wake the listeners."""
        self._add(event.type, event.model_dump_json())

    def end(self, running: "asyncio.Future[None]") -> None:
        """Note the end of the thread; a fault becomes an event."""
        self.error = None if running.cancelled() else running.exception()
        if self.error is not None:
            self._add("error", _told(self.error))
        self.is_over = True
        self._wake()

    async def begun(self) -> None:
        """Wait for the first event.

        Raises:
            Refusal: there is no event, since the turn is refused.
        """
        while not (self.rows or self.is_over):
            await self._news.wait()
        if isinstance(self.error, Refusal) and len(self.rows) == 1:
            raise self.error

    async def follow(self) -> AsyncIterator[str]:
        """Yield the rows from the first to the end of the turn."""
        place = 0
        while True:
            while place < len(self.rows):
                yield self.rows[place]
                place += 1
            if self.is_over:
                return
            try:
                await asyncio.wait_for(self._news.wait(), SILENCE)
            except TimeoutError:
                yield ": still at it\n\n"

    def _add(self, kind: str, data: str) -> None:
        self.rows.append(f"event: {kind}\ndata: {data}\n\n")
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def _told(error: BaseException) -> str:
    """Return a fault as the body of a refusal; details that are not for clients are left out."""
    if isinstance(error, Refusal):
        return json.dumps(error_body(error.status_code, str(error.detail), error.code))
    if isinstance(error, BundlewiseError):
        return json.dumps(error_body(500, str(error), "failed"))
    return json.dumps(error_body(500, "the answer broke off; ask for the thread again to finish it", "broke_off"))


class Turns:
    """The unfinished turns, by owner and thread."""

    def __init__(self, threads: CapacityLimiter, meters: Meters) -> None:
        self._threads, self._meters = threads, meters
        self._under_way: dict[tuple[str, str], deque[Turn]] = defaultdict(deque)
        self._by_client: Counter[str] = Counter()
        self._running: set[asyncio.Future[None]] = set()

    def of(self, owner: str, thread: str) -> Turn | None:
        """Return the running turn of a thread."""
        turns = self._under_way.get((owner, thread))
        return turns[0] if turns else None

    def start(self, owner: str, thread: str, talk: Callable[[], Iterator[Event]], caller: Caller) -> Turn:
        """Start a turn; it runs to its end even without a listener.

        Raises:
            Refusal: 409, the thread or the client has too many unfinished turns.
        """
        key, client = (owner, thread), caller.client
        for count, most, whose in (
            (len(self._under_way.get(key, ())), WAITING, "this thread"),
            (self._by_client[client], OPEN, "this client"),
        ):
            if count >= most:
                raise Refusal(409, f"{most} turns of {whose} are unfinished; wait for one", code="thread_busy", wait=2)
        turn = Turn()
        self._under_way[key].append(turn)
        self._by_client[client] += 1
        running = talking(talk, caller, self._threads, turn.add)
        self._running.add(running)
        running.add_done_callback(partial(self._ended, key, client, turn))
        return turn

    def _ended(self, key: tuple[str, str], client: str, turn: Turn, running: "asyncio.Future[None]") -> None:
        self._running.discard(running)
        self._by_client -= Counter([client])  # The subtraction drops clients without turns.
        self._under_way[key].remove(turn)
        if not self._under_way[key]:
            del self._under_way[key]
        turn.end(running)
        if turn.error is not None and not isinstance(turn.error, (Refusal, BundlewiseError, ConnectionError)):
            log.error("a turn failed", exc_info=turn.error)
            self._meters.failures.labels("turn").inc()


Piece = TypeVar("Piece")
EVENTS: dict[str, Any] = {
    "text/event-stream": {
        "schema": {
            "type": "object",
            "description": "One server-sent event",
            "properties": {
                "event": {"type": "string"},
                "data": {"type": "string", "contentMediaType": "application/json"},
            },
            "required": ["data"],
        }
    }
}
"""The content of a stream, for OpenAPI."""
_END = object()


def talking(
    talk: Callable[[], Iterator[Piece]], caller: Caller, threads: CapacityLimiter, hear: Callable[[Piece], None]
) -> "asyncio.Future[None]":
    """Run an iterator to its end on a thread of its own, for a caller; the event loop gets each piece as it comes."""
    loop = asyncio.get_running_loop()

    def pump() -> None:
        CALLER.set(caller)
        with plainly(), while_wanted(lambda: not caller.has_gone):
            for piece in talk():
                go_on()
                loop.call_soon_threadsafe(hear, piece)

    return asyncio.ensure_future(run_sync(pump, limiter=threads))


async def pieces_of(
    talk: Callable[[], Iterator[Piece]], caller: Caller, threads: CapacityLimiter
) -> AsyncGenerator[Piece, None]:
    """Yield the pieces of an iterator; if the listener disconnects, the work that its thread waits for is cancelled."""
    heard = asyncio.Queue[object]()
    running = talking(talk, caller, threads, heard.put_nowait)
    running.add_done_callback(lambda _: heard.put_nowait(_END))
    try:
        while (piece := await heard.get()) is not _END:
            yield piece  # type: ignore[misc]  # the end is no piece
        running.result()
    finally:
        if not running.done():
            running.add_done_callback(_forget)
            caller.leave()


def _forget(running: "asyncio.Future[None]") -> None:
    """Read the error of a thread without a listener, so that asyncio does not report it as never retrieved."""
    if not running.cancelled():
        running.exception()
