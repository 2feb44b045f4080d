"""The place of a knowledge base: a folder that contains Chroma, or the address of a Chroma server."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from bundlewise.errors import KnowledgeError, UsageError
from bundlewise.files import fingerprint
from bundlewise.settings import cache_folder

EMBEDDED = "kb"
SERVED = "bundlewise"
PORT = 8000
SCANT = 10_000_000
"""A disk with fewer free bytes counts as full."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


class Busy(KnowledgeError):
    """Another process holds the write lock."""


class Place:
    """A folder, or `http://HOST:PORT`, with `/NAME` if a server has several knowledge bases."""

    def __init__(self, place: "Path | str | Place") -> None:
        self.text = str(place)
        self.is_server = self.text.startswith(("http://", "https://"))

    def __str__(self) -> str:
        return self.text

    @property
    def folder(self) -> Path:
        """The folder of the database: the folder itself, or for a server a folder in this machine's cache."""
        return cache_folder() / "kb" / fingerprint(self.text) if self.is_server else Path(self.text)

    @property
    def name(self) -> str:
        """The prefix of this knowledge base's collections in Chroma."""
        if not self.is_server:
            return EMBEDDED
        return urlsplit(self.text).path.strip("/") or SERVED

    def generation_folder(self, generation: int) -> Path:
        """Return the folder of a generation of vectors, and of the files that belong to it."""
        return self.folder / f"index-{generation}"

    def client(self, generation: int) -> Any:
        """Return the Chroma client that holds a generation of the vectors.

        Raises:
            UsageError: the address is invalid.
            KnowledgeError: the files are damaged, or no server answers.
        """
        import chromadb
        from chromadb.api.client import SharedSystemClient
        from chromadb.config import Settings

        if self.is_server:
            host, port, secure = self._address()
            with self.plainly("reach", f"start one: chroma run --port {port}"):
                return _served(host, port, secure)
        # Chroma caches clients by path, even failed ones, but another process may have changed the files.
        SharedSystemClient.clear_system_cache()
        folder = self.generation_folder(generation)
        with self.plainly("open"):
            folder.mkdir(parents=True, exist_ok=True)
            return chromadb.PersistentClient(str(folder), Settings(anonymized_telemetry=False))

    def _address(self) -> tuple[str, int, bool]:
        try:
            parts = urlsplit(self.text)
            if parts.hostname and NAME.fullmatch(self.name) and not parts.query + parts.fragment:
                return parts.hostname, parts.port or PORT, parts.scheme == "https"
        except ValueError:
            pass
        raise UsageError(
            f"{self.text} is not a server address; give http://HOST:PORT or http://HOST:PORT/NAME (a-z, 0-9, -, _)"
        )

    @contextmanager
    def plainly(self, doing: str, remedy: str = "") -> Iterator[None]:
        """Turn errors of Chroma into an error that names the place and the remedy."""
        import httpx
        from chromadb.errors import ChromaError

        try:
            yield
        except (ChromaError, httpx.HTTPError, OSError, ValueError) as error:
            remedy = remedy or self._remedy(str(error))
            raise KnowledgeError(f"cannot {doing} the vectors of {self}: {error}; {remedy}") from error

    @property
    def _is_full(self) -> bool:
        """Say whether the disk is full, because Chroma does not always name this reason of a failed write."""
        return self.folder.is_dir() and shutil.disk_usage(self.folder).free < SCANT

    def _remedy(self, text: str) -> str:
        if "readonly" in text or "read-only" in text.lower():
            return "copy the knowledge base to a folder you can write to"
        if "is full" in text or "No space" in text or self._is_full:
            return "free space and run again; nothing is lost"
        if self.is_server:
            return "see whether the server runs, and its log"
        return f"rebuild them from the records: bundlewise kb reindex {self}"


@cache
def _served(host: str, port: int, secure: bool) -> Any:
    """Return the client of a server; there is one per process, because Chroma never closes a client's connections."""
    import chromadb
    from chromadb.config import Settings

    return chromadb.HttpClient(host, port, ssl=secure, settings=Settings(anonymized_telemetry=False))


@contextmanager
def pen(place: Place, patience: float) -> Iterator[None]:
    """Hold the write lock of a place on this machine; wait for it at most `patience` seconds.

    Raises:
        Busy: another process holds the lock.
        KnowledgeError: the folder cannot be written to.
    """
    lock = FileLock(place.folder / ".writer.lock", timeout=patience)
    try:
        lock.acquire()
    except Timeout as error:
        raise Busy(f"another process writes to {place}; wait for it and run again") from error
    except OSError as error:
        remedy = "make the folder writable, or copy the knowledge base to one that is"
        raise KnowledgeError(f"cannot write to {place}: {error.strerror}; {remedy}") from error
    try:
        yield
    finally:
        lock.release()
