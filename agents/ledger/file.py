"""The SQLite file under a ledger of calls: opened to write or to read alone, its faults told with their remedies."""

import errno
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock

from bundlewise.agents.ledger.schema import (
    OTHER,
    bring_up_to_date,
    check,
    open_for_many,
    refuse_damaged,
    refuse_foreign,
    refuse_foreign_tables,
    salvage_of,
    show_as_new,
    try_to_write,
)
from bundlewise.errors import KnowledgeError

BUSY = 60.0
ROOM = 2**22
"""Bytes that must be free before anything is paid, for the answers on their way."""
FAMILY = ("", "-wal", "-shm", "-journal")
"""Endings of the names of the files of one ledger."""
RIGHT = f"give yourself the right to that, or {OTHER}"


class LedgerFile:
    """An open file, for the threads of this process; other processes may have it open too."""

    def __init__(self, path: Path, *, writable: bool = True) -> None:
        """Open the file: made and brought up to date where it is writable, unchanged for reading alone.

        Raises:
            KnowledgeError: it cannot be used; the message says what to do about it.
        """
        self.path, self.writable = path, writable
        self.lock = Lock()
        self._copies = ExitStack()
        with self.guarded():
            self.real = Path(os.path.realpath(path))
            _refuse_unusable(path, self.real, writable)
            self.base = self._open_for_writing() if writable else self._open_for_reading()
            self._place = _place_of(self.real)

    @property
    def is_there(self) -> bool:
        """Say whether the file is still where it was opened: SQLite writes on into one that was deleted."""
        return _place_of(self.real) == self._place

    def close(self) -> None:
        """Close the file."""
        with self.lock:
            self.base.close()
            self._copies.close()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Make the changes of the block whole or not at all, whatever ends it."""
        with self.guarded():
            try:
                self.base.execute("BEGIN IMMEDIATE")
                yield
                self.base.execute("COMMIT")
            except BaseException:
                if self.base.in_transaction:
                    self.base.execute("ROLLBACK")
                raise

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Let one thread at a time at the file, and say what to do about its faults."""
        with self.lock:
            try:
                yield
            except (sqlite3.Error, OSError) as error:
                told = f"cannot use the ledger of calls {self.path}: {error}; {remedy_of(error, self.path)}"
                raise KnowledgeError(told) from error

    def _open_for_writing(self) -> sqlite3.Connection:
        self.real.parent.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(self.real.parent).free) < ROOM:
            told = f"only {free:,} bytes are free for the ledger of calls {self.path}"
            raise KnowledgeError(f"{told}; free space, or {OTHER}")
        with self._connected(str(self.real)) as base:
            check(base, self.path)
            refuse_foreign(base, self.path)
            open_for_many(base, BUSY)
            # Safe against kill -9; `keep` makes answers safe against a power cut, outside of the lock.
            base.execute("PRAGMA synchronous=NORMAL")
            # What is replaced is noted among what was forgotten.
            base.execute("PRAGMA recursive_triggers=ON")
            bring_up_to_date(base)
            refuse_foreign_tables(base, self.path)
            refuse_damaged(base, self.path)
            try_to_write(base, self.path)
        return base

    def _open_for_reading(self) -> sqlite3.Connection:
        """Open the file as it is; one that is missing or has no tables is an empty ledger."""
        with self._connected(self._address()) as base:
            check(base, self.path)
            show_as_new(base)
            base.execute("PRAGMA query_only=ON")
        return base

    @contextmanager
    def _connected(self, address: str) -> Iterator[sqlite3.Connection]:
        base = sqlite3.connect(address, BUSY, isolation_level=None, check_same_thread=False, uri=not self.writable)
        base.text_factory = _text
        try:
            yield base
        except BaseException:
            base.close()
            self._copies.close()
            raise

    def _address(self) -> str:
        """Return the address by which SQLite reads the file, whatever may be written there.

        SQLite keeps its log of changes beside the file, even to read. Where it may not, a file without a log is read
        as one that does not change, and one with a log from a copy.
        """
        log = self.real.with_name(f"{self.real.name}-wal")
        if not self.real.exists() or not (self.real.stat().st_size or _size(log)):
            return ":memory:"
        family = [self.real.with_name(self.real.name + end) for end in FAMILY]
        if all(os.access(path, os.W_OK) for path in (self.real.parent, *family) if path.exists()):
            return f"{self.real.as_uri()}?mode=rw"
        if not _size(log):
            return f"{self.real.as_uri()}?immutable=1"
        folder = self._copies.enter_context(tempfile.TemporaryDirectory())
        for path in (self.real, log):
            shutil.copyfile(path, Path(folder, path.name))
        return f"{Path(folder, self.real.name).as_uri()}?mode=rw"


def remedy_of(error: sqlite3.Error | OSError, path: Path) -> str:
    """Return what to do about a fault of the file."""
    code = getattr(error, "sqlite_errorcode", 0)
    if isinstance(error, OSError):
        code = _CODES.get(error.errno or 0, sqlite3.SQLITE_CANTOPEN)
    if code in (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_TRUNCATE):
        code = sqlite3.SQLITE_FULL
    remedy = _REMEDIES.get(code & 0xFF, f"{OTHER}, or run again with --debug to see where")
    return remedy.format(salvage=salvage_of(path))


_CODES = {
    errno.ENOSPC: sqlite3.SQLITE_FULL,
    errno.EDQUOT: sqlite3.SQLITE_FULL,
    errno.EFBIG: sqlite3.SQLITE_FULL,
    errno.EACCES: sqlite3.SQLITE_READONLY,
    errno.EPERM: sqlite3.SQLITE_READONLY,
    errno.EROFS: sqlite3.SQLITE_READONLY,
    errno.EIO: sqlite3.SQLITE_IOERR,
}
_REMEDIES = {
    sqlite3.SQLITE_FULL: f"free space, or {OTHER}; what it holds is safe, the same command goes on",
    sqlite3.SQLITE_IOERR: f"check the disk, copy the file and its -wal to another one and name it there, or {OTHER}",
    sqlite3.SQLITE_BUSY: f"another program holds it: end that, then the same command goes on, or {OTHER}",
    sqlite3.SQLITE_LOCKED: f"another program holds it: end that, then the same command goes on, or {OTHER}",
    sqlite3.SQLITE_READONLY: f"make the file, its -wal, its -shm and its folder writable to you, or {OTHER}",
    sqlite3.SQLITE_CANTOPEN: f"check that its folder and the files beside it (-wal, -shm) can be written, or {OTHER}",
    sqlite3.SQLITE_CORRUPT: f"{{salvage}}, or {OTHER}",
    sqlite3.SQLITE_NOTADB: f"{OTHER}; if this was a ledger, {{salvage}}",
    sqlite3.SQLITE_NOMEM: "close other programs, then the same command goes on",
}


def _text(raw: bytes) -> str:
    """Return a text; one that is damaged holds halves of characters, as no text of a call does."""
    return raw.decode(errors="surrogateescape")


def _place_of(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _refuse_unusable(path: Path, real: Path, writable: bool) -> None:
    """Refuse what SQLite would wait for, misunderstand, or refuse without a word on the cause."""
    rights = os.R_OK | os.W_OK if writable else os.R_OK
    for end in FAMILY if writable else FAMILY[:2]:
        file = real.with_name(real.name + end)
        if not file.exists():
            continue
        if not file.is_file():
            kind = "a folder" if file.is_dir() else "a device, pipe or socket"
            raise KnowledgeError(f"cannot use the ledger of calls {path}: {file} is {kind}; move that away, or {OTHER}")
        if not os.access(file, rights):
            lacking = "written" if os.access(file, os.R_OK) else "read"
            raise KnowledgeError(f"cannot use the ledger of calls {path}: {file} cannot be {lacking} by you; {RIGHT}")
    folder = next(parent for parent in real.parents if parent.exists())
    if writable and folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
        raise KnowledgeError(f"cannot use the ledger of calls {path}: {folder} cannot be written by you; {RIGHT}")
    log = real.with_name(f"{real.name}-wal")
    if _size(log) and real.exists() and not _size(real):
        # SQLite takes the file for a new one, and deletes the log with all that it holds.
        told = f"the ledger of calls {path} is empty, but {log.name} beside it holds {_size(log):,} bytes of answers"
        raise KnowledgeError(f"{told}; {salvage_of(path)}, or move that away")
