"""The askers of typed replies: use the ledger and the caps, and return faults to the model for a few repairs."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic
from typing import Any
from uuid import uuid4

from bundlewise.agents.chat.client import ChatEndpoint, RefusedError, SilentError
from bundlewise.agents.chat.completions import UNUSABLE, tokens_of, why_unusable
from bundlewise.agents.chat.dialect import Mode
from bundlewise.agents.ledger.calls import Call, CallLedger, Reply, Verdict
from bundlewise.agents.teacher.caps import Caps, Room
from bundlewise.agents.teacher.contracts import Typed, parse, schema_of
from bundlewise.agents.teacher.probe import PROBE, PROBE_SCHEMA, PROBED, keeps
from bundlewise.agents.teacher.tally import Tally
from bundlewise.errors import KnowledgeError, StoppedError, UsageError
from bundlewise.prompts.render import Messages, fingerprint, messages, render

LONGEST_SHOWN = 20_000
"""The most characters of a faulty answer to show to the model again; more would cost tokens and not help."""


@dataclass
class Asks(ABC):
    """The steps to a typed reply: render the prompt, check the answer, and ask for a repair `repairs` times at most."""

    endpoint: ChatEndpoint
    ledger: CallLedger
    repairs: int = field(default=2, kw_only=True)

    @property
    def name(self) -> str:
        """The name of the model."""
        return self.endpoint.model

    def ask(
        self,
        stage: str,
        subject: str,
        template: str,
        contract: type[Typed],
        faults: Callable[[Typed], list[str]],
        stand_in: Callable[[], Typed],
        **variables: Any,
    ) -> Typed | None:
        """Return a reply that keeps its contract; None after the last repair or a refusal, which are recorded.

        If a model repeats a faulty answer, the next question would be the same too, and the ledger would answer it.
        Such a round cannot help, so the subject has failed. A call whose answer has no usable text is sent again.
        """
        schema = schema_of(contract)
        messages = messages_of(template, schema, **variables)
        reason, asked, attempt, rounds = "", set[str](), 0, self.repairs + 1
        while rounds:
            rounds -= 1
            call = call_of(stage, subject, template, self.endpoint, messages, schema, attempt)
            if call.key in asked:
                reason = f"{reason} (the same answer came again)"
                break
            asked.add(call.key)
            try:
                reply = self._answer(call, messages, schema)
            except RefusedError as error:
                reason = str(error)
                break
            if reply is None:
                return self._missing(call, messages, stand_in())
            if reply.verdict in UNUSABLE:
                reason, attempt = why_unusable(reply), attempt + 1
                continue
            found, wrong = _parsed(reply.text, contract)
            wrong = wrong or (faults(found) if found is not None else [])
            if self._judge(call, reply, "faulty" if wrong else "good"):
                rounds += 1
                asked.discard(call.key)
                continue
            if not wrong:
                return found
            if reply.finish == "length":
                wrong = ["it was cut off at its greatest length; be shorter", *wrong]
            reason, messages, attempt = wrong[0], repaired(messages, reply.text[:LONGEST_SHOWN], wrong), 0
        self._failed(stage, subject, reason)
        return None

    @abstractmethod
    def _answer(self, call: Call, messages: Messages, schema: dict[str, Any]) -> Reply | None:
        """Return the answer to a call, or None if this asker sends no calls."""

    def _missing(self, call: Call, messages: Messages, usual: Typed) -> Typed:
        """Return the stand-in for an answer that was not asked for."""
        return usual

    def _judge(self, call: Call, reply: Reply, verdict: Verdict) -> bool:
        """Record the verdict on an answer, if this asker records verdicts; say whether to ask again.

        Asking again is needed when a kept answer, without a verdict so far, turns out to be faulty.
        """
        return False

    @abstractmethod
    def _failed(self, stage: str, subject: str, reason: str) -> None:
        """Record that a subject has no usable reply."""


@dataclass
class Asker(Asks):
    """The asker that sends paid calls to an endpoint.

    `ask` and `probe` raise CapError before a call could exceed a cap, ModelError if the endpoint cannot be used, and
    KnowledgeError if the ledger cannot be used.
    """

    tally: Tally
    caps: Caps = field(default_factory=Caps)
    mode: Mode = "json_schema"
    retry_failed: bool = False
    halted: bool = False
    _room: Room = field(init=False)
    _lock: Lock = field(default_factory=Lock)
    _life: Lock = field(default_factory=Lock)
    _under_way: int = 0
    _silent_at: float = 0.0
    _unkept: KnowledgeError | None = None

    def __post_init__(self) -> None:
        if self.caps.cost is not None and self.tally.price is None:
            remedy = "add it to a table of prices and give the table with --prices, or cap tokens with --max-tokens"
            raise UsageError(f"the price of {self.endpoint.model} is unknown, so --max-cost cannot hold; {remedy}")
        self._room = Room(self.caps, self.tally, self.endpoint.max_output, self.endpoint.wait)
        self.endpoint.dialect.note = self.tally.note
        self.endpoint.dialect.is_bounded = self.caps.cost is not None or self.caps.tokens is not None

    def probe(self) -> Mode:
        """Choose the strictest form of schema that the endpoint follows; the ledger keeps the answers of this test.

        A server may accept a schema and ignore it. So the question asks for something that differs from the schema.
        """
        for mode in PROBED:
            try:
                reply = self._probed(mode)
            except RefusedError:
                continue
            if keeps(reply.text, mode):
                self.mode = mode
                return mode
        self.mode = "plain"
        return self.mode

    def halt(self) -> int:
        """Stop new calls; return the number of running calls, whose answers are still kept in the ledger.

        This method needs no lock, so that a signal handler can call it at any time.
        """
        self.halted = True
        return self._under_way

    def release(self) -> None:
        """End every wait, except for running calls."""
        self.endpoint.stop.set()

    def hang_up(self) -> None:
        """End the running calls; answers that have arrived are still kept in the ledger."""
        self.endpoint.hang_up()

    def stopping(self, is_first: bool) -> None:
        """Tell the user what the stopped run still waits for."""
        busy = self.endpoint.busy
        answers = f"{busy:,} answer{'s' if busy > 1 else ''} on the way"
        again = "Ctrl-C again leaves at once, and these answers are paid for but lost"
        waits, leaves = f"stopping: waiting for {answers}; {again}", f"leaving at once, without {answers}"
        self.tally.stopping((waits if is_first else leaves) if busy else "stopping: no answer is on the way")

    def _probed(self, mode: Mode) -> Reply:
        request = {**self.endpoint.parameters, "probe": mode}
        for attempt in range(self.repairs + 1):
            call = Call("probe", mode, "", self.endpoint.model, request, attempt)
            reply = self._answer(call, PROBE, PROBE_SCHEMA, mode)
            if reply.verdict not in UNUSABLE:
                break
        return reply

    def _answer(self, call: Call, messages: Messages, schema: dict[str, Any], mode: Mode | None = None) -> Reply:
        def send(limit: int | None) -> Reply:
            form, is_exact = mode or self.mode, mode is not None
            key = self.ledger.idempotency(call.key)
            return self.endpoint.send(messages, schema, form, key, limit=limit, exact=is_exact)

        try:
            return self._paid(call, messages, send)
        except SilentError as error:
            if self._is_alive():
                raise RefusedError(f"{error.found}, although it answers others") from None
            raise

    def _paid(self, call: Call, messages: Messages, send: Callable[[int | None], Reply]) -> Reply:
        """Return the kept answer to a call, or send the call, and keep and count its answer before its room is free."""
        estimate, paid = tokens_of(messages)[1], list[tuple[Reply, int | None]]()

        with self._beginning(), ExitStack() as room:

            def pay() -> Reply:
                limit = room.enter_context(self._room.taken(call.stage, estimate))
                paid.append((send(limit), limit))
                return paid[0][0]

            try:
                reply = self.ledger.answer(call, pay, self.endpoint.wait, retry=self.retry_failed)
            except KnowledgeError as error:
                self._unkept = error
                raise
            finally:
                for answer, limit in paid:
                    self.tally.call(call.stage, call.subject, answer, cached=False)
                    self._room.learn(call.stage, estimate, answer, limit)
        if not paid:
            self.tally.call(call.stage, call.subject, reply, cached=True)
            self._room.heed(reply)
        return reply

    @contextmanager
    def _beginning(self) -> Iterator[None]:
        """Count a call as running until its answer is kept.

        Raises:
            StoppedError: the run was stopped.
            KnowledgeError: the ledger could not keep an earlier answer.
        """
        with self._lock:
            self._under_way += 1
        try:
            # This order makes sure that a signal counts the call or the call notices the signal.
            if self.halted:
                raise StoppedError("stopped; the same command goes on where it stopped")
            if self._unkept is not None:
                raise self._unkept
            yield
        finally:
            with self._lock:
                self._under_way -= 1

    def _is_alive(self) -> bool:
        """Ask a short question to check whether the server answers; threads that check at once share the result."""
        asked_at = monotonic()
        with self._life:
            if self.endpoint.answered_since(asked_at) or self._silent_at >= asked_at:
                return self._silent_at < asked_at
            request = {**self.endpoint.parameters, "probe": f"alive {uuid4().hex}"}
            call = Call("probe", "alive", "", self.endpoint.model, request)
            try:
                self._paid(call, PROBE, lambda limit: self.endpoint.answers(PROBE, call.key))
            except SilentError:
                self._silent_at = monotonic()
                return False
            return True

    def _judge(self, call: Call, reply: Reply, verdict: Verdict) -> bool:
        if reply.verdict == verdict:
            return False
        self.ledger.judge(call.key, verdict)
        return self.retry_failed and verdict != "good" and self.ledger.is_of_before(call.key)

    def _failed(self, stage: str, subject: str, reason: str) -> None:
        self.tally.failed(stage, subject, reason)


def messages_of(template: str, schema: dict[str, Any], /, **variables: Any) -> Messages:
    """Return the messages of a question: the system prompt with the contract, then the rendered template."""
    return messages(template, schema=json.dumps(schema, ensure_ascii=False), **variables)


def repaired(messages: Messages, answer: str, faults: list[str]) -> Messages:
    """Return the messages of the repair, with the faulty answer and its faults."""
    told = render("teacher_repair", faults=faults)
    return [*messages[:2], {"role": "assistant", "content": answer}, {"role": "user", "content": told}]


def call_of(
    stage: str,
    subject: str,
    template: str,
    endpoint: ChatEndpoint,
    messages: Messages,
    schema: dict[str, Any],
    attempt: int = 0,
) -> Call:
    """Return the call of a question; its key depends on model, parameters, messages and schema, but on no server."""
    request = {**endpoint.parameters, "messages": messages, "schema": schema}
    return Call(stage, subject, fingerprint("teacher", template), endpoint.model, request, attempt)


def _parsed(text: str, contract: type[Typed]) -> tuple[Typed | None, list[str]]:
    try:
        return parse(text, contract)
    except RecursionError:
        return None, ["it is nested too deeply"]
