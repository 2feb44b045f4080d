"""A real HTTP server that answers like a large teacher: always the same to the same, with faults by plan."""

import json
import re
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any

from lab_server import LabHandler, LabServer

from bundlewise.text import head_noun, kind

Fault = Callable[["Handler", dict[str, Any]], bool]
"""Does something to a request instead of answering it, and says whether it did."""


class TeacherServer(LabServer):
    """Counts what it is asked and what it has answered whole, by idempotency key: what a provider would bill."""

    request_queue_size = 128

    def __init__(self, fault: Fault | None = None, delay: float = 0.0, schema: bool = True, port: int = 0) -> None:
        super().__init__(Handler, port)
        self.fault, self.delay, self.schema = fault, delay, schema
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.guard = threading.Lock()
        self.start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up."""


class Handler(LabHandler):
    server: TeacherServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.headers.get("Idempotency-Key") or ""
        with self.server.guard:
            self.server.asked[key] += 1
            self.server.bodies.append(body)
            self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        if self.server.delay:
            time.sleep(self.server.delay)
        if self.server.fault and self.server.fault(self, body):
            return
        self.answer(self.text(body), key)

    def text(self, body: dict[str, Any]) -> str:
        if "response_format" not in body and "JSON Schema" not in body["messages"][0]["content"]:
            return "Hello"
        reply = reply_to(body)
        return json.dumps(reply) if self.server.schema or reply != GREETING else "Hello"

    def answer(self, text: str, key: str = "", finish: str = "stop") -> None:
        with self.server.guard:  # before the client has it, so that no test looks too early
            self.server.answered[key] += 1
        self.send(200, completion(text, finish))


GREETING = {"greeting_word": "hello"}


def completion(text: str, finish: str = "stop") -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    return json.dumps({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}).encode()


def reply_to(body: dict[str, Any]) -> dict[str, Any]:
    """Answer as the schema wants, from the products in the prompt."""
    if body["messages"][0]["role"] != "system":
        return GREETING
    prompt = body["messages"][1]["content"]
    titles = re.findall(r"^\d+\. (.*)$", prompt, re.MULTILINE)
    kinds = [head_noun(kind(title)) for title in titles] or ["product"]
    if "What is each of them?" in prompt:
        return {"kinds": kinds}
    if "Which bundles are in it" in prompt:
        groups: dict[str, list[int]] = {}
        for number, word in enumerate(kinds, 1):
            groups.setdefault(word, []).append(number)
        bundles = [{"items": items, "intent": f"get {word}"} for word, items in groups.items() if len(items) > 1]
        return {"bundles": bundles}
    if "What caused them" in prompt:
        lesson = f"{kinds[0]} and {kinds[-1]} serve one purpose"
        return {"lessons": [{"together": True, "cause": "the proposal looked at words", "lesson": lesson}]}
    if "Put lessons that say the same together" in prompt:
        numbers = [int(n) for n in re.findall(r"^(\d+)\. ", prompt, re.MULTILINE)]
        return {"rules": [rule("Products of different kinds go together.", True, "different kinds", numbers)]}
    together = "The shopper wants them together because they serve one purpose."
    lesson = f"Lesson {zlib.crc32(prompt.encode()) % 1000} of {kinds[0]}."
    said = {"products": f"A {kinds[0]} and more.", "together": together, "left_out": "", "lesson": lesson}
    return {"kinds": kinds, **said}


def rule(text: str, together: bool, relation: str, lessons: list[int], **condition: Any) -> dict[str, Any]:
    wanted = {"first": [], "second": [], "relation": relation, "least": 2, "most": 99} | condition
    return {"text": text, "together": together, "condition": wanted, "lessons": lessons}
