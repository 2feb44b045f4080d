"""What every client of a model server shares: the key from the environment, kept out of all that is written."""

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bundlewise.errors import UsageError

if TYPE_CHECKING:
    import openai


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
    """Take the key out of a message: some servers repeat the one they refuse."""
    return said.replace(key(), "***") if key() else said


def said_by(error: "openai.APIStatusError") -> str:
    """Return why a server refused, in its own words, short and without the key."""
    said = error.message.removeprefix(f"Error code: {error.status_code}").lstrip(" -") or error.response.text
    return without_key(" ".join(said.split()))[:200] or "no reason given"


def reason_of(error: Exception) -> str:
    """Return why a server could not be reached, without the key."""
    return without_key(str(error.__cause__ or error).strip().rstrip("."))
