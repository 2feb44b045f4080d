"""Whose a thread is: the key's or a signed cookie's; and no page of another origin acts for them."""

import hashlib
import secrets
from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from bundlewise.server.refusals import Refusal, shown
from bundlewise.server.signing import Seal
from bundlewise.server.strict import STRICT, StrictRoute

COOKIE = "bundlewise_owner"
YEAR = 365 * 24 * 3600
SAFE = {"GET", "HEAD"}


class OwnedRoute(StrictRoute):
    """A route of the page's API: refuses what a page of another origin sends, and gives a new visitor a cookie."""

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
    """Raise a refusal for a request that a browser sends for a page of another origin; other clients say none."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    elsewhere = site is not None and site not in ("same-origin", "none")
    if elsewhere or (origin is not None and _place(origin) != request.headers.get("host", "").lower()):
        found = f"a page of {shown(origin or site)} may not do this; open the server's own page"
        raise Refusal(403, found, code="other_origin")


def _place(origin: str) -> str | None:
    """Return the host and port of an origin; None where it is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def owner_of(request: Request) -> str:
    """Return whose threads a request is about; a visitor without key and a cookie of this server is a new one."""
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
"""What every router has that the page asks; whoever comes first gets a cookie, whatever is asked."""
