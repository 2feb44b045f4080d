"""A real HTTP server that demands a key, and answers questions of every sort: chat, completions and embeddings."""

import json
from typing import Any

from lab_server import LabHandler, LabServer
from teacher_server import GREETING, completion, reply_to


class KeyedServer(LabServer):
    """Answers whoever sends the key, and keeps what it was sent; with `elsewhere` it sends everybody there instead."""

    def __init__(self, key: str, elsewhere: str = "", status: int = 307) -> None:
        super().__init__(Handler)
        self.demanded, self.elsewhere, self.status = f"Bearer {key}", elsewhere, status
        self.heard: list[dict[str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    @property
    def keys(self) -> set[str]:
        return {headers.get("authorization", "") for headers in self.heard}


class Handler(LabHandler):
    server: KeyedServer

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"] or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.heard.append(headers | {"path": self.path})
        self.server.bodies.append(json.loads(content or b"{}"))
        if self.server.elsewhere and not self.path.startswith("/moved"):
            self.send(self.server.status, b"", location=self.server.elsewhere)
        elif headers.get("authorization") != self.server.demanded:
            said = f"no such key: {headers.get('authorization')}"
            self.send(401, json.dumps({"error": {"message": said}}).encode())
        else:
            self.send(200, answer(self.server.bodies[-1]))


def answer(body: dict[str, Any]) -> bytes:
    """Return the answer to a question, by its form."""
    if "input" in body:
        rows = [{"index": n, "embedding": [1.0, float(len(text))]} for n, text in enumerate(body["input"])]
        return json.dumps({"object": "list", "model": "lab", "data": rows}).encode()
    if "prompt" in body:
        odds = {"top_logprobs": [{" yes": -0.2, " no": -2.0}]}
        choices = [
            {"index": n, "text": " tea", "finish_reason": "stop", "logprobs": odds} for n in range(len(body["prompt"]))
        ]
        known = {"id": "1", "object": "text_completion", "created": 0, "model": "lab", "choices": choices}
        return json.dumps(known).encode()
    asks = "response_format" in body or "JSON Schema" in str(body["messages"][0]["content"])
    reply = reply_to(body) if asks else GREETING
    return completion(json.dumps(reply))
