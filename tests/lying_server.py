"""A teacher's server that lies by a seeded share of its answers, and keeps a bill of its own that is true.

It bills three bytes of text as a token. A call that it knows by its idempotency key is billed once, and answered as
before; what a lie gives instead of an answer is billed where a real provider bills it: where a model has worked.
"""

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from teacher_server import Handler, TeacherServer

from bundlewise.models.prices import Price

PRICE = Price(input=100.0, output=400.0)
SHARE = 0.15
Body = dict[str, Any]


@dataclass
class Said:
    """An answer before it is wrapped into a completion: each lie changes some of it."""

    content: Any
    finish: str = "stop"
    message: Body = field(default_factory=dict)
    usage: Callable[[Body], Any] = lambda usage: usage

    @property
    def billed(self) -> str:
        """Return the text that a model has written."""
        called = self.message.get("tool_calls")
        return self.message.get("refusal") or (json.dumps(called) if called else self.content or "")

    def wrapped(self, counts: Body) -> bytes:
        message = {"role": "assistant", "content": self.content, **self.message}
        choice = {"index": 0, "message": message, "finish_reason": self.finish}
        body = {"id": "x", "object": "chat.completion", "choices": [choice], "usage": self.usage(counts)}
        return json.dumps(body).encode()


def with_usage(**changed: Any) -> Callable[[str], Said]:
    """Return a lie about some counts; None leaves one out."""

    def change(usage: Body) -> Body:
        return {name: value for name, value in (usage | changed).items() if value is not None}

    return lambda text: Said(text, usage=change)


CALLED = [{"id": "1", "type": "function", "function": {"name": "answer", "arguments": "{}"}}]
BILLED: dict[str, Callable[[str], Said]] = {
    "empty": lambda text: Said(""),
    "blank": lambda text: Said(" \n"),
    "null": lambda text: Said(None),
    "refused": lambda text: Said(None, message={"refusal": "I cannot help with that."}),
    "filtered": lambda text: Said("", "content_filter"),
    "tools": lambda text: Said(None, "tool_calls", message={"tool_calls": CALLED}),
    "overloaded": lambda text: Said("The model is overloaded, try again later."),
    "usage of 1e19": with_usage(completion_tokens=10**19),
    "usage of 1e400": with_usage(prompt_tokens=10**400),
    "negative usage": with_usage(prompt_tokens=-5),
    "usage in words": with_usage(completion_tokens="many"),
    "a count is missing": with_usage(completion_tokens=None),
    "usage is true": with_usage(prompt_tokens=True),
    "usage is half a token": with_usage(completion_tokens=0.5),
    "no usage": lambda text: Said(text, usage=lambda usage: None),
    "usage is a list": lambda text: Said(text, usage=lambda usage: [usage]),
}
"""Lies about answers that were written, and are billed."""
ESTIMATED = {name for name in BILLED if "usage" in name or "count" in name}

UNBILLED: dict[str, Callable[[Handler], None]] = {
    "500": lambda handler: handler.send(500, b'{"error": {"message": "on fire"}}'),
    "429 for no time": lambda handler: handler.send(429, b"{}", retry_after="nan"),
    "429 for less": lambda handler: handler.send(429, b"{}", retry_after="-3600"),
    "bad gzip": lambda handler: handler.send(200, b"no gzip at all", content_encoding="gzip"),
    "half a gzip": lambda handler: handler.send(200, gzip.compress(b"x" * 9999)[:20], content_encoding="gzip"),
    "nested": lambda handler: handler.send(200, b"[" * 100_000 + b"]" * 100_000),
    "a page": lambda handler: handler.send(200, b"<html>Sign in to the hotel's network</html>"),
    "no text": lambda handler: handler.send(200, b'{"choices": "\xff\xfe'),
    "an error": lambda handler: handler.send(200, b'{"error": {"message": "overloaded"}}'),
    "too short": lambda handler: handler.send(200, b'{"choices": [', promised=4),
    "cut": lambda handler: handler.cut(b'{"choices": []}'),
}
"""Lies instead of an answer, before a model has worked."""


class Liar(TeacherServer):
    """Lies to a share of all calls in each of some ways; a repair or another attempt is a call of its own."""

    def __init__(self, lies: tuple[str, ...] = (*BILLED, *UNBILLED), share: float = SHARE, seed: int = 0) -> None:
        super().__init__(self._lie)
        self.lies, self.share, self.seed = lies, share, seed
        self.told: Counter[str] = Counter()
        self.bill: dict[str, tuple[int, int]] = {}
        self._kept: dict[str, bytes] = {}

    @property
    def dollars(self) -> float:
        """Return the bill."""
        return PRICE.cost(*map(sum, zip(*self.bill.values(), strict=True))) if self.bill else 0.0

    def _lie(self, handler: Handler, body: Body) -> bool:
        key = handler.headers["Idempotency-Key"]
        drawn = zlib.crc32(f"{self.seed} {key} {self.asked[key] - (key in self._kept)}".encode())
        name = self.lies[drawn // 1000 % len(self.lies)] if drawn % 1000 < 1000 * self.share else ""
        if key not in self._kept and name in UNBILLED:
            with self.guard:
                self.told[name] += 1
            UNBILLED[name](handler)
            return True
        handler.send(200, self._answer(key, name, handler.text(body), body))
        return True

    def _answer(self, key: str, name: str, text: str, body: Body) -> bytes:
        """Return the answer to a call, put on the bill where it is new, and before the client has it."""
        with self.guard:
            if key not in self._kept:
                said = BILLED[name](text) if name else Said(text)
                read = round(sum(len(each["content"].encode()) + 16 for each in body["messages"]) / 3)
                counts = {"prompt_tokens": read, "completion_tokens": ceil(len(said.billed.encode()) / 3)}
                self.told[name] += 1
                self.bill[key] = (counts["prompt_tokens"], counts["completion_tokens"])
                self._kept[key] = said.wrapped(counts)
            return self._kept[key]
