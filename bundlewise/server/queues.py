"""The batching queue: waiting sessions are answered in batches, and clients take turns."""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

from bundlewise.agents.student.limits import NO_LIMITS, Limits
from bundlewise.domain import Prediction, Session
from bundlewise.pipeline.predictions import GENERATE_BATCH
from bundlewise.progress import Unwanted, go_on, while_wanted
from bundlewise.server.meters import Meters
from bundlewise.server.refusals import Refusal

LINGER = 0.01
"""Seconds to wait for more sessions after the first, since clients of one batch ask again at the same time."""

Bundle = Callable[[Sequence[Session], Mapping[str, Limits]], list[Prediction]]
Work = Callable[[], Any]
Result = TypeVar("Result")


class QueuedSession(NamedTuple):
    """A session to bundle, and the limits of its bundles."""

    session: Session
    limits: Limits | None = None


class Job:
    """A session to bundle, or other work for the student, with the future of its result."""

    def __init__(self, work: QueuedSession | Work, loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.done: asyncio.Future[Any] = loop.create_future()
        self.since = time.perf_counter()


class BatchQueue:
    """One queue per client, served in turn; one thread runs the student."""

    def __init__(self, bundle: Bundle, meters: Meters, limit: int = 512, batch: int = GENERATE_BATCH) -> None:
        self._bundle, self._meters, self._limit, self._batch = bundle, meters, limit, batch
        self._clients: OrderedDict[str, deque[Job]] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, "student")
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_over = False

    def start(self) -> None:
        """Start answering, on the running event loop."""
        self._task = asyncio.create_task(self._run(), name="student")

    async def stop(self) -> None:
        """Stop answering the waiting jobs; running work ends at its next step."""
        self._is_over = True
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
        for jobs in self._clients.values():
            for job in jobs:
                job.done.cancel()
        self._thread.shutdown(wait=True, cancel_futures=True)

    @property
    def waiting(self) -> int:
        """The number of waiting jobs whose callers still wait."""
        return sum(not job.done.done() for jobs in self._clients.values() for job in jobs)

    async def ask(
        self, client: str, sessions: Sequence[Session], limits: Mapping[str, Limits] = NO_LIMITS
    ) -> list[Prediction]:
        """Return the predictions of sessions; they are dropped if the caller stops waiting.

        Raises:
            Refusal: 503, too many sessions wait already.
        """
        return await self._wait_for(client, [QueuedSession(each, limits.get(each.session_id)) for each in sessions])

    async def do(self, client: str, work: Callable[[], Result]) -> Result:
        """Run other work for the student in the client's turn.

        Raises:
            Refusal: 503, too much work waits already.
        """
        (result,) = await self._wait_for(client, [work])
        return result  # type: ignore[no-any-return]

    async def _wait_for(self, client: str, works: Sequence[QueuedSession | Work]) -> list[Any]:
        waiting = self.waiting
        if waiting + len(works) > self._limit:
            found = (
                f"{waiting} sessions wait for the student, with {len(works)} more the limit of {self._limit} is passed"
            )
            raise Refusal(503, f"{found}; try again in a moment", code="queue_full", wait=2)
        jobs = [Job(work, asyncio.get_running_loop()) for work in works]
        self._clients.setdefault(client, deque()).extend(jobs)
        self._wake.set()
        self._meters.waiting.set(self.waiting)
        try:
            return await asyncio.gather(*(job.done for job in jobs))
        finally:  # A caller that disconnected or got an error waits for none of its jobs.
            for job in jobs:
                job.done.cancel()
            self._drop(client)

    def _drop(self, client: str) -> None:
        """Remove the jobs that nobody waits for from a client's queue."""
        wanted = deque(job for job in self._clients.get(client, ()) if not job.done.done())
        if wanted:
            self._clients[client] = wanted
        else:
            self._clients.pop(client, None)
        self._meters.waiting.set(self.waiting)

    def _take(self) -> list[Job]:
        """Take the next batch: a job of every client in turn, until it is full."""
        taken: list[Job] = []
        while self._clients and len(taken) < self._batch:
            client, jobs = self._clients.popitem(last=False)
            if not (job := jobs.popleft()).done.done():
                taken.append(job)
            if jobs:
                self._clients[client] = jobs
        return taken

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            if self.waiting < self._batch:
                await asyncio.sleep(LINGER)
            jobs = self._take()
            if not self._clients:
                self._wake.clear()
            self._meters.waiting.set(self.waiting)
            for job in jobs:
                self._meters.queued.observe(time.perf_counter() - job.since)
            await self._answer([job for job in jobs if isinstance(job.work, QueuedSession)])
            for job in jobs:
                if not isinstance(job.work, QueuedSession):
                    await self._settle([job], partial(_alone, job.work))

    async def _answer(self, jobs: list[Job]) -> None:
        """Answer sessions in one batch; if that fails, answer each alone, so that one fault fails one session.

        If most of a batch's clients disconnect, the batch starts again with the sessions of the others.
        """
        if not jobs:
            return
        self._meters.batches.observe(len(jobs))
        error = await self._bundled(jobs, lambda: 2 * _wanted(jobs) > len(jobs))
        if isinstance(error, Unwanted) and (left := [job for job in jobs if not job.done.done()]):
            error = await self._bundled(left, lambda: _wanted(left) > 0)
        for job in [job for job in jobs if error and not job.done.done()]:
            await self._settle([job], partial(answered_once, self._bundle, _asked([job])))

    async def _bundled(self, jobs: list[Job], is_wanted: Callable[[], bool]) -> BaseException | None:
        work = partial(answered_once, self._bundle, _asked(jobs))
        return await self._settle(jobs, work, is_wanted, last=len(jobs) == 1)

    async def _settle(
        self,
        jobs: list[Job],
        work: Callable[[], list[Any]],
        is_wanted: Callable[[], bool] | None = None,
        last: bool = True,
    ) -> BaseException | None:
        """Run work on the student's thread and set the results; an error is set only on the last try."""
        wanted = is_wanted or (lambda: _wanted(jobs) > 0)
        run = partial(_stepwise, work, lambda: wanted() and not self._is_over)
        running = asyncio.get_running_loop().run_in_executor(self._thread, run)
        # The error is read here too, since nobody waits for the work that runs when the server stops.
        running.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        await asyncio.wait([running])
        error = running.exception()
        for place, job in enumerate(jobs):
            if job.done.done():
                continue
            if error is None:
                job.done.set_result(running.result()[place])
            elif last and not isinstance(error, Unwanted):
                job.done.set_exception(error)
        return error


def _wanted(jobs: Sequence[Job]) -> int:
    """Return the number of jobs that somebody waits for."""
    return sum(not job.done.done() for job in jobs)


def _stepwise(work: Callable[[], list[Any]], is_wanted: Callable[[], bool]) -> list[Any]:
    """Run work step by step, as long as it is wanted."""
    with while_wanted(is_wanted):
        go_on()
        return work()


def _asked(jobs: Sequence[Job]) -> list[QueuedSession]:
    return [job.work for job in jobs if isinstance(job.work, QueuedSession)]


def _alone(work: Work) -> list[Any]:
    return [work()]


def answered_once(bundle: Bundle, asked: Sequence[QueuedSession]) -> list[Prediction]:
    """Bundle sessions of many clients under new ids; equal sessions are bundled once.

    New ids are needed, since two clients may use the same id, or the id of a session that the knowledge comes from.
    """
    places: dict[str, int] = {}
    rows = [places.setdefault(_likeness(each), len(places)) for each in asked]
    ours = {f"live-{row}": each for row, each in zip(reversed(rows), reversed(asked), strict=True)}
    sessions = [
        ours[f"live-{row}"].session.model_copy(update={"session_id": f"live-{row}", "split": "test"})
        for row in range(len(ours))
    ]
    found = bundle(sessions, {key: each.limits for key, each in ours.items() if each.limits})
    return [theirs(found[row], each.session) for row, each in zip(rows, asked, strict=True)]


def _likeness(asked: QueuedSession) -> str:
    """Return a key that is equal for sessions with the same answer; it has the prices only if there are limits."""
    session, limits = asked
    prices = [item.price for item in session.items] if limits else []
    return repr((session.domain, session.titles, prices, limits))


def theirs(prediction: Prediction, session: Session) -> Prediction:
    """Return a prediction with the client's ids of the session and the products."""
    bundles = tuple(
        bundle.model_copy(update={"item_ids": tuple(session.items[n - 1].id for n in bundle.items)})
        for bundle in prediction.bundles
    )
    reason = prediction.reason.replace(prediction.session_id, session.session_id)
    return prediction.model_copy(update={"session_id": session.session_id, "bundles": bundles, "reason": reason})
