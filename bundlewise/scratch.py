"""Temporary files and folders beside their targets: they follow the umask, and are removed after a kill."""

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from bundlewise.signals import signals_wait

try:
    import fcntl
except ImportError:  # Windows refuses to remove an open file, so that a file in use is safe without a lock.
    fcntl = None  # type: ignore[assignment]

ENDING = ".bundlewise.tmp"
_SWEPT: set[Path] = set()


def follow_umask(folder: Path) -> None:
    """Give a folder and all in it the rights that the umask allows: safetensors makes files for one user only."""
    # The umask can be read only by setting it; a strict value is safe for files that are made at this moment.
    mask = os.umask(0o077)
    os.umask(mask)
    for path in (folder, *folder.rglob("*")):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


@contextmanager
def scratch_file(target: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Make a hidden file beside a target, to be renamed to it; otherwise the file is removed after the block."""
    _sweep(target.parent)
    with ExitStack() as cleaning:
        with signals_wait():
            path, number = _held_file(target)
            cleaning.push(lambda *_: _leave_file(path))
            stream = cleaning.enter_context(os.fdopen(number, "w+b"))
        yield path, stream


@contextmanager
def scratch_folder(target: Path) -> Iterator[Path]:
    """Make a hidden folder beside a target to prepare the target in; the folder is removed after the block."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target.parent)
    with ExitStack() as cleaning:
        with signals_wait():
            path, number = _held_folder(target)
            cleaning.push(lambda *_: _leave_folder(path, number))
        yield path


def _leave_file(path: Path) -> None:
    with signals_wait():
        path.unlink(missing_ok=True)


def _leave_folder(path: Path, number: int | None) -> None:
    """Remove a folder completely; signals that arrive meanwhile wait."""
    with signals_wait():
        shutil.rmtree(path, ignore_errors=True)
        if number is not None:
            os.close(number)


def _name(target: Path) -> Path:
    return target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}{ENDING}")


def _held_file(target: Path) -> tuple[Path, int]:
    while True:
        path = _name(target)
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        if _hold(number) and _is_there(path, number):
            return path, number
        # Another process is removing this file as a leftover of a killed process.
        os.close(number)


def _held_folder(target: Path) -> tuple[Path, int | None]:
    while True:
        path = _name(target)
        path.mkdir(0o700)
        if fcntl is None:
            return path, None
        number = os.open(path, os.O_RDONLY)
        if _hold(number) and _is_there(path, number):
            return path, number
        os.close(number)


def _hold(number: int) -> bool:
    """Lock an open file or folder while this process lives; return False if another process holds it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # This file system has no locks, so that leftovers stay.
        return True
    return True


def _is_there(path: Path, number: int) -> bool:
    """Say whether a path still leads to this open file or folder."""
    try:
        return os.path.samestat(path.stat(), os.fstat(number))
    except FileNotFoundError:
        return False


def _sweep(folder: Path) -> None:
    """Remove the leftovers of killed processes from a folder, once per process; locked files stay."""
    where = folder.resolve()
    if where in _SWEPT:
        return
    _SWEPT.add(where)
    with suppress(OSError):
        for name in os.listdir(where):
            if name.startswith(".") and name.endswith(ENDING):
                with suppress(OSError):
                    _remove_if_free(where / name)


def _remove_if_free(path: Path) -> None:
    if fcntl is None:
        path.unlink()
        return
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if stat.S_ISDIR(os.fstat(number).st_mode):
            shutil.rmtree(path)
        else:
            path.unlink()
    finally:
        os.close(number)
