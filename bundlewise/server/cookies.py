"""The signature of a server's cookies; with threads in a file, it is still valid after a restart."""

import base64
import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

from bundlewise.errors import BundlewiseError

LENGTH = 32
SUFFIX = ".key"


class Seal:
    """Signs texts with a secret of this server."""

    def __init__(self, secret: bytes | None = None) -> None:
        self._secret = secret or secrets.token_bytes(LENGTH)

    @classmethod
    def beside(cls, threads: Path | str | None) -> "Seal":
        """Return the seal stored beside a file of threads, created if missing; without a file, a seal in memory.

        Raises:
            BundlewiseError: the file of the seal cannot be used.
        """
        if threads is None or "://" in str(threads):
            return cls()
        path = Path(f"{threads}{SUFFIX}")
        try:
            if not path.exists():
                _write(path)
            return cls(_read(path))
        except OSError as error:
            why = error.strerror or str(error)
            raise BundlewiseError(f"cannot keep the seal of owners in {path}: {why}; check path and rights") from error

    def sign(self, text: str) -> str:
        """Return a text with its signature."""
        return f"{text}.{self._signature(text)}"

    def opened(self, signed: str) -> str | None:
        """Return the text that a signed one holds, or None where this server has not signed it."""
        text, _, signature = signed.rpartition(".")
        # The comparison is of bytes, since a header may hold characters that a signature cannot have.
        is_ours = hmac.compare_digest(signature.encode("utf-8", "replace"), self._signature(text).encode())
        return text if is_ours else None

    def _signature(self, text: str) -> str:
        digest = hmac.digest(self._secret, text.encode("utf-8", "replace"), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _write(path: Path) -> None:
    """Create a secret; if two servers do so at once, the first secret stays."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(secrets.token_bytes(LENGTH))
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink()


def _read(path: Path) -> bytes:
    """Return the secret from a file that only its owner may read."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as stream:
        known = os.fstat(stream.fileno())
        found = stream.read(LENGTH + 1) if stat.S_ISREG(known.st_mode) else b""
        if len(found) != LENGTH:
            remedy = "remove it: a new one is made, and visitors without a key lose their threads"
            raise BundlewiseError(f"{path} is no seal of a server, which has {LENGTH} bytes; {remedy}")
        if known.st_mode & 0o077:
            os.fchmod(stream.fileno(), 0o600)
    return found
