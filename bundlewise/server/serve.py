"""Running the server: uvicorn with a time limit for headers, and a check that the address is not open by mistake."""

import asyncio
import ipaddress
import json
import logging
import socket
import sys
from functools import partial
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from bundlewise.errors import UsageError
from bundlewise.server.limits import ServerLimits
from bundlewise.server.refusals import error_body

READ_AT_ONCE = 8192
"""Most bytes read from one connection before the others have their turn."""
DROPPED = 2**20
"""Most bytes read and dropped from a client that sends more before it has its answer."""
LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_open(host: str, has_keys: bool, insecure: bool) -> None:
    """Raise a UsageError for a server that others could use without a key."""
    if not (is_loopback(host) or has_keys or insecure):
        raise UsageError(
            f"--host {host} opens the server to others, and no key protects it; set BUNDLEWISE_API_KEYS or give --keys "
            "FILE, stay on 127.0.0.1, or add --insecure-no-keys"
        )


def refuse_taken(host: str, port: int) -> None:
    """Raise a UsageError for an address that the server cannot listen on, before anything is loaded."""
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind, protocol) as line:
                line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                line.bind(address)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        remedy = "give another --port, or a --host of this machine"
        raise UsageError(f"cannot listen on {host}, port {port}: {why}; {remedy}") from error


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP protocol, which also closes a connection whose next request has no complete headers in time.

    Otherwise a client that sends its headers byte by byte could hold the connection for ever. Data that a client sends
    before it has its answer are dropped, and the connection is closed after the answer: a second request in the
    buffer would stop the reading, and the server would not notice that the client disconnects.
    """

    def __init__(self, *, seconds: float, **settings: Any) -> None:
        super().__init__(**settings)
        self._seconds = seconds
        self._deadline: asyncio.TimerHandle | None = None
        self._dropped = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        # All bytes of one read are parsed in one step, and 256 kB in chunks of one byte would take seconds.
        transport.max_size = READ_AT_ONCE  # type: ignore[attr-defined]
        self._wait_for_headers()

    def data_received(self, data: bytes) -> None:
        """Handle data; the clock stops when the headers are complete, and starts with the next headers."""
        if self._is_answering():
            self._drop(len(data))
            return
        super().data_received(data)
        if self._is_answering() and self.conn.trailing_data[0]:
            self._drop(len(self.conn.trailing_data[0]))
        if self.conn.their_state is h11.IDLE:
            self._wait_for_headers()
        else:
            self._stop_waiting()

    def _is_answering(self) -> bool:
        """Say whether a request is complete and its answer is not."""
        return self.cycle is not None and not (self.cycle.more_body or self.cycle.response_complete)

    def _drop(self, size: int) -> None:
        """Drop data that came before the answer to the earlier request; the connection closes after that answer."""
        self.cycle.keep_alive = False
        self.flow.resume_reading()
        self._dropped += size
        if self._dropped > DROPPED:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse invalid HTTP in the format of all other refusals."""
        body = json.dumps(error_body(400, msg, "invalid_http")).encode()
        head = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        answer = h11.Response(status_code=400, headers=head, reason=b"Bad Request")
        for event in (answer, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _wait_for_headers(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self._seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()


def serve(app: FastAPI, host: str, port: int, limits: ServerLimits) -> None:
    """Serve until a signal, and then give open requests time to finish."""
    log_to_stderr()
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=partial(PatientProtocol, seconds=limits.read_seconds),  # type: ignore[arg-type]  # a class or what makes one,
        loop="asyncio",
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=limits.connections,
        timeout_graceful_shutdown=limits.drain_seconds,
    )
    uvicorn.Server(config).run()


def log_to_stderr() -> None:
    """Send the server's log to stderr, one line per request."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name in ("bundlewise.server", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
