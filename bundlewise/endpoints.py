"""What every client of a model server shares: the key from the environment, kept out of all that is written."""

import os
import re
from base64 import b64encode, urlsafe_b64encode
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus, urlsplit

from bundlewise.errors import UsageError

if TYPE_CHECKING:
    import openai

CLIENT = "OPENAI_"
SECRETS = ("KEY", "SECRET", "TOKEN")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
SHORTEST = 8
"""Characters of the shortest secret: a shorter key, such as `none` for a server of one's own, may be a usual word."""
MASK = "***"


def key() -> str:
    """Return the key in OPENAI_API_KEY, or nothing; one that cannot be sent is a UsageError."""
    found = os.environ.get("OPENAI_API_KEY", "").strip()
    if not (found.isascii() and found.isprintable()):
        raise UsageError("OPENAI_API_KEY holds characters that no key has; set it again")
    return found


def refuse_address(url: str) -> None:
    """Raise a UsageError for an address that is none, or holds a secret: it is written down and shown."""
    try:
        parts = urlsplit(url)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole = False
    if not is_whole:
        raise UsageError(f"{url} is no address; give one like http://127.0.0.1:8080/v1")
    if parts.username or parts.password or parts.query:
        raise UsageError(f"the address at {parts.hostname} holds more than a path; put the key into OPENAI_API_KEY")


def without_key(said: str) -> str:
    """Return a text with every secret of the client masked: some servers repeat the one they were sent."""
    secrets = tuple(sorted(_secrets()))
    return _pattern(secrets).sub(MASK, said) if secrets else said


def _secrets() -> set[str]:
    """Return the keys of the client and the passwords of proxies that the environment holds."""
    found = {value.strip() for name, value in os.environ.items() if name.startswith(CLIENT) and name.endswith(SECRETS)}
    for name in PROXIES:
        found |= {_password(os.environ.get(spelt, "")) for spelt in (name, name.lower())}
    return {secret for secret in found if len(secret) >= SHORTEST}


def _password(url: str) -> str:
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return ""


@lru_cache(maxsize=8)
def _pattern(secrets: tuple[str, ...]) -> re.Pattern[str]:
    """Return what finds secrets as they are, and as addresses, JSON and base64 write them; the longest first."""
    spelt = {form for secret in secrets for form in _forms(secret)}
    return re.compile("|".join(map(re.escape, sorted(spelt, key=len, reverse=True))))


def _forms(secret: str) -> set[str]:
    found = {secret, secret.replace("/", "\\/"), quote(secret, safe=""), quote(secret), quote_plus(secret)}
    for sent in (secret, f"Bearer {secret}"):
        found |= {encode(sent.encode()).decode().rstrip("=") for encode in (b64encode, urlsafe_b64encode)}
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
    return without_key(" ".join(said.split()))[:200] or type(error).__name__


def in_short(said: str) -> str:
    """Return what a server said on one line, masked before it is cut."""
    return " ".join(without_key(said).split())[:200] or "no reason given"
