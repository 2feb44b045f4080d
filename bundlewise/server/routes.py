"""Routes that read JSON strictly: no repeated keys, no NaN, and no deeper nesting than a request needs."""

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from urllib.parse import urlsplit

from anyio.to_thread import run_sync
from fastapi import Depends, Security
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from bundlewise.server.cookies import Seal
from bundlewise.server.refusals import BEARER, REFUSALS, Refusal, invalid, shown
from bundlewise.server.service import service_of
from bundlewise.strictly import once

DEEPEST = 32
SMALL = 16_384
"""Most bytes of a body that is parsed on the event loop; a larger body is parsed and checked on a thread."""
MOST_KEYS = 1_000
MOST_VALUES = 200_000
STRING = re.compile(r'"(?:[^"\\]+|\\.)*+"', re.DOTALL)
HALF = re.compile("[\ud800-\udfff]")


def read_json(body: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        Refusal: it is not JSON, repeats a key, or contains NaN, infinity, a lone surrogate or too deep nesting.
    """
    try:
        text = body.decode("utf-8")
        _refuse_crowded(text)
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise _refusal(f"not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise _refusal(f"nested more than {DEEPEST} deep") from error
    except ValueError as error:  # also an integer of thousands of digits
        raise _refusal(str(error).splitlines()[0]) from error
    _refuse_deep_or_broken(value)
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = once(pairs)
    if len(found) > MOST_KEYS:
        raise ValueError(f"an object has {len(found)} keys, more than {MOST_KEYS}")
    return found


def _refuse_crowded(text: str) -> None:
    """Refuse a text with more values than a request needs: small nested lists take a hundred times their bytes."""
    if _marks(text) > MOST_VALUES and _marks(STRING.sub("", text)) > MOST_VALUES:
        raise ValueError(f"it holds more than {MOST_VALUES} values")


def _marks(text: str) -> int:
    return sum(map(text.count, ",:[{"))


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is not a number in JSON")


def _finite(text: str) -> float:
    number = float(text)
    if abs(number) == float("inf"):
        raise ValueError(f"the number {shown(text)} is too large")
    return number


def _refuse_deep_or_broken(value: Any) -> None:
    level, depth = [value], 0
    while level:
        if (depth := depth + 1) > DEEPEST:
            raise _refusal(f"nested more than {DEEPEST} deep")
        inner = []
        for each in level:
            if isinstance(each, str) and not each.isascii() and HALF.search(each):
                raise _refusal(f"{shown(each)} holds half a character (a lone surrogate)")
            if isinstance(each, dict):
                inner += [*each, *each.values()]
            elif isinstance(each, list):
                inner += each
        level = inner


def _refusal(why: str) -> Refusal:
    return Refusal(400, f"the body is not accepted as JSON: {why}", code="invalid_json")


class StrictRequest(Request):
    """A request whose JSON is read strictly; a large body is also checked against its schema."""

    def __init__(self, request: Request, schema: Any) -> None:
        super().__init__(request.scope, request.receive)
        self._schema = schema

    async def json(self) -> Any:
        """Return the value of the body."""
        if not hasattr(self, "_json"):
            body, readers = await self.body(), service_of(self).readers
            self._json = await run_sync(self._checked, body, limiter=readers) if len(body) > SMALL else read_json(body)
        return self._json

    def _checked(self, body: bytes) -> Any:
        """Return the value of a large body; a faulty one is refused here, since FastAPI would block the event loop."""
        value = read_json(body)
        if self._schema is not None:
            _, faults = self._schema.validate(value, {}, loc=("body",))
            if faults:
                raise invalid(faults)
        return value


class StrictRoute(APIRoute):
    """A route that reads its body strictly and only as JSON, which a page of another origin cannot send freely."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler."""
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            if self.body_field is not None:
                kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
                if kind != "application/json":
                    found = f"the body must be application/json, got {shown(kind)}"
                    raise Refusal(415, found, code="unsupported_media_type")
            return await inner(StrictRequest(request, self.body_field))

        return handle


STRICT: dict[str, Any] = {"route_class": StrictRoute, "responses": REFUSALS, "dependencies": [Security(BEARER)]}
"""The settings of routers whose routes read bodies and need a key."""


COOKIE = "bundlewise_owner"
YEAR = 365 * 24 * 3600
SAFE = {"GET", "HEAD"}


class OwnedRoute(StrictRoute):
    """A route of the page's API: it refuses requests from pages of another origin, and gives a new visitor a cookie."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler."""
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            if request.method not in SAFE:
                refuse_other_origin(request)
            response = await inner(request)
            if mark := getattr(request.state, "new_mark", ""):
                secure = request.url.scheme == "https"
                response.set_cookie(
                    COOKIE, mark, max_age=YEAR, path="/api", httponly=True, samesite="strict", secure=secure
                )
            return response

        return handle


def refuse_other_origin(request: Request) -> None:
    """Refuse a request that a browser sends for a page of another origin; other clients send no origin."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    elsewhere = site is not None and site not in ("same-origin", "none")
    if elsewhere or (origin is not None and _place(origin) != request.headers.get("host", "").lower()):
        found = f"a page of {shown(origin or site)} may not do this; open the server's own page"
        raise Refusal(403, found, code="other_origin")


def _place(origin: str) -> str | None:
    """Return the host and port of an origin; None for an invalid one."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def owner_of(request: Request) -> str:
    """Return the owner of a request's threads; a visitor without a key and a cookie of this server is a new owner."""
    if request.state.owner is not None:
        return str(request.state.owner)
    seal: Seal = request.app.state.seal
    mark = seal.opened(request.cookies.get(COOKIE, ""))
    if mark is None:
        mark = secrets.token_urlsafe(32)
        request.state.new_mark = seal.sign(mark)
    return f"cookie-{hashlib.sha256(mark.encode()).hexdigest()}"


Owner = Annotated[str, Depends(owner_of)]
OWNED: dict[str, Any] = STRICT | {
    "prefix": "/api",
    "route_class": OwnedRoute,
    "dependencies": [*STRICT["dependencies"], Depends(owner_of)],
}
"""The settings of routers for the page; the first request of a visitor to any of them sets a cookie."""
