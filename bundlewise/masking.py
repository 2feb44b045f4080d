"""Mask the secrets of the environment in texts that are written or shown."""

import os
import re
from base64 import b64encode, urlsafe_b64encode
from functools import lru_cache
from html.entities import html5
from urllib.parse import urlsplit

CLIENT = "OPENAI_"
SECRETS = ("KEY", "SECRET", "TOKEN")
HEADERS = "OPENAI_CUSTOM_HEADERS"
"""The variable with headers that OpenAI's client adds to every request, one `Name: value` per line."""
NAMED = ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID")
"""The variables whose values OpenAI's client sends in headers of their own."""
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
SHORTEST = 8
"""The fewest characters of a secret: a shorter key, such as `none` for a local server, may be a common word."""
MASK = "***"
BROKEN = r"(?:\s++|\\{1,9}[nrt]|<(?:br|wbr) ?/?>|&(?:nbsp|shy|#10|#13);|[\u00ad\u200b-\u200d\u2060\ufeff]){0,16}+"
"""A pattern of what may stand between the characters of a secret in a wrapped text."""


def without_key(said: str) -> str:
    """Return a text with every secret masked, because some servers repeat the key that they received."""
    secrets = tuple(sorted(_secrets()))
    return _pattern(secrets).sub(MASK, said) if secrets else said


def _secrets() -> set[str]:
    """Return the secrets of the environment: the client's keys, the values of its headers, the proxies' passwords."""
    found = {value.strip() for name, value in os.environ.items() if name.startswith(CLIENT) and name.endswith(SECRETS)}
    for name in PROXIES:
        found |= {_password(os.environ.get(spelt, "")) for spelt in (name, name.lower())}
    found |= {os.environ.get(name, "").strip() for name in NAMED} | _sent_in_headers(os.environ.get(HEADERS, ""))
    return {secret for secret in found if len(secret) >= SHORTEST}


def _sent_in_headers(lines: str) -> set[str]:
    """Return the values of headers, and the last word of each value, as `KEY` in `Bearer KEY`."""
    values = {line.partition(":")[2].strip() for line in lines.split("\n")}
    return values | {value.split()[-1] for value in values if value}


def _password(url: str) -> str:
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return ""


@lru_cache(maxsize=8)
def _pattern(secrets: tuple[str, ...]) -> re.Pattern[str]:
    """Return the pattern that finds secrets in any spelling of their characters, and in base64 and hex."""
    spelt = {form: re.escape for secret in secrets for form in _encoded(secret)} | dict.fromkeys(secrets, _spellings)
    longest_first = sorted(spelt, key=len, reverse=True)
    # This look-ahead is fast: at most places of a text no secret can begin.
    starts = re.escape("".join({form[0] for form in longest_first} | {*"\\%&"}))
    found = "|".join(BROKEN.join(map(spelt[form], form)) for form in longest_first)
    return re.compile(f"(?=[{starts}])(?:{found})", re.IGNORECASE)


def _encoded(secret: str) -> set[str]:
    """Return a secret in hex and in base64, also as base64 writes it at each of the three offsets in a longer text."""
    content, found = secret.encode(), {secret.encode().hex()}
    for encode in (b64encode, urlsafe_b64encode):
        found.add(encode(content).decode().rstrip("="))
        for before in range(3):
            digits = encode(bytes(before) + content).decode().rstrip("=")
            found.add(digits[(0, 2, 3)[before] : -1 if (before + len(content)) % 3 else None])
    return found


def _spellings(character: str) -> str:
    """Return a pattern of one character as plain text, JSON, URLs, HTML and source code write it."""
    number, units = ord(character), character.encode("utf-16-be")
    names = [re.escape(name) for name, value in html5.items() if value == character and name.endswith(";")]
    html = "|".join([*names, rf"#0*{number};?", rf"#x0*{number:x};?"])
    escaped = "".join(rf"\\{{1,9}}u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
    program = rf"\\{{1,9}}(?:x{number:02x}|u\{{0*{number:x}\}})"
    address = "".join(f"%(?:25)*{byte:02x}" for byte in character.encode())
    return rf"(?:\\{{0,9}}{re.escape(character)}|{escaped}|{program}|{address}|&(?:amp;)*(?:{html}))"
