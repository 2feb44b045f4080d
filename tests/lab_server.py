"""A real HTTP server on this machine that stands in for a model's endpoint: what it answers is its handler's."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class LabServer(ThreadingHTTPServer):
    """Answers until it is closed."""

    daemon_threads = True

    def __init__(self, handler: type["LabHandler"], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), handler)

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def spec(self) -> str:
        return f"openai:lab@http://127.0.0.1:{self.server_port}/v1"

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class LabHandler(BaseHTTPRequestHandler):
    """Sends JSON, and keeps quiet."""

    protocol_version = "HTTP/1.1"
    # Otherwise the body waits 40 ms for the client to say that it has the headers.
    disable_nagle_algorithm = True

    def send(self, status: int, content: bytes, promised: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content) if promised is None else promised))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def cut(self, content: bytes) -> None:
        """Promise a whole body, send half of it and hang up."""
        self.send(200, content[: len(content) // 2], promised=len(content))
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Keep quiet."""
