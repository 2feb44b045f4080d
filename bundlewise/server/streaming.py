"""From a thread that talks to a client that listens: pieces as they come, and an end when the client has gone."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from bundlewise.progress import go_on, while_wanted
from bundlewise.server.refusals import plainly
from bundlewise.server.service import CALLER, Caller

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
"""What a stream's content is, for the OpenAPI."""
_END = object()


def talking(
    talk: Callable[[], Iterator[Piece]], caller: Caller, threads: CapacityLimiter, hear: Callable[[Piece], None]
) -> "asyncio.Future[None]":
    """Run an iterator to its end on a thread of its own, for a caller; the loop hears each piece as it comes."""
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
    """Yield what an iterator gives; when whoever listens has gone, what its thread waits for is given up."""
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
    """Take note of how a thread ended that nobody listens to, so that nobody is told that nobody asked."""
    if not running.cancelled():
        running.exception()
