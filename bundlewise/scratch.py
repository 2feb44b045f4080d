"""Temporary files and folders beside what they become: made by the umask, and swept up after a kill."""

import atexit
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
except ImportError:  # Windows: an open file cannot be removed there, so none that is in use is swept up.
    fcntl = None  # type: ignore[assignment]

ENDING = ".bundlewise.tmp"
_SWEPT: set[Path] = set()
_MADE: dict[Path, int] = {}
"""What this process has made and not yet removed, with the process's number: a fork removes nothing of its parent's."""


def follow_umask(folder: Path) -> None:
    """Give a folder and all in it the rights that the umask leaves: safetensors makes files for one user only."""
    # There is no other way to ask for it; meanwhile files are made too private rather than too public.
    mask = os.umask(0o077)
    os.umask(mask)
    for path in (folder, *folder.rglob("*")):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


@contextmanager
def scratch_file(target: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Make a hidden file beside a target, to be renamed to it; whatever happens, it is not left behind."""
    _sweep(target.parent)
    with ExitStack() as cleaning:
        with signals_wait():
            path, number = _held_file(target)
            cleaning.push(lambda *_: _leave_file(path))
            stream = cleaning.enter_context(os.fdopen(number, "w+b"))
        yield path, stream


@contextmanager
def scratch_folder(target: Path) -> Iterator[Path]:
    """Make a hidden folder beside a target, where it is prepared; whatever happens, it is not left behind."""
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
        _MADE.pop(path, None)


def _leave_folder(path: Path, number: int | None) -> None:
    """Remove a folder to its end: signals that come meanwhile, as from an impatient user, wait."""
    with signals_wait():
        shutil.rmtree(path, ignore_errors=True)
        _MADE.pop(path, None)
        if number is not None:
            os.close(number)


@atexit.register
def _leave_rest() -> None:
    """Remove what is left where a second signal came before the cleaning of the first had begun."""
    with signals_wait():
        for path, process in list(_MADE.items()):
            if process == os.getpid():
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _name(target: Path) -> Path:
    path = target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}{ENDING}")
    _MADE[path] = os.getpid()
    return path


def _held_file(target: Path) -> tuple[Path, int]:
    while True:
        path = _name(target)
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        if _hold(number) and is_there(path, number):
            return path, number
        # Another process took it for one that a kill left.
        os.close(number)


def _held_folder(target: Path) -> tuple[Path, int | None]:
    while True:
        path = _name(target)
        path.mkdir(0o700)
        if fcntl is None:
            return path, None
        number = os.open(path, os.O_RDONLY)
        if _hold(number) and is_there(path, number):
            return path, number
        os.close(number)


def _hold(number: int) -> bool:
    """Lock an open file or folder for as long as this process lives; say whether it could be."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # This file system has no locks: nothing is swept up on it.
        return True
    return True


def is_there(path: Path, number: int) -> bool:
    """Say whether an open file or folder is still the one of that name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(number))
    except FileNotFoundError:
        return False


def _sweep(folder: Path) -> None:
    """Remove once what killed processes left in a folder; what a living process holds stays."""
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
