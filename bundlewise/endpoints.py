"""What every client of a model server shares: the key from the environment, kept out of all that is written."""

import os
import re
from base64 import b64encode, urlsafe_b64encode
from functools import lru_cache
from html.entities import html5
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bundlewise.errors import UsageError

if TYPE_CHECKING:
    import openai

CLIENT = "OPENAI_"
SECRETS = ("KEY", "SECRET", "TOKEN")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
SHORTEST = 8
"""Characters of the shortest secret: a shorter key, such as `none` for a server of one's own, may be a usual word."""
MASK = "***"
HEAD = 20_000
"""Characters of a long text that are masked where only its first ones are shown."""
BROKEN = r"(?:\s++|\\{1,9}[nrt]|<(?:br|wbr) ?/?>|&(?:nbsp|shy|#10|#13);|[\u00ad\u200b-\u200d\u2060\ufeff]){0,16}+"
"""What may stand between the characters of a secret where a text is wrapped."""


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
    """Return what finds secrets in every spelling of their characters, and in base64 and hex; the longest first."""
    spelt = {form: re.escape for secret in secrets for form in _encoded(secret)} | dict.fromkeys(secrets, _spellings)
    longest_first = sorted(spelt, key=len, reverse=True)
    # Most places of a text hold no beginning of any.
    starts = re.escape("".join({form[0] for form in longest_first} | {*"\\%&"}))
    found = "|".join(BROKEN.join(map(spelt[form], form)) for form in longest_first)
    return re.compile(f"(?=[{starts}])(?:{found})", re.IGNORECASE)


def _encoded(secret: str) -> set[str]:
    """Return a secret in hex, and in base64 wherever it begins there: whole, and without what others share."""
    content, found = secret.encode(), {secret.encode().hex()}
    for encode in (b64encode, urlsafe_b64encode):
        found.add(encode(content).decode().rstrip("="))
        for before in range(3):
            digits = encode(bytes(before) + content).decode().rstrip("=")
            found.add(digits[(0, 2, 3)[before] : -1 if (before + len(content)) % 3 else None])
    return found


def _spellings(character: str) -> str:
    """Return a pattern of one character as texts, JSON, addresses, HTML and programs write it."""
    number, units = ord(character), character.encode("utf-16-be")
    names = [re.escape(name) for name, value in html5.items() if value == character and name.endswith(";")]
    html = "|".join([*names, rf"#0*{number};?", rf"#x0*{number:x};?"])
    escaped = "".join(rf"\\{{1,9}}u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
    program = rf"\\{{1,9}}(?:x{number:02x}|u\{{0*{number:x}\}})"
    address = "".join(f"%(?:25)*{byte:02x}" for byte in character.encode())
    return rf"(?:\\{{0,9}}{re.escape(character)}|{escaped}|{program}|{address}|&(?:amp;)*(?:{html}))"


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
