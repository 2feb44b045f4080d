"""Locks by files: one process holds a lock at a time, and the lock is free again when the process ends or is killed."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock

NO_LOCKS = {getattr(errno, name) for name in ("ENOSYS", "EOPNOTSUPP", "ENOLCK") if hasattr(errno, name)}


class HeldError(Exception):
    """Another process holds the lock."""


@contextmanager
def held(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold a lock file while the block runs, and remove it at the end.

    Raises:
        HeldError: another process holds the lock, and `wait` is false.
        OSError: the file cannot be created.
    """
    from filelock import Timeout

    try:
        lock = _acquired(path, -1 if wait else 0)
    except Timeout as error:
        raise HeldError from error
    try:
        yield
    finally:
        # The file is removed while it is locked: a process that opened it before notices this, and opens the new file.
        path.unlink(missing_ok=True)
        lock.release()


def _acquired(path: Path, timeout: float) -> "BaseFileLock":
    """Return the lock; on a file system without locks, the existence of a second file is the lock."""
    from filelock import FileLock, SoftFileLock

    lock: BaseFileLock = FileLock(path, timeout=timeout, fallback_to_soft=False)
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        lock = SoftFileLock(path.with_name(f"{path.name}.soft"), timeout=timeout)
        lock.acquire()
    return lock
