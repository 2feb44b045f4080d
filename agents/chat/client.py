"""A client of OpenAI-compatible chat endpoints that outlasts their faults: it waits, tries again, or says what to do.

Retries, deadlines and pace are ours, not a library's: an answer is either whole or it is none. A whole one is never
asked for again here, since it was billed: what it is worth is its verdict.
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
"""Statuses of a server that fails, maybe at what it was sent; others say that it has no time."""
LONGEST_PAUSE = 30.0
LONGEST_WAIT = 3600.0
"""Seconds of one wait of a clock that cannot count any number of them; what is left is waited for again."""
FIRST_CONTACT = 3.0
"""Seconds a server is tried for of which nothing was ever heard: most often its address is wrong."""
SILENCE = 5.0
"""Seconds without any answer after which whoever watches is told that a server is waited for."""
SIGN_OF_LIFE = 10.0
"""Seconds that the answer to a question may take which only asks whether a server answers at all."""


class RefusedError(Exception):
    """A call that the server takes for wrong by itself, or never answers while it answers others: it alone fails."""


class SilentError(ModelError):
    """A server that answered nobody for as long as patience allows, as far as one call can know."""

    def __init__(self, found: str) -> None:
        super().__init__(f"{found}; the same command goes on where it stopped")
        self.found = found


@dataclass
class ChatEndpoint:
    """One model of one server; without an address it is OpenAI's, or what OPENAI_BASE_URL says.

    `timeout` is the longest an answer may take, in seconds, `patience` how long a call is tried again once anything
    was heard of the server. `tell` hears why the server is waited for, and nothing, "", once it answers again.
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
            raise UsageError(f"timeout {self.timeout} or patience {self.patience} is no time; give seconds")

    @property
    def parameters(self) -> dict[str, Any]:
        """What determines answers besides the messages; models that reason take no temperature."""
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
        """Return the model's answer, tried again through whatever passes; one that is of no use has a verdict.

        Args:
            messages: the question.
            schema: the shape of the answer, where it has one.
            mode: how the schema is asked for; less strictly where the server refuses that, unless it is to be `exact`.
            idempotency: a name of the call, by which a server knows it again.
            limit: the tokens the answer may have, where they are fewer than usual.
            exact: ask in this mode or not at all.

        Raises:
            ModelError: the server refuses whoever asks or cannot be reached; SilentError: it gave nothing within the
                patience.
            RefusedError: the server refuses this call, or answers others and not this one.
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
        """Return the end of the run; a server that has answered may forbid a single question by its content."""
        if refusal.status == 403 and self._answered and refusal.remedy == REMEDIES[403]:
            return RefusedError(str(refusal))
        if not refusal.status:
            return ModelError(f"{self._place} cannot be reached ({refusal.said}); {refusal.remedy}")
        return ModelError(f"{self._place} refused ({refusal.status}): {refusal.said}; {refusal.remedy}")

    def _other_form(self, refusal: EndpointRefusal, trial: Attempts, less: Mode | None) -> Mode:
        """Return the form in which a refused call is tried next; without one, the first refusal stands."""
        trial.refusal = trial.refusal or str(refusal)
        if less is None:
            raise RefusedError(trial.refusal)
        return less

    def answers(self, messages: list[dict[str, str]], idempotency: str = "") -> Reply:
        """Return the answer to a short question that is sent once, to see whether the server answers at all.

        Raises:
            SilentError: it does not.
        """
        asked = QuestionSize(tokens_of(messages)[1], self.max_output, self.dialect.is_bounded)
        body = self._body(messages, None, "plain", self.max_output)
        found = self._once(body, idempotency, asked, min(SIGN_OF_LIFE, self.timeout))
        if not isinstance(found, Reply):
            raise SilentError(f"{self._place} does not answer ({found})")
        return found

    @property
    def busy(self) -> int:
        """How many answers are on their way."""
        return self._line.busy if "_line" in self.__dict__ else 0

    def hang_up(self) -> None:
        """Give up the answers that are on their way; those that are here are still returned."""
        if "_line" in self.__dict__:
            self._line.hang_up()

    def close(self) -> None:
        """Close the connections that are kept open."""
        if "_line" in self.__dict__:
            self._line.close()

    def wait(self, seconds: float) -> None:
        """Wait, but not once the run was stopped."""
        if self.stop.wait(min(seconds, LONGEST_WAIT)) if seconds else self.stop.is_set():
            raise StoppedError("stopped; the same command goes on where it stopped")

    def answered_since(self, moment: float) -> bool:
        """Say whether the server has answered anybody since a moment of the monotonic clock."""
        return self._answered >= moment

    def _keep_pace(self, trial: Attempts, tokens: int) -> None:
        """Wait as long as the pace demands: our own limits cost no patience, a server's pauses do."""
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
        """Wait until a call may be tried again after a fault, or give it up where it was tried for long enough."""
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
            remedy = "start it, or correct the address: behind the @ of the name, or in OPENAI_BASE_URL"
            return ModelError(f"{self._place} cannot be reached ({fault}); {remedy}")
        found = f"{self._place} gave no answer for {trial.patience:.0f} s ({fault})"
        if self.answered_since(trial.failed_at):
            return RefusedError(f"{found}, although it answered others")
        return SilentError(found)

    def _hear(self, ailing: str) -> None:
        """Tell when the server begins to be waited for, and when it answers again: once each, whatever the thread."""
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
        """Send a body once, and return what comes of it within the limit in seconds."""
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
