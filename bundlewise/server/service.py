"""The service that the routes share: the student behind its queue, the caller and its cost, and the readiness."""

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
from bundlewise.bundles import Reason
from bundlewise.domain import Grouping, Item, Knowledge, KnowledgeKind, Prediction, Session
from bundlewise.server.limits import ServerLimits
from bundlewise.server.meters import Meters
from bundlewise.server.queues import BatchQueue
from bundlewise.server.refusals import plainly

log = logging.getLogger("bundlewise.server")
MODEL = "bundlewise"
READERS = 2
"""Most large bodies that are read at the same time."""
EDITS = 2
"""Most edited templates that are rendered at the same time, since each may use a process to its limit."""
WARM = ("Wireless mouse with USB receiver", "Mouse pad, large", "Garden hose, 15 m")
Result = TypeVar("Result")


class KnowingBundler(Bundler, Protocol):
    """The methods that the server needs of a student, beside those of the assistant; `Student` has them."""

    @property
    def about(self) -> dict[str, Any]:
        """Return everything that an answer depends on."""

    def knowledge(self, ids: Sequence[str]) -> dict[str, Knowledge]:
        """Return the records that predictions name."""

    def find(self, text: str, kind: KnowledgeKind | None, domain: str, limit: int) -> list[tuple[Knowledge, float]]:
        """Return the records that match a text best, with their scores."""


@dataclass
class Caller:
    """The client of a request, the tokens it has cost so far, and the work it waits for."""

    client: str
    read: int = 0
    written: int = 0
    pending: set[Future[Any]] = field(default_factory=set)
    has_gone: bool = False

    def charge(self, predictions: Sequence[Prediction]) -> None:
        """Add the cost of predictions."""
        self.read += sum(prediction.tokens_in for prediction in predictions)
        self.written += sum(prediction.tokens_out for prediction in predictions)

    def leave(self) -> None:
        """Cancel the work still waited for, since the client has disconnected."""
        self.has_gone = True
        for future in list(self.pending):
            future.cancel()


CALLER: contextvars.ContextVar[Caller] = contextvars.ContextVar("caller")


class Service:
    """One student on a server; it is started and stopped with the app."""

    def __init__(self, student: KnowingBundler, limits: ServerLimits, meters: Meters) -> None:
        self.student, self.meters = student, meters
        self.queue = BatchQueue(student.answer, meters, limits.waiting)
        self.threads = CapacityLimiter(limits.concurrent)
        self.edits, self.readers = CapacityLimiter(EDITS), CapacityLimiter(READERS)
        self.state = "warming up"
        self._warming: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Start the queue, and warm the student up at the same time."""
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
        """Return predictions in the caller's turn, and count them; limits are given by session id."""
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
        """Run work on the event loop from a thread that serves a caller, and wait for its result."""
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
    """Return the service of the app that handles a request."""
    service: Service = request.app.state.service
    return service


def caller_of(request: Request) -> Caller:
    """Return the caller of a request."""
    return Caller(request.state.client)


async def beside(work: Callable[[], Result]) -> Result:
    """Run work that uses the disk outside the event loop; its errors about the request become refusals."""
    return await run_sync(plainly()(work))


async def apart(request: Request, work: Callable[[], Result]) -> Result:
    """Run work on an edited template outside the event loop, a few at a time, unless the caller has disconnected."""
    caller = caller_of(request)

    def run() -> Result:
        if caller.has_gone:
            raise ConnectionResetError("the client has gone")
        return plainly()(work)()

    # Shielded, so that the place becomes free when the work ends, even if the caller stops waiting before.
    doing = asyncio.shield(run_sync(run, limiter=service_of(request).edits))
    try:
        return await while_there(request, doing)
    except (ConnectionError, asyncio.CancelledError):
        caller.leave()
        raise


async def alone(request: Request, work: Callable[[], Result]) -> Result:
    """Run work in the caller's turn while nothing else uses the student, as long as the caller waits for it."""
    return await while_there(request, service_of(request).queue.do(caller_of(request).client, plainly()(work)))


async def while_there(request: Request, work: Awaitable[Result]) -> Result:
    """Wait for work as long as the client is connected; then cancel it.

    Raises:
        ConnectionResetError: the client disconnected first.
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
