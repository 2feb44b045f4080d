"""Models on servers, `openai:MODEL[@URL]`: one reading of the name, one rule for the key, and one kind of client.

The key goes to the server that the name says and to no other, whatever a redirect asks for.
"""

import os
import re
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bundlewise.errors import ModelError, UsageError
from bundlewise.extras import require
from bundlewise.masking import MASK, without_key

if TYPE_CHECKING:
    import httpx2
    import openai

SERVED = "openai:"
"""How the name of a model on a server begins."""
FORM = "openai:MODEL or openai:MODEL@http://HOST:PORT/v1"
NAMED = re.compile(r"(?P<model>.*)@(?P<url>https?://.*)", re.DOTALL | re.IGNORECASE)
"""A model and its address: that is what follows the last `@http://` or `@https://`."""
HOST = re.compile(r"[a-z0-9._-]+")
PORTS: Mapping[str, int] = {"http": 80, "https": 443}
BASE_URL = "OPENAI_BASE_URL"
OPENAI = "https://api.openai.com/v1"
NO_KEY = "none"
"""What is sent as the key to a server that wants none."""
REMEDIES: Mapping[int, str] = {
    401: "set OPENAI_API_KEY to a key that is valid there",
    403: "set OPENAI_API_KEY to a key that may use the model",
}
"""What helps where a server refuses the key."""
DROPPING = {301, 302, 303}
"""Redirects after which HTTP clients ask without the content of a question."""
HEAD = 20_000
"""Characters of a long text that are masked where only its first ones are shown."""


def is_served(name: str) -> bool:
    """Say whether a name means a model on a server."""
    return name.startswith(SERVED)


def model_of(name: str) -> str:
    """Return the model that a name means: that of `openai:MODEL[@URL]`, or the name itself."""
    return Endpoint.named(name).model if is_served(name) else name


@dataclass(frozen=True)
class Endpoint:
    """One model of one server; without an address it is the server in OPENAI_BASE_URL, or else OpenAI's.

    A model or an address that cannot be used is a UsageError. Its message shows no secret that an address holds.
    """

    model: str
    url: str | None = None

    def __post_init__(self) -> None:
        if not self.model:
            raise UsageError(f"{_shown(self.spec)} names no model; write {FORM}")
        if any(sign.isspace() or not sign.isprintable() for sign in self.spec):
            raise UsageError(f"{_shown(self.spec)!r} holds a blank or a sign that cannot be seen; write {FORM}")
        if "://" in self.model:
            raise UsageError(f"{_shown(self.spec)} holds an address in the model's name; write {FORM}")
        if self.url is not None:
            _check_address(self.url)
        elif "@" in self.model:
            raise UsageError(
                f"the address in {_shown(self.spec)} does not begin with http:// or https://; write {FORM}, "
                f"with the address too where the @ belongs to the model's name"
            )

    @classmethod
    def named(cls, text: str) -> "Endpoint":
        """Return the endpoint that `openai:MODEL` or `openai:MODEL@URL` names.

        Raises:
            UsageError: the text names none.
        """
        if not is_served(text):
            raise UsageError(f"{_shown(text)!r} is no model on a server; write {FORM}")
        rest = text.removeprefix(SERVED)
        found = NAMED.fullmatch(rest)
        return cls(found["model"], found["url"]) if found else cls(rest)

    @property
    def spec(self) -> str:
        """The name that `named` reads."""
        return f"{SERVED}{self.model}" + (f"@{self.url}" if self.url is not None else "")

    @property
    def address(self) -> str:
        """The address of the server, with a slash at its end.

        Raises:
            UsageError: OPENAI_BASE_URL is asked for it and holds none.
        """
        found = self.url
        if found is None and (found := os.environ.get(BASE_URL, "").strip() or None):
            _check_address(found, f"{BASE_URL}: ")
        return (found or OPENAI).rstrip("/") + "/"

    @property
    def host(self) -> str:
        """The name of the server's host, in small letters."""
        return urlsplit(self.address).hostname or ""

    @property
    def place(self) -> str:
        """The model and the address, as messages name them."""
        return f"{self.model} at {self.address}"

    @property
    def key(self) -> str:
        """The key that the server is sent: the one in OPENAI_API_KEY, or "none", which OpenAI does not take.

        Raises:
            UsageError: there is no key for OpenAI, or one that cannot be sent.
        """
        found = key()
        if not found and self.host == urlsplit(OPENAI).hostname:
            raise UsageError(f"no key for {self.place}; set OPENAI_API_KEY, or name another server: {FORM}")
        return found or NO_KEY

    def client(self, **settings: Any) -> "openai.OpenAI":
        """Return a client of OpenAI's library for this server alone; `settings` are timeout and retries."""
        require("teacher", self.spec)
        import openai

        http = self.http_client()
        client = openai.OpenAI(base_url=self.address, api_key=self.key, http_client=http, **settings)
        weakref.finalize(client, http.close)
        return client

    def http_client(self) -> "httpx2.Client":
        """Return an HTTP client, set as OpenAI's library sets its own, that reaches this server alone."""
        require("teacher", self.spec)
        import openai

        return openai.DefaultHttpxClient(event_hooks=self.hooks())

    def async_http_client(self) -> "httpx2.AsyncClient":
        """Return the like of `http_client` for callers that are asynchronous."""
        require("teacher", self.spec)
        import openai

        guard, keeper = self.guard(), self.keeper()

        async def check(request: "httpx2.Request") -> None:
            guard(request)

        async def keep(response: "httpx2.Response") -> None:
            keeper(response)

        return openai.DefaultAsyncHttpxClient(event_hooks={"request": [check], "response": [keep]})

    def headers(self) -> dict[str, str]:
        """Return the headers that say who asks, as OpenAI's library sends them."""
        with self.client() as known:
            given = {**known.default_headers, **known.auth_headers}
        return {name: value for name, value in given.items() if isinstance(value, str)}

    def hooks(self) -> dict[str, list[Any]]:
        """Return the hooks of HTTP clients that keep a question and its key on this server."""
        return {"request": [self.guard()], "response": [self.keeper()]}

    def keeper(self) -> "Callable[[httpx2.Response], None]":
        """Return a hook for HTTP clients: a redirect on this server that would drop a question is a ModelError.

        After 301, 302 and 303 a POST is asked again as a GET, without its content; 307 and 308 keep it.
        """
        import httpx2

        named = httpx2.URL(self.address)

        def keep(response: "httpx2.Response") -> None:
            if not response.has_redirect_location or response.status_code not in DROPPING:
                return
            if response.request.method != "POST":
                return
            try:
                to = response.url.join(response.headers.get("location", ""))
            except httpx2.InvalidURL:
                return
            if _is_same(named, to):
                raise ModelError(
                    f"{self.model} at {named} answers {response.status_code} and wants to be asked at "
                    f"{_shown(str(to))}; name that address behind the @ of the model or in {BASE_URL}, up to where "
                    f"{response.request.url.path.removeprefix(named.path.rstrip('/'))} follows"
                )

        return keep

    def guard(self) -> "Callable[[httpx2.Request], None]":
        """Return a hook for HTTP clients: a request that a redirect makes to another server is a ModelError.

        The same host may ask for https in place of http, on the same port or on the usual ones.
        """
        require("teacher", self.spec)
        import httpx2

        named = httpx2.URL(self.address)

        def check(request: "httpx2.Request") -> None:
            if not _is_same(named, request.url):
                other = without_key(f"{request.url.scheme}://{request.url.netloc.decode()}{request.url.path}")
                raise ModelError(
                    f"{self.model} at {named} redirects to {other}, which is another server and was sent nothing; "
                    f"if you trust that one, name it behind the @ of the model or in {BASE_URL}"
                )

        return check


def _is_same(named: "httpx2.URL", other: "httpx2.URL") -> bool:
    """Say whether an address is on the server of the named one; https in place of http is the same server."""
    ports = tuple(url.port or PORTS.get(url.scheme) for url in (named, other))
    schemes = (named.scheme, other.scheme)
    is_upgrade = schemes == ("http", "https")
    if named.host != other.host or not (is_upgrade or schemes[0] == schemes[1]):
        return False
    return ports[0] == ports[1] or (is_upgrade and ports == (PORTS["http"], PORTS["https"]))


def _check_address(url: str, where: str = "") -> None:
    """Raise a UsageError for an address that is none, or holds a secret: it is written down and shown."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        is_host = bool(IPv6Address(host)) if ":" in host else bool(HOST.fullmatch(host))
        is_whole = is_host and parts.port != 0 and parts.scheme in PORTS and url.isprintable() and " " not in url
    except ValueError:
        is_whole = False
    if not is_whole:
        raise UsageError(f"{where}{_shown(url)} is no address; give one like http://127.0.0.1:8080/v1")
    if re.search(r"[@?#]", url):
        raise UsageError(f"{where}the address at {host} holds more than a path; put the key into OPENAI_API_KEY")


def _shown(text: str) -> str:
    """Return a name or an address without what may be a password or a key in it."""
    text = re.sub(r"//.*@(?!https?://)", f"//{MASK}@", text, flags=re.IGNORECASE | re.DOTALL)
    text = re.sub(r"@(?!https?://).*@", f"@{MASK}@", text, flags=re.IGNORECASE | re.DOTALL)
    return without_key(re.sub(r"[?#].*", f"?{MASK}", text, flags=re.DOTALL))


def key() -> str:
    """Return the key in OPENAI_API_KEY, or nothing; one that cannot be sent is a UsageError."""
    found = os.environ.get("OPENAI_API_KEY", "").strip()
    if not (found.isascii() and found.isprintable()):
        raise UsageError("OPENAI_API_KEY holds characters that no key has; set it again")
    return found


def said_by(error: "openai.APIStatusError") -> str:
    """Return why a server refused, in its own words, short and without the key."""
    said = error.message.removeprefix(f"Error code: {error.status_code}").lstrip(" -") or error.response.text
    return in_short(said)


def reason_of(error: BaseException) -> str:
    """Return why a server could not be reached, without the key: in the system's words where the cause has any."""
    cause: BaseException = error
    while found := cause.__cause__ or cause.__context__:
        cause = found
    if isinstance(cause, OSError) and cause.errno and cause.errno > 0:
        return os.strerror(cause.errno)
    said = str(error.__cause__ or error).strip().rstrip(".")
    return in_short(said) if said else type(error).__name__


def in_short(said: str) -> str:
    """Return what a server said on one line, masked before it is cut."""
    whole = " ".join(said.split())
    told = without_key(whole[:HEAD])
    if len(told) < HEAD // 2:  # It is short, or most of it was masked, and its end may be a part of a key.
        told = without_key(whole)
    return " ".join(told.split())[:200] or "no reason given"
