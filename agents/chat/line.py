"""The line to a server: one exchange ends within its time by the wall clock, whatever the server does meanwhile."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from bundlewise.extras import require
from bundlewise.models.endpoints import Endpoint, reason_of

CONNECT = 10.0
"""Seconds a connection may take; what is slow about a model comes after."""
LONGEST = 86_400.0
"""Seconds of the longest exchange: a clock cannot wait for any number of them."""
LARGEST = 8 * 2**20
"""Bytes of the largest answer that is read; of a larger one only so many."""
REDIRECTS = 3
"""Times that a question is sent on to another address."""


@dataclass(frozen=True)
class Heard:
    """A whole answer of a server, whatever its status; one that is too large is not whole."""

    status: int
    content: bytes
    retry_after: str | None = None
    is_whole: bool = True


@dataclass(frozen=True)
class Silence:
    """No whole answer, and why.

    `away` says that there was no connection at all, `lost` that the address leads nowhere, however often it is tried.
    """

    reason: str
    away: bool = False
    lost: bool = False


@dataclass
class Line:
    """Connections to one server, opened at the first exchange; threads share them."""

    endpoint: Endpoint
    timeout: float
    connections: int
    _guard: Lock = field(default_factory=Lock)
    _opened: "_Opened | None" = None

    @property
    def address(self) -> str:
        """The address that is asked, from OPENAI_BASE_URL where none was given."""
        return self._open().address

    @property
    def busy(self) -> int:
        """How many answers are on their way."""
        return len(self._opened.clock.running) if self._opened else 0

    def exchange(self, content: bytes, headers: Mapping[str, str], limit: float | None = None) -> Heard | Silence:
        """Send a question and return what comes within the limit in seconds, or within the timeout.

        Raises:
            ModelError: the server redirects to another one.
        """
        return self._open().exchange(content, headers, self.timeout if limit is None else limit)

    def hang_up(self) -> None:
        """End every exchange that is under way; what has arrived whole is still returned."""
        if self._opened:
            self._opened.clock.hang_up()

    def close(self) -> None:
        """Close the connections; another exchange opens them again."""
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
    """The client, and the exchanges that are under way."""

    def __init__(self, endpoint: Endpoint, timeout: float, connections: int) -> None:
        require("teacher", endpoint.spec)
        import httpx2

        from bundlewise.agents.chat.deadline import Backend, Clock

        self.address, self._headers = endpoint.address, endpoint.headers()
        self.clock = Clock()
        limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
        waits = httpx2.Timeout(None, connect=min(CONNECT, timeout), pool=min(LONGEST, timeout))
        self._client = httpx2.Client(
            limits=limits, timeout=waits, follow_redirects=True, max_redirects=REDIRECTS, event_hooks=endpoint.hooks()
        )
        # The library has no other place for a network of one's own beside its proxies.
        transports: list[Any] = [self._client._transport, *self._client._mounts.values()]
        for transport in transports:
            if transport is not None:
                transport._pool._network_backend = Backend(self.clock)

    def exchange(self, content: bytes, headers: Mapping[str, str], limit: float) -> Heard | Silence:
        """Make one exchange; whatever is wrong with it is a reason."""
        import httpx2

        with self.clock.limiting(min(LONGEST, limit)) as under_way:
            try:
                return self._post(content, headers)
            except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
                found = Silence(reason_of(error), away=True)
            except httpx2.TooManyRedirects:
                found = Silence(f"it redirects more than {REDIRECTS} times", lost=True)
            except (httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
                found = Silence(f"it redirects to no address: {reason_of(error)}", lost=True)
            except httpx2.TimeoutException:
                found = Silence(f"its answer took more than {limit:.0f} s")
            # An answer can be broken in its headers, its compression, its redirects and its cookies.
            except (httpx2.HTTPError, httpx2.StreamError, httpx2.CookieConflict) as error:
                found = Silence(reason_of(error))
            except (OSError, ValueError, EOFError) as error:
                found = Silence(reason_of(error))
            return Silence("the line was hung up") if under_way.hung_up else found

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
        """End what is under way, and close the connections."""
        self.clock.hang_up()
        self._client.close()
