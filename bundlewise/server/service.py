"""What the routes share: the student behind its queue, who asks and what it costs, and whether all is ready."""

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.requests import Request

from bundlewise.agents.assistant.offers import Bundler
from bundlewise.agents.student.limits import NO_LIMITS
from bundlewise.agents.student.limits import Limits as BundleLimits
from bundlewise.domain import Grouping, Item, Knowledge, KnowledgeKind, Prediction, Reason, Session
from bundlewise.server.limits import ServerLimits
from bundlewise.server.meters import Meters
from bundlewise.server.queues import BatchQueue
from bundlewise.server.refusals import plainly

log = logging.getLogger("bundlewise.server")
MODEL = "bundlewise"
READERS = 2
"""Large bodies that are read at once."""
EDITS = 2
"""Edited templates that are rendered at once: each may take a process to its limit."""
WARM = ("Wireless mouse with USB receiver", "Mouse pad, large", "Garden hose, 15 m")
Result = TypeVar("Result")


class KnowingBundler(Bundler, Protocol):
    """What the server asks of a student, beside what an assistant does; `Student` is one."""

    @property
    def about(self) -> dict[str, Any]:
        """What an answer depends on."""

    def knowledge(self, ids: Sequence[str]) -> dict[str, Knowledge]:
        """Return the records that predictions name."""

    def find(self, text: str, kind: KnowledgeKind | None, domain: str, limit: int) -> list[tuple[Knowledge, float]]:
        """Return the records that fit words best, with their score."""


@dataclass
class Caller:
    """Who a request is for, the tokens it has cost so far, and what it waits for."""

    client: str
    read: int = 0
    written: int = 0
    pending: set[Future[Any]] = field(default_factory=set)
    has_gone: bool = False

    def charge(self, predictions: Sequence[Prediction]) -> None:
        """Note what predictions have cost."""
        self.read += sum(prediction.tokens_in for prediction in predictions)
        self.written += sum(prediction.tokens_out for prediction in predictions)

    def leave(self) -> None:
        """Give up what is still waited for: the client has gone."""
        self.has_gone = True
        for future in list(self.pending):
            future.cancel()


CALLER: contextvars.ContextVar[Caller] = contextvars.ContextVar("caller")


class Service:
    """One student, served; started and stopped with the app."""

    def __init__(self, student: KnowingBundler, limits: ServerLimits, meters: Meters) -> None:
        self.student, self.meters = student, meters
        self.queue = BatchQueue(student.answer, meters, limits.waiting)
        self.threads = CapacityLimiter(limits.concurrent)
        self.edits, self.readers = CapacityLimiter(EDITS), CapacityLimiter(READERS)
        self.state = "warming up"
        self._warming: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Start the queue, and warm the student up beside it."""
        self._loop = asyncio.get_running_loop()
        self.queue.start()
        self._warming = asyncio.create_task(self._warm_up())
        self._warming.add_done_callback(self._warmed)

    async def stop(self) -> None:
        """Stop answering."""
        self.state = "stopping"
        if self._warming:
            self._warming.cancel()
            await asyncio.wait([self._warming])
        await self.queue.stop()

    async def _warm_up(self) -> None:
        items = tuple(Item(id=str(n), title=title) for n, title in enumerate(WARM, 1))
        await self.queue.ask("warm-up", [Session(session_id="warm-up", items=items)])

    def _warmed(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        if error := task.exception():
            log.error("the student cannot answer", exc_info=error)
        self.state = "failed; see the log" if task.exception() else "ready"

    async def answer(
        self, caller: Caller, sessions: Sequence[Session], limits: Mapping[str, BundleLimits] = NO_LIMITS
    ) -> list[Prediction]:
        """Return predictions in the caller's turn, and count them; limits hold by session id."""
        predictions = await self.queue.ask(caller.client, sessions, limits)
        caller.charge(predictions)
        for prediction in predictions:
            self.meters.sessions.labels(prediction.outcome).inc()
        self.meters.tokens.labels("read").inc(sum(p.tokens_in for p in predictions))
        self.meters.tokens.labels("written").inc(sum(p.tokens_out for p in predictions))
        return predictions

    async def explain(self, caller: Caller, session: Session, groups: Grouping) -> list[list[Reason]]:
        """Return the reasons for bundles in the caller's turn."""
        return await self.queue.do(caller.client, lambda: self.student.explain(session, groups))

    def from_thread(self, work: Callable[[Caller], Awaitable[Result]]) -> Result:
        """Run work of the loop from a thread that serves a caller, and wait for it."""
        assert self._loop is not None, "the service is not started"
        caller = CALLER.get(Caller("assistant"))
        if caller.has_gone:
            raise ConnectionResetError("the client has gone")

        async def run() -> Result:
            return await work(caller)

        future = asyncio.run_coroutine_threadsafe(run(), self._loop)
        caller.pending.add(future)
        try:
            return future.result()
        except CancelledError:
            raise ConnectionResetError("the client has gone") from None
        finally:
            caller.pending.discard(future)


def service_of(request: Request) -> Service:
    """Return the service of the app that a request came to."""
    service: Service = request.app.state.service
    return service


def caller_of(request: Request) -> Caller:
    """Return whom a request is for."""
    return Caller(request.state.client)


async def beside(work: Callable[[], Result]) -> Result:
    """Run what touches the disk beside the loop; a wrong request is the client's fault."""
    return await run_sync(plainly()(work))


async def apart(request: Request, work: Callable[[], Result]) -> Result:
    """Run work on an edited template beside the loop, a few at once; it is not begun for a caller who has gone."""
    caller = caller_of(request)

    def run() -> Result:
        if caller.has_gone:
            raise ConnectionResetError("the client has gone")
        return plainly()(work)()

    # Shielded, so that a place is free again when the work has ended, and not when nobody waits for it.
    doing = asyncio.shield(run_sync(run, limiter=service_of(request).edits))
    try:
        return await while_there(request, doing)
    except (ConnectionError, asyncio.CancelledError):
        caller.leave()
        raise


async def alone(request: Request, work: Callable[[], Result]) -> Result:
    """Run work in the caller's turn where the student is alone, as long as the caller waits for it."""
    return await while_there(request, service_of(request).queue.do(caller_of(request).client, plainly()(work)))


async def while_there(request: Request, work: Awaitable[Result]) -> Result:
    """Wait for work as long as the client waits; then give it up.

    Raises:
        ConnectionResetError: the client has gone first.
    """
    doing = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_until_gone(request))
    try:
        await asyncio.wait([doing, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise ConnectionResetError("the client has gone")
        return doing.result()
    finally:
        for task in (doing, leaving):
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait([doing, leaving])


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
