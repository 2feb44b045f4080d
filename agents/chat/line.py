"""The line to a server: sends a question and returns the answer within a time limit by the wall clock."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from bundlewise.extras import require
from bundlewise.models.certificates import certificates
from bundlewise.models.endpoints import Endpoint, reason_of

CONNECT = 10.0
"""The time limit of a connection in seconds; a slow model takes its time after that."""
LONGEST = 86_400.0
"""The longest exchange in seconds, because the clock has a limit."""
LARGEST = 8 * 2**20
"""The number of bytes after which the reading of an answer stops."""
REDIRECTS = 3
"""The most redirects of a question."""


@dataclass(frozen=True)
class Heard:
    """An answer of a server with any status; `is_whole` is false for an answer that is too large."""

    status: int
    content: bytes
    retry_after: str | None = None
    is_whole: bool = True


@dataclass(frozen=True)
class Silence:
    """The reason why no answer came.

    `away` says that there was no connection; `lost` says that the address is wrong, so that retries are useless.
    """

    reason: str
    away: bool = False
    lost: bool = False


@dataclass
class Line:
    """The connections to one server, which open at the first exchange and which threads share."""

    endpoint: Endpoint
    timeout: float
    connections: int
    _guard: Lock = field(default_factory=Lock)
    _opened: "_Opened | None" = None

    @property
    def address(self) -> str:
        """The address of the server; the default is OPENAI_BASE_URL."""
        return self._open().address

    @property
    def busy(self) -> int:
        """The number of exchanges that wait for an answer."""
        return len(self._opened.clock.running) if self._opened else 0

    def exchange(self, content: bytes, headers: Mapping[str, str], limit: float | None = None) -> Heard | Silence:
        """Send a question and return the answer within the limit in seconds; the default limit is the timeout.

        Raises:
            ModelError: the server redirects to another server.
        """
        return self._open().exchange(content, headers, self.timeout if limit is None else limit)

    def hang_up(self) -> None:
        """End every exchange; answers that have arrived whole are still returned."""
        if self._opened:
            self._opened.clock.hang_up()

    def close(self) -> None:
        """Close the connections; the next exchange opens them again."""
        with self._guard:
            opened, self._opened = self._opened, None
        if opened:
            opened.close()

    def _open(self) -> "_Opened":
        with self._guard:
            if self._opened is None:
                self._opened = _Opened(self.endpoint, self.timeout, self.connections)
            return self._opened


class _Opened:
    """The HTTP client and its running exchanges."""

    def __init__(self, endpoint: Endpoint, timeout: float, connections: int) -> None:
        require("teacher", endpoint.spec)
        import httpx2

        from bundlewise.agents.chat.deadline import Backend, Clock

        self.address, self._headers = endpoint.address, endpoint.headers()
        self.clock = Clock()
        limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
        waits = httpx2.Timeout(None, connect=min(CONNECT, timeout), pool=min(LONGEST, timeout))
        follow: dict[str, Any] = {"follow_redirects": True, "max_redirects": REDIRECTS}
        self._client = httpx2.Client(
            verify=certificates(), limits=limits, timeout=waits, event_hooks=endpoint.hooks(), **follow
        )
        # The library has no public way to set a network backend and keep its proxies.
        transports: list[Any] = [self._client._transport, *self._client._mounts.values()]
        for transport in transports:
            if transport is not None:
                transport._pool._network_backend = Backend(self.clock)

    def exchange(self, content: bytes, headers: Mapping[str, str], limit: float) -> Heard | Silence:
        """Make one exchange; a fault becomes a `Silence` with its reason."""
        import httpx2

        with self.clock.limiting(min(LONGEST, limit)) as under_way:
            try:
                return self._post(content, headers)
            except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
                found = Silence(reason_of(error), away=True)
            except httpx2.TooManyRedirects:
                found = Silence(f"it redirects more than {REDIRECTS} times", lost=True)
            except (httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
                found = Silence(f"it redirects to an invalid address: {reason_of(error)}", lost=True)
            except httpx2.TimeoutException:
                found = Silence(f"its answer took more than {limit:.0f} s")
            # Headers, compression, redirects and cookies of an answer can be broken.
            except (httpx2.HTTPError, httpx2.StreamError, httpx2.CookieConflict) as error:
                found = Silence(reason_of(error))
            except (OSError, ValueError, EOFError) as error:
                found = Silence(reason_of(error))
            return Silence("the exchange was cancelled") if under_way.hung_up else found

    def _post(self, content: bytes, headers: Mapping[str, str]) -> Heard | Silence:
        url, found = f"{self.address}chat/completions", bytearray()
        with self._client.stream("POST", url, content=content, headers={**self._headers, **headers}) as answer:
            for chunk in answer.iter_bytes():
                found += chunk
                if len(found) > LARGEST:
                    break
            is_whole = len(found) <= LARGEST
            return Heard(answer.status_code, bytes(found[:LARGEST]), answer.headers.get("retry-after"), is_whole)

    def close(self) -> None:
        """End the running exchanges, and close the connections."""
        self.clock.hang_up()
        self._client.close()
