"""The student of the assistant on a server: every question goes through the queue, in the caller's turn."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from bundlewise.agents.student.limits import NO_LIMITS, Limits
from bundlewise.bundles import Reason
from bundlewise.domain import Grouping, Item, Prediction, Session
from bundlewise.server.service import Service

Result = TypeVar("Result")


class QueuedStudent:
    """Answers threads through the queue, so that conversations and requests share batches."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._student = service.student

    def answer(self, sessions: Sequence[Session], limits: Mapping[str, Limits] = NO_LIMITS) -> list[Prediction]:
        """Return the bundles of sessions."""
        return self._service.from_thread(lambda caller: self._service.answer(caller, sessions, limits))

    def explain(self, session: Session, groups: Grouping) -> list[list[Reason]]:
        """Return the reasons for bundles."""
        return self._do(lambda: self._student.explain(session, groups))

    def companions(self, session: Session, limit: int = 6) -> list[str]:
        """Return kinds of products that known sessions bundle with this session's kinds."""
        return self._do(lambda: self._student.companions(session, limit))

    def beside(self, session: Session, candidates: Sequence[Item]) -> list[tuple[Item, list[float]]]:
        """Return the best candidates with the probability that each goes with each product of a session."""
        return self._do(lambda: self._student.beside(session, candidates))

    def _do(self, work: Callable[[], Result]) -> Result:
        return self._service.from_thread(lambda caller: self._service.queue.do(caller.client, work))
