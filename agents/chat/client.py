"""The client of OpenAI-compatible chat endpoints: it waits and retries through faults, or reports a remedy.

This client does its own retries, deadlines and pace, because it must return whole answers only. It never asks again
for a whole answer, because that was billed; the verdict says whether the answer is usable.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from threading import Event, Lock
from time import monotonic
from typing import Any

from bundlewise.agents.chat.completions import QuestionSize, tokens_of
from bundlewise.agents.chat.dialect import LENGTHS, Dialect, Mode
from bundlewise.agents.chat.exchanges import REMEDIES, Barred, EndpointRefusal, Outcome, PassingFault, outcome
from bundlewise.agents.chat.line import Line
from bundlewise.agents.chat.pace import Attempts, Pace
from bundlewise.agents.ledger.calls import Reply
from bundlewise.errors import ModelError, StoppedError, UsageError
from bundlewise.models.endpoints import Endpoint

FAILING = {500, 501, 502}
"""Statuses of a server error that the request may have caused; other 5xx statuses mean that the server is busy."""
LONGEST_PAUSE = 30.0
LONGEST_WAIT = 3600.0
"""The longest single wait in seconds, because the clock has a limit; longer waits are done in parts."""
FIRST_CONTACT = 3.0
"""The patience in seconds for a server that has never answered: usually its address is wrong."""
SILENCE = 5.0
"""The seconds without an answer after which the user is told about the wait."""
SIGN_OF_LIFE = 10.0
"""The time limit in seconds for the short question that checks whether a server answers."""


class RefusedError(Exception):
    """A call that fails alone: the server refuses it, or does not answer it while it answers others."""


class SilentError(ModelError):
    """A server that answered no call during the patience, as far as one call can know."""

    def __init__(self, found: str) -> None:
        super().__init__(f"{found}; the same command goes on where it stopped")
        self.found = found


@dataclass
class ChatEndpoint:
    """One model of one server; the default address is OPENAI_BASE_URL, or else OpenAI's.

    `timeout` is the time limit of an answer in seconds. `patience` is the time in seconds for retries of a call after
    the server was reached once. `tell` is called with the reason for a wait, and with "" when the server answers again.
    """

    model: str
    url: str | None = None
    temperature: float = 0.0
    effort: str | None = None
    max_output: int = 2000
    timeout: float = 120.0
    patience: float = 600.0
    connections: int = 32
    pace: Pace = field(default_factory=Pace)
    dialect: Dialect = field(default_factory=Dialect)
    stop: Event = field(default_factory=Event)
    tell: Callable[[str], None] = lambda reason: None
    _lock: Lock = field(default_factory=Lock)
    _reached: bool = False
    _answered: float = 0.0
    _told: bool = False

    def __post_init__(self) -> None:
        self.server = Endpoint(self.model, self.url)
        if not (self.patience >= 0 and self.timeout > 0):
            raise UsageError(
                f"timeout {self.timeout} must be above 0 and patience {self.patience} at least 0; give both in seconds"
            )

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters that determine answers besides the messages; reasoning models accept no temperature."""
        if self.effort is None:
            return {"model": self.model, "temperature": self.temperature, "max_tokens": self.max_output}
        return {"model": self.model, "reasoning_effort": self.effort, "max_completion_tokens": self.max_output}

    def send(
        self,
        messages: list[dict[str, str]],
        schema: dict[str, Any] | None,
        mode: Mode,
        idempotency: str = "",
        *,
        limit: int | None = None,
        exact: bool = False,
    ) -> Reply:
        """Return the model's answer, after retries if needed; the verdict marks an answer that cannot be used.

        Args:
            messages: the question.
            schema: the JSON Schema of the answer, if there is one.
            mode: the form of the schema; a less strict one is tried if the server refuses it, unless `exact` is set.
            idempotency: a name of the call, by which a server recognises a repeated call.
            limit: the most tokens of the answer, if fewer than usual.
            exact: ask in this mode only.

        Raises:
            ModelError: the server refuses all calls or cannot be reached.
            SilentError: the server did not answer within the patience.
            RefusedError: the server refuses this call, or answers other calls but not this one.
            StoppedError: the run was stopped.
        """
        asked = QuestionSize(tokens_of(messages)[1], limit or self.max_output, self.dialect.is_bounded)
        trial, form = Attempts(self.patience), mode
        while True:
            self._keep_pace(trial, asked.tokens + asked.most)
            body = self._body(messages, schema, self.dialect.mode(form), asked.most)
            found = self._once(body, idempotency, asked)
            if isinstance(found, Reply):
                if form != mode:
                    self.dialect.took(form, mode, trial.refusal)
                elif schema is not None and not exact:
                    self.dialect.answered(form)
                return found
            self.wait(0.0)
            if isinstance(found, Barred):
                raise self._barred(found)
            if isinstance(found, EndpointRefusal):
                if not self.dialect.learn(body, found.said, found.about, exact=exact):
                    form = self._other_form(found, trial, None if exact else self.dialect.lower(body, found.said))
            elif not self.dialect.blames(body, found.reason, exact=exact):
                self._bear(found, trial)
                if found.status in FAILING and not exact and schema is not None and not trial.refusal:
                    form = self.dialect.suspected(mode, trial.failures)

    def _barred(self, refusal: Barred) -> Exception:
        """Return the error that ends the run, or this call alone if a server that has answered forbids its content."""
        if refusal.status == 403 and self._answered and refusal.remedy == REMEDIES[403]:
            return RefusedError(str(refusal))
        if not refusal.status:
            return ModelError(f"{self._place} cannot be reached ({refusal.said}); {refusal.remedy}")
        return ModelError(f"{self._place} refused ({refusal.status}): {refusal.said}; {refusal.remedy}")

    def _other_form(self, refusal: EndpointRefusal, trial: Attempts, less: Mode | None) -> Mode:
        """Return the next form for a refused call.

        Raises:
            RefusedError: no other form is left; the error quotes the first refusal.
        """
        trial.refusal = trial.refusal or str(refusal)
        if less is None:
            raise RefusedError(trial.refusal)
        return less

    def answers(self, messages: list[dict[str, str]], idempotency: str = "") -> Reply:
        """Send a short question once, to check whether the server answers, and return the answer.

        Raises:
            SilentError: the server does not answer.
        """
        asked = QuestionSize(tokens_of(messages)[1], self.max_output, self.dialect.is_bounded)
        body = self._body(messages, None, "plain", self.max_output)
        found = self._once(body, idempotency, asked, min(SIGN_OF_LIFE, self.timeout))
        if not isinstance(found, Reply):
            raise SilentError(f"{self._place} does not answer ({found})")
        return found

    @property
    def busy(self) -> int:
        """The number of calls that wait for an answer."""
        return self._line.busy if "_line" in self.__dict__ else 0

    def hang_up(self) -> None:
        """End the calls that wait for an answer; answers that have arrived are still returned."""
        if "_line" in self.__dict__:
            self._line.hang_up()

    def close(self) -> None:
        """Close the open connections."""
        if "_line" in self.__dict__:
            self._line.close()

    def wait(self, seconds: float) -> None:
        """Wait for some seconds.

        Raises:
            StoppedError: the run was stopped.
        """
        if self.stop.wait(min(seconds, LONGEST_WAIT)) if seconds else self.stop.is_set():
            raise StoppedError("stopped; the same command goes on where it stopped")

    def answered_since(self, moment: float) -> bool:
        """Say whether the server has answered any call since a moment of the monotonic clock."""
        return self._answered >= moment

    def _keep_pace(self, trial: Attempts, tokens: int) -> None:
        """Wait as the pace requires; waits for the user's limits use no patience, but a server's pauses do."""
        self.wait(0.0)
        while True:
            if (pause := min(self.pace.paused(), trial.left)) > 0:
                self.wait(pause)
            elif delay := self.pace.delay(tokens):
                with trial.resting():
                    self.wait(delay)
            else:
                return

    def _bear(self, fault: PassingFault, trial: Attempts) -> None:
        """Wait before the next attempt after a fault, or raise an error if no patience is left."""
        self._reached |= not fault.away
        trial.patience = self.patience if self._reached else min(FIRST_CONTACT, self.patience)
        if trial.left <= 0:
            raise self._given_up(fault, trial)
        if fault.retry_after > SILENCE or not self._reached or monotonic() - max(trial.start, self._answered) > SILENCE:
            self._hear(f"{self._place} gives no answer ({fault}); trying again for {trial.patience:.0f} s")
        if fault.retry_after:
            self.pace.pause(min(fault.retry_after, trial.left))
        pause = min(LONGEST_PAUSE, 0.25 * 2.0**trial.failures) * random.uniform(0.75, 1.25)
        trial.fail()
        self.wait(min(pause, trial.left))

    def _given_up(self, fault: PassingFault, trial: Attempts) -> Exception:
        if not self._reached:
            remedy = "start it, or correct the address, which is after the @ of the name or in OPENAI_BASE_URL"
            return ModelError(f"{self._place} cannot be reached ({fault}); {remedy}")
        found = f"{self._place} gave no answer for {trial.patience:.0f} s ({fault})"
        if self.answered_since(trial.failed_at):
            return RefusedError(f"{found}, although it answered others")
        return SilentError(found)

    def _hear(self, ailing: str) -> None:
        """Tell the user that a wait for the server begins or ends, once for all threads."""
        with self._lock:
            if not ailing:
                self._reached, self._answered = True, monotonic()
            if self._told != bool(ailing):
                self._told = bool(ailing)
                self.tell(ailing)

    def _body(
        self, messages: list[dict[str, str]], schema: dict[str, Any] | None, mode: Mode, most: int
    ) -> dict[str, Any]:
        given = {name: most if name in LENGTHS else value for name, value in self.parameters.items()}
        return {"messages": self.dialect.messages(messages), **self.dialect.spoken(given), **_format(schema, mode)}

    def _once(self, body: dict[str, Any], idempotency: str, asked: QuestionSize, limit: float | None = None) -> Outcome:
        """Send a body once, and return the outcome within the limit in seconds."""
        start = monotonic()
        headers = {"Idempotency-Key": idempotency} if idempotency else {}
        heard = self._line.exchange(json.dumps(body).encode(), headers, limit)
        found = outcome(heard, monotonic() - start, asked)
        if isinstance(found, Reply):
            self._hear("")
        return found

    @property
    def _place(self) -> str:
        return self.server.place

    @cached_property
    def _line(self) -> Line:
        return Line(self.server, self.timeout, self.connections)


def _format(schema: dict[str, Any] | None, mode: Mode) -> dict[str, Any]:
    if schema is None or mode == "plain":
        return {}
    if mode == "json_object":
        return {"response_format": {"type": "json_object"}}
    shape = {"name": "answer", "strict": True, "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": shape}}
