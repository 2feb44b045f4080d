"""Models on servers, `openai:MODEL[@URL]`: parse the name, find the key, and make clients.

The key is sent only to the server in the name, and redirects to other servers are refused.
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
from bundlewise.models.certificates import certificates

if TYPE_CHECKING:
    import httpx2
    import openai

SERVED = "openai:"
"""The prefix of names of models on servers."""
FORM = "openai:MODEL or openai:MODEL@http://HOST:PORT/v1"
NAMED = re.compile(r"(?P<model>.*)@(?P<url>https?://.*)", re.DOTALL | re.IGNORECASE)
"""A model and its address, which begins at the last `@http://` or `@https://`."""
HOST = re.compile(r"[a-z0-9._-]+")
PORTS: Mapping[str, int] = {"http": 80, "https": 443}
BASE_URL = "OPENAI_BASE_URL"
OPENAI = "https://api.openai.com/v1"
NO_KEY = "none"
"""The key for a server that needs no key."""
REMEDIES: Mapping[int, str] = {
    401: "set OPENAI_API_KEY to a key that is valid there",
    403: "set OPENAI_API_KEY to a key that may use the model",
}
"""The remedies for statuses by which a server refuses the key."""
DROPPING = {301, 302, 303}
"""Redirects after which HTTP clients ask again without the content of the request."""
HEAD = 20_000
"""The number of first characters of a long text that are masked before it is cut for a message."""


def is_served(name: str) -> bool:
    """Say whether a name is that of a model on a server."""
    return name.startswith(SERVED)


def model_of(name: str) -> str:
    """Return the model in a name: MODEL in `openai:MODEL[@URL]`, or the name itself."""
    return Endpoint.named(name).model if is_served(name) else name


@dataclass(frozen=True)
class Endpoint:
    """One model on one server; without an address it is the server in OPENAI_BASE_URL, or OpenAI's.

    A model or an address that cannot be used is a UsageError, whose message masks secrets in the address.
    """

    model: str
    url: str | None = None

    def __post_init__(self) -> None:
        if not self.model:
            raise UsageError(f"{_shown(self.spec)} names no model; write {FORM}")
        if any(sign.isspace() or not sign.isprintable() for sign in self.spec):
            raise UsageError(f"{_shown(self.spec)!r} holds a blank or an invisible character; write {FORM}")
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
            UsageError: the text does not have this form.
        """
        if not is_served(text):
            raise UsageError(f"{_shown(text)!r} is not a model on a server; write {FORM}")
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
            UsageError: the address in OPENAI_BASE_URL is invalid.
        """
        found = self.url
        if found is None and (found := os.environ.get(BASE_URL, "").strip() or None):
            _check_address(found, f"{BASE_URL}: ")
        return (found or OPENAI).rstrip("/") + "/"

    @property
    def host(self) -> str:
        """The name of the server's host in lower case."""
        return urlsplit(self.address).hostname or ""

    @property
    def place(self) -> str:
        """The model and the address, for messages."""
        return f"{self.model} at {self.address}"

    @property
    def key(self) -> str:
        """The key for the server: the one in OPENAI_API_KEY, or "none" for servers other than OpenAI's.

        Raises:
            UsageError: there is no key for OpenAI, or the key cannot be sent.
        """
        found = key()
        if not found and self.host == urlsplit(OPENAI).hostname:
            raise UsageError(f"no key for {self.place}; set OPENAI_API_KEY, or name another server: {FORM}")
        return found or NO_KEY

    def client(self, **settings: Any) -> "openai.OpenAI":
        """Return a client of OpenAI's library that reaches only this server; `settings` are timeout and retries."""
        require("teacher", self.spec)
        import openai

        http = self.http_client()
        client = openai.OpenAI(base_url=self.address, api_key=self.key, http_client=http, **settings)
        weakref.finalize(client, http.close)
        return client

    def http_client(self) -> "httpx2.Client":
        """Return an HTTP client with the settings of OpenAI's library that reaches only this server."""
        require("teacher", self.spec)
        import openai

        return openai.DefaultHttpxClient(verify=certificates(), event_hooks=self.hooks())

    def async_http_client(self) -> "httpx2.AsyncClient":
        """Return an asynchronous `http_client`."""
        require("teacher", self.spec)
        import openai

        guard, keeper = self.guard(), self.keeper()

        async def check(request: "httpx2.Request") -> None:
            guard(request)

        async def keep(response: "httpx2.Response") -> None:
            keeper(response)

        hooks: dict[str, list[Any]] = {"request": [check], "response": [keep]}
        return openai.DefaultAsyncHttpxClient(verify=certificates(), event_hooks=hooks)

    def headers(self) -> dict[str, str]:
        """Return the headers that OpenAI's library sends, including the key."""
        with self.client() as known:
            given = {**known.default_headers, **known.auth_headers}
        return {name: value for name, value in given.items() if isinstance(value, str)}

    def hooks(self) -> dict[str, list[Any]]:
        """Return hooks for HTTP clients that keep a request and its key on this server."""
        return {"request": [self.guard()], "response": [self.keeper()]}

    def keeper(self) -> "Callable[[httpx2.Response], None]":
        """Return a hook for HTTP clients that raises a ModelError if a redirect would drop the content of a request.

        After 301, 302 and 303 HTTP clients repeat a POST as a GET without its content; 307 and 308 keep it.
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
                    f"{_shown(str(to))}; name that address after the @ of the model or in {BASE_URL}, up to where "
                    f"{response.request.url.path.removeprefix(named.path.rstrip('/'))} follows"
                )

        return keep

    def guard(self) -> "Callable[[httpx2.Request], None]":
        """Return a hook for HTTP clients that raises a ModelError if a redirect leads to another server.

        A redirect from http to https on the same host is allowed, on the same port or from port 80 to 443.
        """
        require("teacher", self.spec)
        import httpx2

        named = httpx2.URL(self.address)

        def check(request: "httpx2.Request") -> None:
            if not _is_same(named, request.url):
                other = without_key(f"{request.url.scheme}://{request.url.netloc.decode()}{request.url.path}")
                raise ModelError(
                    f"{self.model} at {named} redirects to {other}, which is another server and was sent nothing; "
                    f"if you trust that one, name it after the @ of the model or in {BASE_URL}"
                )

        return check


def _is_same(named: "httpx2.URL", other: "httpx2.URL") -> bool:
    """Say whether an address is on the named server; https instead of http is the same server."""
    ports = tuple(url.port or PORTS.get(url.scheme) for url in (named, other))
    schemes = (named.scheme, other.scheme)
    is_upgrade = schemes == ("http", "https")
    if named.host != other.host or not (is_upgrade or schemes[0] == schemes[1]):
        return False
    return ports[0] == ports[1] or (is_upgrade and ports == (PORTS["http"], PORTS["https"]))


def _check_address(url: str, where: str = "") -> None:
    """Raise a UsageError if an address is invalid or holds a secret, because addresses are stored and shown."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        is_host = bool(IPv6Address(host)) if ":" in host else bool(HOST.fullmatch(host))
        is_whole = is_host and parts.port != 0 and parts.scheme in PORTS and url.isprintable() and " " not in url
    except ValueError:
        is_whole = False
    if not is_whole:
        raise UsageError(f"{where}{_shown(url)} is not an address; give one like http://127.0.0.1:8080/v1")
    if re.search(r"[@?#]", url):
        raise UsageError(f"{where}the address at {host} holds more than a path; put the key into OPENAI_API_KEY")


def _shown(text: str) -> str:
    """Return a name or an address with possible passwords and keys masked."""
    text = re.sub(r"//.*@(?!https?://)", f"//{MASK}@", text, flags=re.IGNORECASE | re.DOTALL)
    text = re.sub(r"@(?!https?://).*@", f"@{MASK}@", text, flags=re.IGNORECASE | re.DOTALL)
    return without_key(re.sub(r"[?#].*", f"?{MASK}", text, flags=re.DOTALL))


def key() -> str:
    """Return the key in OPENAI_API_KEY, or an empty text.

    Raises:
        UsageError: the key has characters that cannot be sent.
    """
    found = os.environ.get("OPENAI_API_KEY", "").strip()
    if not (found.isascii() and found.isprintable()):
        raise UsageError("OPENAI_API_KEY holds characters that no key has; set it again")
    return found


def said_by(error: "openai.APIStatusError") -> str:
    """Return the server's reason for a refusal, short and without the key."""
    said = error.message.removeprefix(f"Error code: {error.status_code}").lstrip(" -") or error.response.text
    return in_short(said)


def reason_of(error: BaseException) -> str:
    """Return the reason why a server could not be reached, without the key; the system's message if there is one."""
    cause: BaseException = error
    while found := cause.__cause__ or cause.__context__:
        cause = found
    if isinstance(cause, OSError) and cause.errno and cause.errno > 0:
        return os.strerror(cause.errno)
    said = str(error.__cause__ or error).strip().rstrip(".")
    return in_short(said) if said else type(error).__name__


def in_short(said: str) -> str:
    """Return a server's text on one line, masked and then cut."""
    whole = " ".join(said.split())
    told = without_key(whole[:HEAD])
    if len(told) < HEAD // 2:  # If most of it was masked, its end may be a part of a key.
        told = without_key(whole)
    return " ".join(told.split())[:200] or "no reason given"
