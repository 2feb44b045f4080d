"""Write files in one step, read JSON lines, and compute fingerprints of content."""

import hashlib
import io
import json
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from bundlewise.errors import BundlewiseError, DataError, UsageError
from bundlewise.inputs import BOM, is_input, local, text_of
from bundlewise.locks import HeldError, held
from bundlewise.scratch import scratch_file
from bundlewise.strictly import KEEP_ONE, RepeatedKey, once

LINKS = 40
STANDARD = ("in", "out", "err")
DESCRIPTOR = re.compile(r"/dev/std(?P<name>in|out|err)|/(?:dev|proc/(?P<process>[a-z0-9-]+))/fd/(?P<number>\d{1,9})")


@contextmanager
def atomic_writer(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file that replaces the file of this name only when the block ends without an error.

    An existing file keeps its mode, a new file follows the umask. A link stays, and its target is replaced.
    A device, a FIFO or /dev/stdout receives the whole content at the end.

    Raises:
        UsageError: the path is a folder, a socket or a block device.
        BundlewiseError: the folder cannot be written or the disk is full; the temporary file is removed.
    """
    try:
        if is_special(path):
            content = io.BytesIO()
            yield content
            _pour(content.getvalue(), followed(path))
            return
        target = followed(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with scratch_file(target) as (temporary, stream):
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            if target.exists():
                temporary.chmod(stat.S_IMODE(target.stat().st_mode) & 0o777)
            temporary.replace(target)
    except OSError as error:
        raise BundlewiseError(f"cannot write {path}: {error.strerror}; free space or choose another path") from error


def is_special(path: Path) -> bool:
    """Say whether a path is a character device, a FIFO or a descriptor such as /dev/stdout.

    Raises:
        UsageError: the path is a folder, a socket or a block device, which cannot be written.
    """
    target = followed(path)
    if _descriptor(target) is not None:
        return True
    try:
        mode = target.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    for is_a, name in ((stat.S_ISDIR, "folder"), (stat.S_ISSOCK, "socket"), (stat.S_ISBLK, "block device")):
        if is_a(mode):
            raise UsageError(f"cannot write to {path}: it is a {name}; give the path of a file")
    return not stat.S_ISREG(mode)


def followed(path: Path) -> Path:
    """Return the target of a chain of links; a descriptor of this process is returned as it is.

    Raises:
        UsageError: the links lead in a circle.
    """
    target = path
    for _ in range(LINKS):
        if _descriptor(target) is not None or not target.is_symlink():
            return target
        target = target.parent / os.readlink(target)
    raise UsageError(f"cannot write to {path}: its links lead in a circle; give the path of a file")


def _descriptor(path: Path) -> int | None:
    """Return the number of the descriptor that a path such as /dev/stdout or /dev/fd/3 names."""
    found = DESCRIPTOR.fullmatch(str(path))
    if found is None or found["process"] not in (None, "self", "thread-self", str(os.getpid())):
        return None
    return STANDARD.index(found["name"]) if found["name"] else int(found["number"])


def _pour(content: bytes, target: Path) -> None:
    number = _descriptor(target)
    if number is not None:
        # Text that was printed earlier must come first.
        sys.stdout.flush()
        sys.stderr.flush()
    with open(target if number is None else os.dup(number), "wb") as stream:
        stream.write(content)


@contextmanager
def only_process(
    folder: Path, *, wait: bool = False, remedy: str = "wait for it or give another name"
) -> Iterator[None]:
    """Lock a folder against other processes while the block runs.

    Args:
        folder: the folder or file to write; the lock file lies beside it while the block runs.
        wait: whether to wait for another process that holds the lock; otherwise an error is raised.
        remedy: the remedy in the error message.

    Raises:
        BundlewiseError: another process holds the lock, or the lock file cannot be written.
    """
    with ExitStack() as holding:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            holding.enter_context(held(folder.with_name(f".{folder.name}.lock"), wait=wait))
        except HeldError as error:
            raise BundlewiseError(f"another process is writing {folder}; {remedy}") from error
        except OSError as error:
            raise BundlewiseError(f"cannot write {folder}: {error.strerror}; choose another path") from error
        yield


def cost_path(output: Path) -> Path:
    """Return the path of the file beside predictions that holds their cost and the fingerprints of their prompts."""
    return output.with_name(f"{output.stem}.cost.json")


def partial_path(output: Path) -> Path:
    """Return the path of the hidden file beside predictions that collects the finished batches."""
    return output.with_name(f".{output.name}.partial")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a binary file in one step."""
    with atomic_writer(path) as stream:
        stream.write(content)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file in one step."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file in one step with sorted keys, so that equal values give equal bytes."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def made_once(path: Path, make: Callable[[], Any]) -> Any:
    """Return the value of a JSON file; if it is missing, one process makes it while the others wait."""
    if not path.is_file():
        with only_process(path, wait=True):
            # Another process may have made it while this one waited.
            if not path.is_file():
                write_json(path, make())
    return json.loads(path.read_text("utf-8"))


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write JSON lines in one step."""
    with atomic_writer(path) as stream:
        for row in rows:
            stream.write((json.dumps(row, ensure_ascii=False) + "\n").encode())


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of an input's content as 64 hex digits."""
    with local(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fingerprint(value: Any) -> str:
    """Return 12 hex digits that change whenever the JSON-like value changes."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines as objects; blank lines and a byte order mark are allowed.

    Raises:
        UsageError: there is no such file.
        DataError: the file is not Unicode, or a line is not a JSON object; the message names file and line.
    """
    return [row for _, row in numbered_rows(path)]


def numbered_rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Read JSON lines as objects, each with its line number; errors are those of `read_rows`."""
    if not is_input(path):
        raise UsageError(f"no file {path}; check the path")
    lines = enumerate(text_of(path).split("\n"), 1)
    return [(number, row_object(line, f"{path}:{number}")) for number, line in lines if line.strip()]


def row_object(row: str, where: str) -> dict[str, Any]:
    """Return the JSON object in a row.

    Raises:
        DataError: the row is not a JSON object, or a key occurs twice; the message begins with `where`.
    """
    try:
        value = json.loads(row.lstrip(BOM), object_pairs_hook=once)
    except RepeatedKey as error:
        raise DataError(f"{where}: {error}; {KEEP_ONE}") from error
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", error)
        raise DataError(f"{where}: not JSON ({reason}); write one object per line") from error
    if not isinstance(value, dict):
        raise DataError(f"{where}: {type(value).__name__} instead of an object; write one object per line")
    return value
