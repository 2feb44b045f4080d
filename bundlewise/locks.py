"""Locks by files: one process holds a lock at a time, and the lock is free again when the process ends or is killed."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bundlewise.scratch import is_there

try:
    import fcntl
except ImportError:  # Windows has no fcntl.
    fcntl = None  # type: ignore[assignment]

NO_LOCKS = {getattr(errno, name) for name in ("ENOSYS", "EOPNOTSUPP", "ENOLCK") if hasattr(errno, name)}


class HeldError(Exception):
    """Another process holds the lock."""


@contextmanager
def held(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold a lock file while the block runs, and remove it at the end.

    The file is removed while it is locked. A process that opened it before gets the lock of a removed file; it
    notices this and opens the new file.

    Raises:
        HeldError: another process holds the lock, and `wait` is false.
        OSError: the file cannot be created.
    """
    try:
        number = None if fcntl is None else _opened(path, wait)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        number = None
    if number is None:
        with _by_name(path, wait):
            yield
        return
    try:
        yield
    finally:
        # The block may have removed the folder, and the lock file with it.
        path.unlink(missing_ok=True)
        os.close(number)


def _opened(path: Path, wait: bool) -> int:
    """Open and lock the file of this name; return its descriptor."""
    while True:
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(number, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if is_there(path, number):
                return number
        except BaseException as error:
            os.close(number)
            if isinstance(error, BlockingIOError):
                raise HeldError from error
            raise
        os.close(number)


@contextmanager
def _by_name(path: Path, wait: bool) -> Iterator[None]:
    """Hold a lock on file systems that cannot lock files: a second file is the lock while it exists."""
    from filelock import SoftFileLock, Timeout

    lock = SoftFileLock(path.with_name(f"{path.name}.soft"), timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout as error:
        raise HeldError from error
    try:
        yield
    finally:
        lock.release()
