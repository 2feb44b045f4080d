"""The SQLite file of a ledger of calls: opened for writing or for reading, with remedies in its error messages."""

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
"""The free bytes required before a paid call, for the answers to come."""
FAMILY = ("", "-wal", "-shm", "-journal")
"""The endings of the file names of one ledger."""
RIGHT = f"give yourself that permission, or {OTHER}"


class LedgerFile:
    """An open file that the threads of this process share; other processes may have it open too."""

    def __init__(self, path: Path, *, writable: bool = True) -> None:
        """Open the file; create it or update its format if `writable`, else leave it unchanged.

        Raises:
            KnowledgeError: the file cannot be used; the message gives the remedy.
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
        """Say whether the file is still at its path; SQLite goes on writing into a deleted file."""
        return _place_of(self.real) == self._place

    def close(self) -> None:
        """Close the file."""
        with self.lock:
            self.base.close()
            self._copies.close()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Make all changes of the block, or none if the block fails."""
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
        """Give one thread at a time access to the file, and turn faults into errors with a remedy."""
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
            # This setting is safe against kill -9; `keep` makes answers safe against a power cut, outside of the lock.
            base.execute("PRAGMA synchronous=NORMAL")
            # The trigger records replaced answers in `forgotten` only with this setting.
            base.execute("PRAGMA recursive_triggers=ON")
            bring_up_to_date(base)
            refuse_foreign_tables(base, self.path)
            refuse_damaged(base, self.path)
            try_to_write(base, self.path)
        return base

    def _open_for_reading(self) -> sqlite3.Connection:
        """Open the file without changes; a missing file or a file without tables is an empty ledger."""
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
        """Return the address by which SQLite reads the file, even from a folder without write permission.

        SQLite needs its log of changes beside the file, even for reading. Without write permission, a file without
        a log is read as immutable, and a file with a log is copied first.
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
    """Return the remedy for a fault of the file."""
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
    sqlite3.SQLITE_FULL: f"free space, or {OTHER}; its answers are safe, and the same command continues",
    sqlite3.SQLITE_IOERR: f"check the disk, copy the file and its -wal to another disk and use that copy, or {OTHER}",
    sqlite3.SQLITE_BUSY: f"another program uses it: end that program and run the same command again, or {OTHER}",
    sqlite3.SQLITE_LOCKED: f"another program uses it: end that program and run the same command again, or {OTHER}",
    sqlite3.SQLITE_READONLY: f"make the file, its -wal, its -shm and its folder writable to you, or {OTHER}",
    sqlite3.SQLITE_CANTOPEN: f"check that its folder and the files beside it (-wal, -shm) can be written, or {OTHER}",
    sqlite3.SQLITE_CORRUPT: f"{{salvage}}, or {OTHER}",
    sqlite3.SQLITE_NOTADB: f"{OTHER}; if this was a ledger, {{salvage}}",
    sqlite3.SQLITE_NOMEM: "close other programs and run the same command again",
}


def _text(raw: bytes) -> str:
    """Return a text; a damaged text contains surrogates, which no text of a call contains."""
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
    """Refuse files on which SQLite would hang, lose data, or fail without naming the cause."""
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
        # SQLite would treat the file as new and delete the log with its answers.
        told = f"the ledger of calls {path} is empty, but {log.name} beside it holds {_size(log):,} bytes of answers"
        raise KnowledgeError(f"{told}; {salvage_of(path)}, or move that away")
