"""Bearer keys: read from the environment or a file, stored only as digests, compared in constant time."""

import hashlib
import hmac
import os
from collections.abc import Iterable
from pathlib import Path

from bundlewise.errors import UsageError

VARIABLE = "BUNDLEWISE_API_KEYS"
SHORTEST = 16
DIGITS = 16


class Keys:
    """The keys of the server; without keys everybody who reaches the server may use it."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        """Store the digests of keys.

        Raises:
            UsageError: a key is too short, or cannot be sent in a header; the message does not show it.
        """
        self._digests = []
        for number, key in enumerate(keys, 1):
            if len(key) < SHORTEST or not (key.isascii() and key.isprintable()) or " " in key:
                wanted = f"at least {SHORTEST} printable ASCII characters without spaces"
                raise UsageError(f"key {number} must have {wanted}, got {len(key)}; `openssl rand -hex 24` makes one")
            self._digests.append(_digest(key))

    @classmethod
    def read(cls, file: Path | None = None) -> "Keys":
        """Return the keys from BUNDLEWISE_API_KEYS (separated by commas) and a file (one per line, # comments)."""
        keys = [key.strip() for key in os.environ.get(VARIABLE, "").split(",")]
        if file is not None:
            try:
                rows = file.read_text("utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError(f"cannot read the keys in {file}; give a text file with one key per line") from error
            found = [row.strip() for row in rows if row.strip() and not row.lstrip().startswith("#")]
            if not found:
                raise UsageError(f"{file} holds no key; write one key per line, or leave out --keys")
            keys += found
        return cls(dict.fromkeys(filter(None, keys)))

    def __bool__(self) -> bool:
        """Say whether the server needs a key."""
        return bool(self._digests)

    def owner(self, authorization: str) -> str | None:
        """Return the owner for a header `Bearer KEY`: digits of the key's digest; None for a wrong key.

        Every key is compared, so that the time of the comparison gives no hint.
        """
        scheme, _, key = authorization.partition(" ")
        given = _digest(key.strip())
        matches = [hmac.compare_digest(given, digest) for digest in self._digests]
        return f"key-{given[:DIGITS]}" if any(matches) and scheme.lower() == "bearer" else None


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
