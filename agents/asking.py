"""Asking a large model for a typed reply: through the ledger, within the caps, its faults fed back a few times."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from bundlewise.agents.calls import Call, CallLedger, Reply
from bundlewise.agents.chat import ChatEndpoint, Mode, RefusedError
from bundlewise.agents.contracts import Reply as Typed
from bundlewise.agents.contracts import parse, schema_of
from bundlewise.agents.tally import Tally
from bundlewise.errors import BundlewiseError, UsageError
from bundlewise.prompts.render import Messages, fingerprint, messages, render

CHARACTERS = (3.0, 5.0)
"""Characters a token, at least and at most: between them lies what tokenizers make of English."""


class CapError(BundlewiseError):
    """A cap on money or tokens would have been passed by the next call."""


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
        """Return a reply that keeps its contract; None after the last repair, or a refusal, which are noted."""
        schema = schema_of(contract)
        messages = messages_of(template, schema, **variables)
        reason = ""
        for _ in range(self.repairs + 1):
            call = call_of(stage, subject, template, self.endpoint, messages, schema)
            try:
                reply = self._answer(call, messages, schema)
            except RefusedError as error:
                reason = str(error)
                break
            if reply is None:
                return self._missing(call, messages, stand_in())
            found, wrong = parse(reply.text, contract)
            wrong = wrong or (faults(found) if found is not None else [])
            if not wrong:
                return found
            if reply.finish == "length":
                wrong = ["it was cut off at its greatest length; be shorter", *wrong]
            reason, messages = wrong[0], repaired(messages, reply.text, wrong)
        self._failed(stage, subject, reason)
        return None

    @abstractmethod
    def _answer(self, call: Call, messages: Messages, schema: dict[str, Any]) -> Reply | None:
        """Return the answer to a call, or None where nobody is asked."""

    def _missing(self, call: Call, messages: Messages, usual: Typed) -> Typed:
        """Go on with a stand-in where nobody was asked."""
        return usual

    @abstractmethod
    def _failed(self, stage: str, subject: str, reason: str) -> None:
        """Note that a subject has no reply that can be used."""


@dataclass(frozen=True)
class Caps:
    """The most that a run may pay, in US dollars and in tokens, and the most calls it may make; None is no cap."""

    cost: float | None = None
    tokens: int | None = None
    calls: int | None = None


@dataclass
class Asker(Asks):
    """Asks an endpoint, and pays.

    Raises, from `ask` and `probe`: CapError before a cap could be passed, ModelError where the endpoint cannot be
    used, KnowledgeError where the ledger cannot.
    """

    tally: Tally
    caps: Caps = field(default_factory=Caps)
    mode: Mode = "json_schema"
    _lock: Lock = field(default_factory=Lock)
    _sending: int = 0
    _reserved: int = 0
    _reserved_cost: float = 0.0

    def __post_init__(self) -> None:
        if self.caps.cost is not None and self.tally.price is None:
            remedy = "add it to a table of prices and give that with --prices, or cap tokens with --max-tokens"
            raise UsageError(f"the price of {self.endpoint.model} is unknown, so --max-cost cannot hold; {remedy}")

    def probe(self) -> Mode:
        """Find out how the endpoint can be made to answer in a schema, once a ledger; keep to what it really does.

        A server may take a schema and ignore it: the question asks for something else than the schema.
        """
        for mode in _PROBED:
            call = Call("probe", mode, "", self.endpoint.model, {**self.endpoint.parameters, "probe": mode})
            try:
                reply = self._answer(call, _PROBE, _PROBE_SCHEMA, mode)
            except RefusedError:
                continue
            if _keeps(reply.text, mode):
                self.mode = mode
                return mode
        self.mode = "plain"
        return self.mode

    def _answer(self, call: Call, messages: Messages, schema: dict[str, Any], mode: Mode | None = None) -> Reply:
        reserved: list[tuple[int, float]] = []

        def send() -> Reply:
            reserved.append(self._reserve(messages))
            return _counted(self.endpoint.send(messages, schema, mode or self.mode, call.key), messages)

        try:
            reply = self.ledger.answer(call, send, self.endpoint.wait)
            self.tally.call(call.stage, call.subject, reply, cached=not reserved)
        finally:
            for tokens, cost in reserved:
                self._release(tokens, cost)
        return reply

    def _failed(self, stage: str, subject: str, reason: str) -> None:
        self.tally.failed(stage, subject, reason)

    def _reserve(self, messages: Messages) -> tuple[int, float]:
        """Put aside the tokens and money a call could take at most until it is here, so that no cap is ever passed."""
        most_in, most_out = tokens_of(messages)[1], self.endpoint.max_output
        tokens, price = most_in + most_out, self.tally.price
        cost = price.cost(most_in, most_out) if price else 0.0
        with self._lock:
            paid, caps = self.tally.cost() or 0.0, self.caps
            if caps.cost is not None and paid + self._reserved_cost + cost > caps.cost:
                raise CapError(_capped("--max-cost", f"${caps.cost:g}", f"${paid:.4f}"))
            if caps.tokens is not None and self.tally.tokens + self._reserved + tokens > caps.tokens:
                raise CapError(_capped("--max-tokens", f"{caps.tokens:,}", f"{self.tally.tokens:,} tokens"))
            if caps.calls is not None and self.tally.calls + self._sending + 1 > caps.calls:
                raise CapError(_capped("--max-calls", f"{caps.calls:,}", f"{self.tally.calls:,} calls"))
            self._sending += 1
            self._reserved, self._reserved_cost = self._reserved + tokens, self._reserved_cost + cost
        return tokens, cost

    def _release(self, tokens: int, cost: float) -> None:
        with self._lock:
            self._sending -= 1
            self._reserved, self._reserved_cost = self._reserved - tokens, self._reserved_cost - cost


def _capped(option: str, cap: str, spent: str) -> str:
    return f"stopped before {option} {cap} could be passed: {spent} spent; the same command with a higher cap goes on"


_PROBED: tuple[Mode, ...] = ("json_schema", "json_object")
_PROBE: Messages = [{"role": "user", "content": "Say hello in one word. (As JSON, if you are made to.)"}]
_PROBE_SCHEMA = {
    "type": "object",
    "properties": {"greeting_word": {"type": "string"}},
    "required": ["greeting_word"],
    "additionalProperties": False,
}


def _keeps(text: str, mode: Mode) -> bool:
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return isinstance(value, dict) and (mode != "json_schema" or list(value) == ["greeting_word"])


def messages_of(template: str, schema: dict[str, Any], /, **variables: Any) -> Messages:
    """Return the messages of a question: who the teacher is, with the contract, then the rendered template."""
    return messages(template, schema=json.dumps(schema, ensure_ascii=False), **variables)


def repaired(messages: Messages, answer: str, faults: list[str]) -> Messages:
    """Return the messages that ask again, with what was wrong."""
    told = render("teacher_repair", faults=faults)
    return [*messages[:2], {"role": "assistant", "content": answer}, {"role": "user", "content": told}]


def call_of(
    stage: str, subject: str, template: str, endpoint: ChatEndpoint, messages: Messages, schema: dict[str, Any]
) -> Call:
    """Return the call that a question is: its key says model, parameters, messages and schema, not the server."""
    request = {**endpoint.parameters, "messages": messages, "schema": schema}
    return Call(stage, subject, fingerprint("teacher", template), endpoint.model, request)


def tokens_of(messages: Messages) -> tuple[int, int]:
    """Estimate the tokens of messages, low and high; never too low for text that is not English."""
    size = sum(len(message["content"].encode()) + 16 for message in messages)
    return round(size / CHARACTERS[1]), round(size / CHARACTERS[0])


def _counted(reply: Reply, messages: Messages) -> Reply:
    """Return an answer with its tokens estimated where the server did not count them."""
    if reply.tokens_in or reply.tokens_out:
        return reply
    written = round(len(reply.text.encode()) / CHARACTERS[0])
    return Reply(reply.text, reply.finish, tokens_of(messages)[1], written, reply.seconds)
