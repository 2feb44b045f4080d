"""Inputs: files, gzipped files, pipes and standard input; each is read once."""

import atexit
import codecs
import contextlib
import gzip
import os
import shutil
import stat
import sys
import tempfile
import threading
import zlib
from functools import cache
from pathlib import Path
from typing import IO, Any

from bundlewise.errors import DataError

STDIN = "-"
BOM = "\ufeff"
GZIP = ".gz"
MAGIC = b"\x1f\x8b"
"""The first bytes of gzipped content."""
LARGEST = 4 * 2**30
"""The most bytes that a pipe or a gzipped file may hold, because their content is copied to the disk."""
PIECE = 2**20
_STDIN_NAMES = frozenset({STDIN, "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"})
_lock = threading.Lock()
_kept: dict[tuple[Any, ...], tuple[Path, Any]] = {}
"""The copy of each pipe and gzipped file, and the stream that was copied."""


def is_input(path: Path) -> bool:
    """Say whether a path can be read: a file, a pipe, or `-` for standard input."""
    if str(path) in _STDIN_NAMES:
        return True
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode) or _is_quiet_device(path)


def is_plain(path: Path) -> bool:
    """Say whether an input is a regular file, so that another file can be written beside it."""
    return str(path) not in _STDIN_NAMES and path.is_file()


def base_name(path: Path) -> str:
    """Return the name of an input in lower case and without `.gz`; it tells the format of the content."""
    return path.name.lower().removesuffix(GZIP)


def local(path: Path) -> Path:
    """Return a file with an input's content that can be opened repeatedly; a pipe is read once and copied.

    Gzipped content is unpacked. The copies are removed when the process ends.

    Raises:
        DataError: the content cannot be read, is damaged, or is larger than `LARGEST`.
    """
    is_stdin = str(path) in _STDIN_NAMES
    if not is_stdin and path.is_file() and path.suffix.lower() != GZIP:
        return path
    if not is_input(path):
        return path
    source = _standard_input() if is_stdin else None
    with _lock:
        key = ("stdin", id(source)) if source is not None else _key(path)
        if key not in _kept:
            # The stream is kept too, so that no other stream gets its id.
            _kept[key] = (_spooled(path, source), source)
        return _kept[key][0]


def _is_quiet_device(path: Path) -> bool:
    """Say whether a path is a device whose content ends: a terminal or the null device."""
    device = str(path.resolve())
    return device == os.devnull or device.startswith(("/dev/tty", "/dev/pts/"))


def _standard_input() -> IO[bytes]:
    stream = getattr(sys.stdin, "buffer", None)
    if stream is None:
        raise DataError("standard input is closed; give the name of a file")
    found: IO[bytes] = stream
    return found


def _key(path: Path) -> tuple[Any, ...]:
    found = path.stat()
    return (str(path), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns if path.is_file() else 0)


@cache
def _folder() -> Path:
    """Return a folder that is removed when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="bundlewise-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _spooled(path: Path, source: IO[bytes] | None) -> Path:
    """Copy an input to a temporary file, unpack it if it is gzipped, and return the path."""
    handle, name = tempfile.mkstemp(dir=_folder())
    copy = Path(name)
    try:
        with os.fdopen(handle, "wb") as target, contextlib.ExitStack() as opened:
            _copy(source or opened.enter_context(path.open("rb")), target, path)
        with copy.open("rb") as stream:
            is_packed = stream.read(len(MAGIC)) == MAGIC
        return _unpacked(copy, path) if is_packed else copy
    except OSError as error:
        remedy = f"check path and permissions, and the space in {_folder().parent}"
        raise DataError(f"cannot read {path}: {error.strerror or error}; {remedy}") from error


def _copy(source: IO[bytes] | gzip.GzipFile, target: IO[bytes], path: Path) -> None:
    size = 0
    while piece := source.read(PIECE):
        if (size := size + len(piece)) > LARGEST:
            raise DataError(f"{path}: more than {LARGEST:,} bytes; split it into several files")
        target.write(piece)


def _unpacked(packed: Path, path: Path) -> Path:
    """Replace a gzipped copy by its unpacked content."""
    plain = packed.with_name(f"{packed.name}.plain")
    try:
        with gzip.open(packed) as source, plain.open("wb") as target:
            _copy(source, target, path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged gzip ({error}); pack it again") from error
    shutil.move(plain, packed)
    return packed


def text_of(path: Path) -> str:
    """Return the text of an input in UTF-8 or UTF-16, without its byte order mark.

    Raises:
        DataError: the input cannot be read or is not Unicode; the message names the line.
    """
    try:
        raw = local(path).read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check path and permissions") from error
    encoding = "utf-16" if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return raw.decode(encoding).lstrip(BOM)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8 at byte {error.start}; save the file as UTF-8") from error
