"""Secrets of the environment, masked in whatever is written or shown."""

import os
from functools import lru_cache
from urllib.parse import urlsplit

from bundlewise.secret_finder import SecretFinder

CLIENT = "OPENAI_"
SECRETS = ("KEY", "SECRET", "TOKEN")
HEADERS = "OPENAI_CUSTOM_HEADERS"
"""Headers that OpenAI's client adds to every request, `Name: value` a line."""
NAMED = ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID")
"""Values that it sends in headers of their own."""
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
SHORTEST = 8
"""Characters of the shortest secret: a shorter key, such as `none` for a server of one's own, may be a usual word."""
MASK = "***"


def without_key(said: str) -> str:
    """Return a text with every secret of the client masked: some servers repeat the one they were sent."""
    secrets = tuple(sorted(_secrets()))
    return _finder(secrets).masked(said, MASK) if secrets else said


@lru_cache(maxsize=8)
def _finder(secrets: tuple[str, ...]) -> SecretFinder:
    return SecretFinder(secrets)


def _secrets() -> set[str]:
    """Return what the environment holds: the client's keys, the values of its headers, and passwords of proxies."""
    found = {value.strip() for name, value in os.environ.items() if name.startswith(CLIENT) and name.endswith(SECRETS)}
    for name in PROXIES:
        found |= {_password(os.environ.get(spelt, "")) for spelt in (name, name.lower())}
    found |= {os.environ.get(name, "").strip() for name in NAMED} | _sent_in_headers(os.environ.get(HEADERS, ""))
    return {secret for secret in found if len(secret) >= SHORTEST}


def _sent_in_headers(lines: str) -> set[str]:
    """Return the values of headers, and of those of two words, as `Bearer KEY`, the last one too."""
    values = {line.partition(":")[2].strip() for line in lines.split("\n")}
    return values | {value.split()[-1] for value in values if value}


def _password(url: str) -> str:
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return ""
