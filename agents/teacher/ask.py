"""Asking a large model for a typed reply: through the ledger, within the caps, its faults fed back a few times."""

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
"""Characters of a faulty answer that are shown to the model again; more would be paid for and help no more."""


@dataclass
class Asks(ABC):
    """The way to a typed reply, whoever answers: rendered, parsed, checked, fed back at most `repairs` times."""

    endpoint: ChatEndpoint
    ledger: CallLedger
    repairs: int = field(default=2, kw_only=True)

    @property
    def name(self) -> str:
        """The model."""
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
        """Return a reply that keeps its contract; None after the last repair, or a refusal, which are noted.

        A model that says the same wrong thing again would be told the same again, and the ledger would answer for it:
        such a round cannot help, so the subject has failed then. An answer without a text that could be wrong is asked
        for again as it was.
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
        """Return the answer to a call, or None where nobody is asked."""

    def _missing(self, call: Call, messages: Messages, usual: Typed) -> Typed:
        """Go on with a stand-in where nobody was asked."""
        return usual

    def _judge(self, call: Call, reply: Reply, verdict: Verdict) -> bool:
        """Take note of whether an answer keeps its contract, where a note is kept; say whether to ask again for it.

        An answer that no run has judged before may turn out to be one that is to be asked for again.
        """
        return False

    @abstractmethod
    def _failed(self, stage: str, subject: str, reason: str) -> None:
        """Note that a subject has no reply that can be used."""


@dataclass
class Asker(Asks):
    """Asks an endpoint, and pays.

    Raises, from `ask` and `probe`: CapError before a cap could be passed, ModelError where the endpoint cannot be
    used, KnowledgeError where the ledger cannot.
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
            remedy = "add it to a table of prices and give that with --prices, or cap tokens with --max-tokens"
            raise UsageError(f"the price of {self.endpoint.model} is unknown, so --max-cost cannot hold; {remedy}")
        self._room = Room(self.caps, self.tally, self.endpoint.max_output, self.endpoint.wait)
        self.endpoint.dialect.note = self.tally.note
        self.endpoint.dialect.is_bounded = self.caps.cost is not None or self.caps.tokens is not None

    def probe(self) -> Mode:
        """Find out how the endpoint can be made to answer in a schema, once a ledger; keep to what it really does.

        A server may take a schema and ignore it: the question asks for something else than the schema.
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
        """Let no further call begin; return how many are under way, whose answers still come into the ledger.

        It takes no lock, so that a signal may call it whatever its thread holds.
        """
        self.halted = True
        return self._under_way

    def release(self) -> None:
        """End every wait but those for answers that are on their way."""
        self.endpoint.stop.set()

    def hang_up(self) -> None:
        """Give up the answers that are on their way; those that are here still come into the ledger."""
        self.endpoint.hang_up()

    def stopping(self, is_first: bool) -> None:
        """Tell whoever watches what the run still waits for, now that it was stopped."""
        busy = self.endpoint.busy
        answers = f"{busy:,} answer{'s' if busy > 1 else ''} on the way"
        again = "Ctrl-C again leaves at once, and what is on the way is paid for in vain"
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
        """Return the answer to a call from the ledger, or send it, keep it, and count it before its room is free."""
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
        """Count a call as under way until its answer is kept; none begins where one was not, or in a stopped run."""
        with self._lock:
            self._under_way += 1
        try:
            # In this order a signal sees the call, or the call sees the signal.
            if self.halted:
                raise StoppedError("stopped; the same command goes on where it stopped")
            if self._unkept is not None:
                raise self._unkept
            yield
        finally:
            with self._lock:
                self._under_way -= 1

    def _is_alive(self) -> bool:
        """Find out by a short question whether the server answers at all; threads that ask at once share the answer."""
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
    """Return the messages of a question: who the teacher is, with the contract, then the rendered template."""
    return messages(template, schema=json.dumps(schema, ensure_ascii=False), **variables)


def repaired(messages: Messages, answer: str, faults: list[str]) -> Messages:
    """Return the messages that ask again, with what was wrong."""
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
    """Return the call that a question is: its key says model, parameters, messages and schema, not the server."""
    request = {**endpoint.parameters, "messages": messages, "schema": schema}
    return Call(stage, subject, fingerprint("teacher", template), endpoint.model, request, attempt)


def _parsed(text: str, contract: type[Typed]) -> tuple[Typed | None, list[str]]:
    try:
        return parse(text, contract)
    except RecursionError:
        return None, ["it is nested too deeply"]
