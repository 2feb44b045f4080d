"""The gate: the checks of every request before it is handled, and the headers of every answer.

The order is: request id, host, key, rate, body (size and time), number of requests. Only a request that has passed
the others counts as one of the concurrent requests, so that a slow sender does not count.
"""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bundlewise.server.keys import Keys
from bundlewise.server.limits import Buckets, ServerLimits
from bundlewise.server.meters import Meters
from bundlewise.server.refusals import Refusal, response_to, shown

log = logging.getLogger("bundlewise.server")
OPEN = {"/healthz", "/readyz"}
CLOSED = ("/v1/", "/api/", "/metrics/")
"""The paths that need a key if the server has keys, with all paths below them."""
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
READING = 0.1
"""The cost of a request that only reads, in sessions or messages."""
DRAINED = 8
"""A body too long is read up to this multiple of the limit, since a client that still writes reads no answer."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


class Gate:
    """The outermost handler of the server: clients get no detail of an exception, only the number of its log entry."""

    def __init__(
        self, app: ASGIApp, *, keys: Keys, limits: ServerLimits, meters: Meters, hosts: Collection[str] | None = None
    ) -> None:
        """Guard an app; `hosts` are the host names that it answers to, None stands for all."""
        self.app, self.keys, self.limits, self.meters, self.hosts = app, keys, limits, meters, hosts
        self.buckets = Buckets(limits.rate, limits.burst)
        self.active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1003})
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        visit = Visit(scope, send)
        try:
            await self._pass(scope, receive, visit)
        except Refusal as refusal:
            self.meters.refusals.labels(refusal.code).inc()
            await response_to(refusal)(scope, receive, visit.send)
        except ConnectionError:
            visit.status = 499  # The client has disconnected, so nobody reads an answer.
        except Exception:  # The outermost handler: for any fault, the client gets the number of its log entry.
            log.exception("request %s failed", visit.id)
            self.meters.failures.labels("request").inc()
            await visit.fail(scope, receive)
        finally:
            self._note(scope, visit)

    async def _pass(self, scope: Scope, receive: Receive, visit: "Visit") -> None:
        path, headers = str(scope["path"]), Headers(scope=scope)
        if self.hosts is not None and host_of(headers) not in self.hosts:
            raise Refusal(421, f"this server does not answer to {shown(host_of(headers))}", code="wrong_host")
        state = scope["state"] = dict(scope.get("state") or {})
        address = (scope.get("client") or ("unknown",))[0]
        state |= {"request_id": visit.id, "owner": None, "client": f"address-{address}", "gate": self}
        if not is_closed(path):
            return await self.app(scope, receive, visit.send)
        if self.keys:
            state["owner"] = state["client"] = self._owner(headers)
        if path.startswith("/metrics"):
            return await self.app(scope, receive, visit.send)
        self.charge(state["client"], 1 if scope["method"] == "POST" else READING)
        body = await read_body(headers, receive, self.limits)
        if self.active >= self.limits.concurrent:
            found = f"{self.active} requests are in progress, which is the limit"
            raise Refusal(503, f"{found}; try again in a moment", code="busy", wait=1)
        self.active += 1
        self.meters.active.set(self.active)
        try:
            await self.app(scope, replay(body, receive), visit.send)
        finally:
            self.active -= 1
            self.meters.active.set(self.active)

    def _owner(self, headers: Headers) -> str:
        given = headers.getlist("authorization")
        owner = self.keys.owner(given[0]) if len(given) == 1 else None
        if owner is None:
            what = "wrong key" if given else "no key"
            raise Refusal(
                401,
                f"{what}; send the header Authorization: Bearer KEY",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return owner

    def charge(self, client: str, cost: float = 1, paid: int = 0) -> None:
        """Take the cost of a request, minus the part paid already, out of a client's bucket.

        Raises:
            Refusal: 429 with the time to wait, or 413 if the cost is above the burst.
        """
        if self.limits.rate and cost > self.limits.burst:
            found = f"{cost:g} sessions at once are above the limit of {self.limits.burst}"
            raise Refusal(413, f"{found}; send fewer", code="burst")
        if wait := self.buckets.take(client, cost - paid):
            found = f"more than {self.limits.rate:g} sessions and messages a minute"
            raise Refusal(429, f"{found}; wait {wait:.1f} s", code="rate_limit_exceeded", wait=wait)

    def _note(self, scope: Scope, visit: "Visit") -> None:
        route = getattr(scope.get("route"), "path", "") or ("(none)" if is_closed(scope["path"]) else "(page)")
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        seconds = time.perf_counter() - visit.began
        self.meters.requests.labels(route, method, str(visit.status)).inc()
        self.meters.seconds.labels(route).observe(seconds)
        # Headers, queries and bodies are never logged, so that keys and titles stay out of the log.
        log.info("%s %s %s %d %.0f ms", visit.id, method, route, visit.status, 1000 * seconds)


METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class Visit:
    """One request: its id, its start, and the status of its answer."""

    def __init__(self, scope: Scope, send: Send) -> None:
        given = Headers(scope=scope).get("x-request-id", "")
        self.id = given if REQUEST_ID.fullmatch(given) else f"req-{uuid.uuid4().hex}"
        self.began = time.perf_counter()
        self.status = 0
        self._send = send

    async def send(self, message: Message) -> None:
        """Send a part of the answer; its head gets the id and the security headers for browsers."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in (HEADERS | {"X-Request-ID": self.id}).items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
            headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
        await self._send(message)

    async def fail(self, scope: Scope, receive: Receive) -> None:
        """Answer with the number of the log entry; if an answer has begun, close the connection."""
        if self.status:
            raise ConnectionAbortedError("the answer broke off")
        found = f"the server failed; its log names request {self.id}"
        await response_to(Refusal(500, found, code="internal_error"))(scope, receive, self.send)


def is_closed(path: str) -> bool:
    """Say whether a path belongs to the API, which needs a key; other paths are files of the page."""
    return f"{path}/".startswith(CLOSED)


def host_of(headers: Headers) -> str:
    """Return the name in the header Host, without the port."""
    return re.sub(r":\d+$", "", headers.get("host", "")).lower()


async def read_body(headers: Headers, receive: Receive, limits: ServerLimits) -> bytes:
    """Read a whole body within its limits.

    Raises:
        Refusal: the body is too long (413), or too slow (408).
        ConnectionResetError: the client has disconnected.
    """
    declared = headers.get("content-length", "")
    too_long = declared.isascii() and declared.isdigit() and int(declared[:19]) > limits.body
    parts, size, more = [], 0, True
    try:
        async with asyncio.timeout(limits.read_seconds):
            while more and size <= DRAINED * limits.body:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ConnectionResetError
                size, more = size + len(message.get("body", b"")), message.get("more_body", False)
                too_long = too_long or size > limits.body
                if not too_long:
                    parts.append(message.get("body", b""))
    except TimeoutError as error:
        if not too_long:
            found = f"the body did not arrive within {limits.read_seconds:g} s"
            raise Refusal(408, found, code="too_slow", headers={"Connection": "close"}) from error
    if too_long:
        found = f"the body has more than {limits.body} bytes; send fewer sessions at once"
        raise Refusal(413, found, code="body_too_long", headers={"Connection": "close"})
    return b"".join(parts)


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a receive that gives the body once, and then waits until the client disconnects."""
    waiting = [body]

    async def next_message() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return next_message
