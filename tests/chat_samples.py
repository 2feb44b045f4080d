"""A chat endpoint for tests: a client of the local teacher server, and faults of its first answers."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from teacher_server import Handler, TeacherServer, completion

from bundlewise.agents.chat.client import ChatEndpoint

KEY = "sk-planted-0123456789"
ASKED = [{"role": "user", "content": "hello"}]
SCHEMA = {"type": "object", "properties": {}}
OPENED: list[ChatEndpoint] = []


@contextmanager
def chat_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[TeacherServer]:
    """Run a server that knows the key, and close it with all clients that were opened."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    running = TeacherServer()
    yield running
    running.close()
    while OPENED:
        OPENED.pop().close()


def endpoint(server: TeacherServer, **fields: Any) -> ChatEndpoint:
    usual = {"model": "lab", "url": server.spec.partition("@")[2], "timeout": 20.0, "patience": 30.0}
    OPENED.append(ChatEndpoint(**usual | fields))
    return OPENED[-1]


def first(count: int, fault: Callable[[Handler], None]) -> Callable[[Handler, dict[str, Any]], bool]:
    """Do a fault to the first requests, then answer."""
    left = [count]

    def hit(handler: Handler, body: dict[str, Any]) -> bool:
        left[0] -= 1
        if left[0] >= 0:
            fault(handler)
        return left[0] >= 0

    return hit


def status(code: int, said: str = "no", **headers: str) -> Callable[[Handler], None]:
    return lambda handler: handler.send(code, json.dumps({"error": {"message": said}}).encode(), **headers)


def answers(text: str, finish: str = "stop") -> Callable[[Handler], None]:
    return lambda handler: handler.send(200, completion(text, finish))
