"""The line to a server: one exchange ends within its time by the wall clock, whatever the server does meanwhile."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock, Thread

from bundlewise.endpoints import key, reason_of, refuse_address

CONNECT = 10.0
"""Seconds a connection may take; what is slow about a model comes after."""
LARGEST = 8 * 2**20
"""Bytes of the largest answer that is read."""


@dataclass(frozen=True)
class Heard:
    """A whole answer of a server, whatever its status."""

    status: int
    content: bytes
    retry_after: str | None = None


@dataclass(frozen=True)
class Silence:
    """No whole answer, and why; `away` says that there was no connection at all."""

    reason: str
    away: bool = False


@dataclass
class Line:
    """Connections to one server, opened at the first exchange; threads share them.

    The exchanges run on an event loop of their own, because only there a time limit holds for all of an exchange:
    a server that sends a byte of its headers now and then would outlast any limit on a single wait.
    """

    url: str | None
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
        return len(self._opened.tasks) if self._opened else 0

    def exchange(self, content: bytes, headers: Mapping[str, str], limit: float | None = None) -> Heard | Silence:
        """Send a question and return what comes within the limit in seconds, or within the timeout."""
        opened = self._open()
        asked = opened.exchange(content, headers, self.timeout if limit is None else limit)
        return asyncio.run_coroutine_threadsafe(asked, opened.loop).result()

    def hang_up(self) -> None:
        """End every exchange that is under way; what has arrived whole is still returned."""
        if self._opened:
            self._opened.loop.call_soon_threadsafe(self._opened.cancel)

    def close(self) -> None:
        """Close the connections; another exchange opens them again."""
        with self._guard:
            opened, self._opened = self._opened, None
        if opened:
            opened.close()

    def _open(self) -> "_Opened":
        with self._guard:
            if self._opened is None:
                self._opened = _Opened(self.url, self.timeout, self.connections)
            return self._opened


class _Opened:
    """The event loop and its client."""

    def __init__(self, url: str | None, timeout: float, connections: int) -> None:
        import httpx2

        self.address, self._headers = _account(url)
        limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
        waits = httpx2.Timeout(None, connect=min(CONNECT, timeout))
        self._client = httpx2.AsyncClient(limits=limits, timeout=waits, follow_redirects=True)
        self.tasks: set[asyncio.Task[object]] = set()
        self.loop = asyncio.new_event_loop()
        self._thread = Thread(target=self.loop.run_forever, daemon=True, name="line to a model")
        self._thread.start()

    async def exchange(self, content: bytes, headers: Mapping[str, str], limit: float) -> Heard | Silence:
        import httpx2

        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            async with asyncio.timeout(limit):
                return await self._post(content, headers)
        except TimeoutError:
            return Silence(f"its answer took more than {limit:.0f} s")
        except asyncio.CancelledError:
            return Silence("the line was hung up")
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
            return Silence(reason_of(error), away=True)
        # An answer can be broken in its headers, its compression, its redirects and its cookies.
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, httpx2.CookieConflict) as error:
            return Silence(reason_of(error))
        except (OSError, ValueError, EOFError) as error:
            return Silence(reason_of(error))
        finally:
            self.tasks.discard(task)

    async def _post(self, content: bytes, headers: Mapping[str, str]) -> Heard | Silence:
        url, found = f"{self.address}chat/completions", bytearray()
        async with self._client.stream("POST", url, content=content, headers={**self._headers, **headers}) as answer:
            async for chunk in answer.aiter_bytes():
                found += chunk
                if len(found) > LARGEST:
                    return Silence(f"its answer has more than {LARGEST:,} bytes")
            return Heard(answer.status_code, bytes(found), answer.headers.get("retry-after"))

    def cancel(self) -> None:
        for task in self.tasks:
            task.cancel()

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def _end(self) -> None:
        self.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self._client.aclose()


def _account(url: str | None) -> tuple[str, dict[str, str]]:
    """Return the address, with a slash at its end, and the headers that say who asks, as OpenAI's library reads them.

    A server without accounts asks for no key, but the library does.
    """
    import openai

    with openai.OpenAI(base_url=url, api_key=key() or "none") as known:
        given = {**known.default_headers, **known.auth_headers}
        address = str(known.base_url)
    refuse_address(address)
    return address, {name: value for name, value in given.items() if isinstance(value, str)}
