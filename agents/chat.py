"""A client of OpenAI-compatible chat endpoints that outlasts their faults: it waits, tries again, or says what to do.

Retries, deadlines and pace are ours, not the library's: an answer is either whole or it is none.
"""

import json
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from threading import Event, Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

from bundlewise.agents.calls import Reply
from bundlewise.endpoints import key, reason_of, refuse_address, said_by
from bundlewise.errors import BundlewiseError, ModelError

if TYPE_CHECKING:
    import openai

Mode = Literal["json_schema", "json_object", "plain"]
REMEDIES = {
    401: "set OPENAI_API_KEY to a key that is valid there",
    402: "check your balance there",
    403: "set OPENAI_API_KEY to a key that may use the model",
    404: "check the model's name, and that the address ends where /chat/completions follows, mostly in /v1",
}
PASSES = {408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529}
LONGEST_PAUSE = 30.0
MINUTE = 60.0
EMPTY = 4
"""Empty answers in a row after which a call is given up."""
CONNECT = 10.0
"""Seconds a connection may take; what is slow about a model comes after."""
FIRST_CONTACT = 3.0
"""Seconds a server is tried for of which nothing was ever heard: most often its address is wrong."""
SILENCE = 5.0
"""Seconds without any answer after which whoever watches is told that a server is waited for."""


class RefusedError(Exception):
    """A call that the server takes for wrong by itself (400, 413, 422): one session's failure, not the run's."""


class StoppedError(BundlewiseError):
    """The run was stopped while a call waited."""


@dataclass
class Pace:
    """At most so many requests and tokens in any minute, over all threads; None is no limit."""

    requests: int | None = None
    tokens: int | None = None
    _sent: deque[tuple[float, int]] = field(default_factory=deque)
    _lock: Lock = field(default_factory=Lock)
    _pause_until: float = 0.0

    def delay(self, tokens: int) -> float:
        """Return 0 and count the call, or the seconds after which to ask again."""
        with self._lock:
            now = monotonic()
            while self._sent and self._sent[0][0] <= now - MINUTE:
                self._sent.popleft()
            if self._pause_until > now:
                return self._pause_until - now
            full = self.requests is not None and len(self._sent) >= self.requests
            spent = sum(count for _, count in self._sent) if self.tokens is not None else 0
            full |= self.tokens is not None and bool(self._sent) and spent + tokens > self.tokens
            if full:
                return self._sent[0][0] + MINUTE - now
            if self.requests is not None or self.tokens is not None:
                self._sent.append((now, tokens))
            return 0.0

    def pause(self, seconds: float) -> None:
        """Hold all threads back, as a server asked by Retry-After."""
        with self._lock:
            self._pause_until = max(self._pause_until, monotonic() + seconds)


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
    stop: Event = field(default_factory=Event)
    tell: Callable[[str], None] = lambda reason: None
    _lock: Lock = field(default_factory=Lock)
    _reached: bool = False
    _answered: float = 0.0
    _told: bool = False

    def __post_init__(self) -> None:
        if self.url:
            refuse_address(self.url)

    @property
    def parameters(self) -> dict[str, Any]:
        """What determines answers besides the messages; models that reason take no temperature."""
        if self.effort is None:
            return {"model": self.model, "temperature": self.temperature, "max_tokens": self.max_output}
        return {"model": self.model, "reasoning_effort": self.effort, "max_completion_tokens": self.max_output}

    def send(
        self, messages: list[dict[str, str]], schema: dict[str, Any] | None, mode: Mode, idempotency: str = ""
    ) -> Reply:
        """Return the model's answer, tried again through whatever passes.

        Raises:
            ModelError: the server refuses whoever asks, cannot be reached, or gave nothing within the patience.
            RefusedError: the server refuses this call.
            StoppedError: the run was stopped.
        """
        body = {"messages": messages, **self.parameters, **_format(schema, mode)}
        size, start, attempt = len(json.dumps(messages)) // 4 + self.max_output, monotonic(), 0
        while True:
            self.wait(0.0)
            while delay := self.pace.delay(size):
                self.wait(delay)
            try:
                reply = self._once(body, idempotency)
                self._hear("")
                return reply
            except _PassingError as error:
                self._bear(error, start)
                pause = min(LONGEST_PAUSE, 0.25 * 2.0**attempt) * random.uniform(0.75, 1.25)
                attempt += 1
                if isinstance(error, _EmptyError) and attempt == EMPTY:
                    raise RefusedError(f"{EMPTY} answers were empty") from error
                if error.retry_after:
                    self.pace.pause(error.retry_after)
                self.wait(max(error.retry_after, pause))

    def close(self) -> None:
        """Close the connections that are kept open."""
        if "_client" in self.__dict__:
            self._client.close()

    def wait(self, seconds: float) -> None:
        """Wait, but not once the run was stopped."""
        if self.stop.wait(seconds) if seconds else self.stop.is_set():
            raise StoppedError("stopped; the same command goes on where it stopped")

    def _bear(self, error: "_PassingError", start: float) -> None:
        """Tell of a fault that is waited out; give up where a call has been tried for long enough since `start`."""
        self._reached |= not isinstance(error, _AwayError)
        now, patience = monotonic(), self.patience if self._reached else min(FIRST_CONTACT, self.patience)
        if now - start > patience and not self._reached:
            remedy = "start it, or correct the address: behind the @ of the name, or in OPENAI_BASE_URL"
            raise ModelError(f"{self._place} cannot be reached ({error}); {remedy}") from error
        if now - start > patience:
            found = f"{self._place} gave no answer for {patience:.0f} s ({error})"
            raise ModelError(f"{found}; the same command goes on where it stopped") from error
        if not self._reached or now - max(start, self._answered) > SILENCE:
            self._hear(f"{self._place} gives no answer ({error}); trying again for {patience:.0f} s")

    def _hear(self, ailing: str) -> None:
        """Tell when the server begins to be waited for, and when it answers again: once each, whatever the thread."""
        with self._lock:
            if not ailing:
                self._reached, self._answered = True, monotonic()
            if self._told != bool(ailing):
                self._told = bool(ailing)
                self.tell(ailing)

    def _once(self, body: dict[str, Any], idempotency: str) -> Reply:
        import httpx2
        import openai

        start = monotonic()
        headers = {"Idempotency-Key": idempotency} if idempotency else {}
        try:
            content = bytearray()
            create = self._client.chat.completions.with_streaming_response.create
            # As `extra_body` the messages go as they are: the library's own way through them takes milliseconds a call.
            with create(model=self.model, messages=[], extra_body=body, extra_headers=headers) as found:
                for chunk in found.iter_bytes():
                    content += chunk
                    if monotonic() - start > self.timeout:
                        raise _PassingError(f"its answer took more than {self.timeout:.0f} s")
        except openai.APIStatusError as error:
            raise self._refusal(error) from error
        except (openai.APIConnectionError, httpx2.TransportError) as error:
            away = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError)
            fault = _AwayError if isinstance(error.__cause__ or error, away) else _PassingError
            raise fault(reason_of(error)) from error
        return _reply(bytes(content), monotonic() - start)

    def _refusal(self, error: "openai.APIStatusError") -> Exception:
        status, short, self._reached = error.status_code, said_by(error), True
        if status in REMEDIES:
            return ModelError(f"{self._place} refused ({status}): {short}; {REMEDIES[status]}")
        if status in PASSES or status >= 500:
            return _PassingError(f"{status}: {short}", _seconds(error.response.headers.get("retry-after")))
        return RefusedError(f"refused ({status}): {short}")

    @property
    def _place(self) -> str:
        return f"{self.model} at {self._client.base_url}"

    @cached_property
    def _client(self) -> "openai.OpenAI":
        import httpx2
        import openai

        limits = httpx2.Limits(max_connections=self.connections, max_keepalive_connections=self.connections)
        http = openai.DefaultHttpxClient(limits=limits)
        waits = httpx2.Timeout(self.timeout, connect=min(CONNECT, self.timeout))
        # A server without accounts asks for no key, but the client does.
        return openai.OpenAI(base_url=self.url, api_key=key() or "none", max_retries=0, timeout=waits, http_client=http)


class _PassingError(Exception):
    """A fault that may pass: it is tried again, after what the server asked for."""

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class _AwayError(_PassingError):
    """No connection at all: nobody listens there, or there is no such place."""


class _EmptyError(_PassingError):
    """An answer without a word; some models give it to some questions every time."""


def _format(schema: dict[str, Any] | None, mode: Mode) -> dict[str, Any]:
    if schema is None or mode == "plain":
        return {}
    if mode == "json_object":
        return {"response_format": {"type": "json_object"}}
    shape = {"name": "answer", "strict": True, "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": shape}}


def _reply(content: bytes, seconds: float) -> Reply:
    """Read a whole answer; one that says nothing, or is none, is a fault of the server that may pass."""
    try:
        body = json.loads(content)
        choice = body["choices"][0]
        text, finish = choice["message"].get("content") or "", choice.get("finish_reason") or "stop"
        usage = body.get("usage") or {}
        tokens = (int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError) as error:
        raise _PassingError(f"what came is no chat completion ({type(error).__name__})") from error
    if not isinstance(text, str) or (not text.strip() and finish != "length"):
        raise _EmptyError("the answer was empty")
    return Reply(text, str(finish), *tokens, round(seconds, 3))


def _seconds(header: str | None) -> float:
    """Read Retry-After: seconds, or a date."""
    if not header:
        return 0.0
    try:
        return max(0.0, float(header))
    except ValueError:
        from email.utils import parsedate_to_datetime

        try:
            return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
        except ValueError:
            return 0.0
