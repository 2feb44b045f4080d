"""A deadline by the wall clock for a whole exchange: every wait for the network gets the remaining time.

An HTTP library limits each wait separately, so a server that sends a byte now and then could keep it waiting forever.
"""

import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Lock, Thread, local
from time import monotonic
from typing import Any

import httpcore2

STEP = 0.05
"""The interval in seconds at which an opening connection checks its deadline."""
CHUNK = 16384
"""The number of bytes to write in one wait."""


@dataclass(eq=False)
class Exchange:
    """One running exchange, with its deadline and its connection."""

    until: float
    hung_up: bool = False
    connection: Any = None

    def left(self, fault: type[Exception]) -> float:
        """Return the remaining seconds; raise the fault after the deadline or after `hang_up`."""
        left = self.until - monotonic()
        if self.hung_up or left <= 0:
            raise fault("time is up")
        return left

    def hang_up(self) -> None:
        """End the exchange from any thread; data that has arrived is still read."""
        self.hung_up = True
        if self.connection is not None and (found := self.connection.get_extra_info("socket")) is not None:
            with suppress(OSError):
                socket.socket.shutdown(found, socket.SHUT_RDWR)


@dataclass
class Clock:
    """The running exchanges, one per thread."""

    running: set[Exchange] = field(default_factory=set)
    _here: local = field(default_factory=local)
    _lock: Lock = field(default_factory=Lock)

    @contextmanager
    def limiting(self, seconds: float) -> Iterator[Exchange]:
        """Limit the time of this thread's exchange in the block."""
        exchange = Exchange(monotonic() + seconds)
        with self._lock:
            self.running.add(exchange)
        self._here.exchange = exchange
        try:
            yield exchange
        finally:
            self._here.exchange = None
            with self._lock:
                self.running.discard(exchange)

    def hang_up(self) -> None:
        """End every running exchange."""
        with self._lock:
            running = list(self.running)
        for exchange in running:
            exchange.hang_up()

    def left(self, timeout: float | None, fault: type[Exception], connection: Any = None) -> float | None:
        """Return the longest wait of this thread in seconds."""
        exchange: Exchange | None = getattr(self._here, "exchange", None)
        if exchange is None:
            return timeout
        if connection is not None:
            exchange.connection = connection
        left = exchange.left(fault)
        return left if timeout is None else min(left, timeout)


def _close(opening: "Future[httpcore2.NetworkStream]") -> None:
    """Close a connection that opened after its exchange had ended."""
    if opening.exception() is None:
        opening.result().close()


class TimedStream(httpcore2.NetworkStream):
    """A connection whose waits end at the deadline of the exchange."""

    def __init__(self, stream: httpcore2.NetworkStream, clock: Clock) -> None:
        self._stream, self._clock = stream, clock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read the available bytes."""
        return self._stream.read(max_bytes, self._clock.left(timeout, httpcore2.ReadTimeout, self._stream))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all bytes in pieces."""
        for start in range(0, len(buffer), CHUNK):
            left = self._clock.left(timeout, httpcore2.WriteTimeout, self._stream)
            self._stream.write(buffer[start : start + CHUNK], left)

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> "TimedStream":
        """Return the connection with TLS on it."""
        left = self._clock.left(timeout, httpcore2.ConnectTimeout, self._stream)
        return TimedStream(self._stream.start_tls(ssl_context, server_hostname, left), self._clock)

    def get_extra_info(self, info: str) -> Any:
        """Return information about the connection."""
        return self._stream.get_extra_info(info)


class Backend(httpcore2.NetworkBackend):
    """A network backend that keeps the deadlines of a clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._network = clock, httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> TimedStream:
        """Open a connection."""
        left = self._clock.left(timeout, httpcore2.ConnectTimeout)
        opening: Future[httpcore2.NetworkStream] = Future()

        def open_it() -> None:
            try:
                opening.set_result(self._network.connect_tcp(host, port, left, local_address, socket_options))
            except BaseException as error:  # The waiting thread raises it.
                opening.set_exception(error)

        # Nothing can interrupt the system's wait for a name or a connection, so a thread of its own waits for it.
        Thread(target=open_it, daemon=True, name="connecting").start()
        while not wait([opening], STEP).done:
            try:
                self._clock.left(timeout, httpcore2.ConnectTimeout)
            except httpcore2.ConnectTimeout:
                opening.add_done_callback(_close)
                raise
        return TimedStream(opening.result(), self._clock)
