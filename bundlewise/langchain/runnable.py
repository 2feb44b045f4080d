"""The student as a LangChain Runnable: it takes the products of a session and returns the bundles."""

from collections.abc import Sequence
from typing import Any, Protocol

from langchain_core.runnables import Runnable, RunnableConfig, run_in_executor

from bundlewise.agents.student.compose import refusal
from bundlewise.bundles import FoundBundle
from bundlewise.domain import Item, Prediction, Session
from bundlewise.errors import UsageError

Products = Session | Sequence[str | Item]
"""A session, or a sequence of its products as titles or items."""


class Answers(Protocol):
    """The method that a student must have."""

    def answer(self, sessions: Sequence[Session]) -> list[Prediction]:
        """Return the prediction for each session."""


class StudentRunnable(Runnable[Products, list[FoundBundle]]):
    """A student that can be composed: `student.as_runnable() | ...`; it answers a batch in one call."""

    def __init__(self, student: Answers) -> None:
        self.student = student

    def invoke(self, input: Products, config: RunnableConfig | None = None, **_: Any) -> list[FoundBundle]:
        """Return the bundles of a session.

        Raises:
            UsageError: the student cannot read the session.
        """
        return self._call_with_config(lambda products: _or_raise(self._found([products])[0]), input, config)

    def batch(
        self,
        inputs: list[Products],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **_: Any,
    ) -> list[list[FoundBundle]]:
        """Return the bundles of each session; the student reads the sessions in one batch."""

        def found(products: list[Products]) -> list[Any]:
            answers = self._found(products)
            return [*answers] if return_exceptions else [_or_raise(each) for each in answers]

        return self._batch_with_config(found, inputs, config, return_exceptions=return_exceptions)

    async def abatch(
        self,
        inputs: list[Products],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **_: Any,
    ) -> list[list[FoundBundle]]:
        """Answer a batch in a thread."""
        given = config[0] if isinstance(config, list) and config else config
        work = lambda: self.batch(inputs, config, return_exceptions=return_exceptions)  # noqa: E731
        return await run_in_executor(given if isinstance(given, dict) else None, work)

    def _found(self, products: Sequence[Products]) -> list[list[FoundBundle] | UsageError]:
        sessions = [Session.of(each) for each in products]
        found: list[list[FoundBundle] | UsageError] = []
        for session, prediction in zip(sessions, self.student.answer(sessions), strict=True):
            reason = refusal(session, prediction)
            found.append(UsageError(reason) if reason else FoundBundle.all_of(prediction, session))
        return found


def _or_raise(found: list[FoundBundle] | UsageError) -> list[FoundBundle]:
    if isinstance(found, UsageError):
        raise found
    return found
