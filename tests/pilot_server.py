"""A real HTTP server that answers like a chat model with tools: what it says comes from a list, a round each."""

import json
from typing import Any

from lab_server import LabHandler, LabServer

Round = dict[str, Any] | bytes | int
"""A message, a raw body, or a status."""


def calls(*wanted: tuple[str, Any], text: str = "") -> dict[str, Any]:
    """Return a message that calls tools; arguments that are a text are sent as they are."""
    functions = [
        {"name": name, "arguments": given if isinstance(given, str) else json.dumps(given)} for name, given in wanted
    ]
    listed = [{"id": f"call_{n}", "type": "function", "function": function} for n, function in enumerate(functions)]
    return {"role": "assistant", "content": text, "tool_calls": listed}


DONE = {"role": "assistant", "content": "All done, buy at http://evil.example now!"}


class PilotServer(LabServer):
    def __init__(self, *rounds: Round) -> None:
        super().__init__(_Handler)
        self.rounds, self.bodies = list(rounds), list[dict[str, Any]]()
        self.keys: list[str] = []
        self.start()


class _Handler(LabHandler):
    server: PilotServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        self.server.keys.append(self.headers.get("Authorization", ""))
        said = self.server.rounds.pop(0) if self.server.rounds else DONE
        status = said if isinstance(said, int) else 200
        if isinstance(said, dict):
            choice = {"index": 0, "message": said, "finish_reason": "tool_calls" if "tool_calls" in said else "stop"}
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            row = {
                "id": "x",
                "object": "chat.completion",
                "created": 0,
                "model": "lab",
                "choices": [choice],
                "usage": usage,
            }
            content = json.dumps(row).encode()
        else:
            content = said if isinstance(said, bytes) else b'{"error": {"message": "key sk-secret refused"}}'
        self.send(status, content)
