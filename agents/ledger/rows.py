"""The calls of a ledger as JSON lines: exported, imported, and rescued when the ledger cannot be written."""

import fcntl
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from bundlewise.errors import DataError

TEXTS = ("key", "stage", "subject", "template", "model", "text", "finish")
NUMBERS = ("tokens_in", "tokens_out", "seconds")
LATER = {"verdict": "good", "time": 0.0}
"""The fields that older exports lack, with their default values."""
NAMES = (*TEXTS, *NUMBERS, *LATER)
PLACES = ", ".join("?" * len(NAMES))
RESCUED = ".rescued.jsonl"
VERDICTS = ("good", "empty", "refused", "tools", "unreadable", "faulty")
LARGEST = 2**40
"""The bound of all numbers of a call, so that their sums fit an integer of SQLite."""


def row_of(row: dict[str, Any], where: str) -> tuple[Any, ...]:
    """Return an exported call as a row of the ledger.

    Raises:
        DataError: the row is not an exported call; the message begins with the place `where`.
    """
    if not {*TEXTS, *NUMBERS} <= set(row) <= set(NAMES):
        raise DataError(f"{where}: this is not an exported call; give a file that `bundlewise ledger export` wrote")
    whole = LATER | row
    for name, value in whole.items():
        if not _fits(name, value):
            raise DataError(f"{where}: {name} must not be {json.dumps(value)[:80]}; export the ledger again")
    return tuple(whole[name] for name in NAMES)


def _fits(name: str, value: Any) -> bool:
    if name == "verdict":
        return value in VERDICTS
    if name in TEXTS:
        return isinstance(value, str) and value == whole_text(value)
    kinds = (int, float) if name in ("seconds", "time") else (int,)
    return type(value) in kinds and 0 <= value < LARGEST


def is_sound(row: Sequence[Any], names: Sequence[str] = NAMES) -> bool:
    """Say whether the values of a row can be exported and imported."""
    return all(map(_fits, names, row))


def sound(names: Collection[str] = NAMES) -> str:
    """Return the SQL condition that the columns have values that can be exported and imported."""
    texts = [f"typeof({name}) = 'text'" for name in names if name in TEXTS or name == "verdict"]
    verdicts = [f"verdict IN {VERDICTS}" for name in names if name == "verdict"]
    numbers = [
        f"typeof({name}) IN ({_STORED.get(name, repr('integer'))}) AND {name} >= 0 AND {name} < {LARGEST}"
        for name in names
        if name in (*NUMBERS, "time")
    ]
    return f"({' AND '.join([*texts, *verdicts, *numbers])})"


_STORED = dict.fromkeys(("seconds", "time"), "'real', 'integer'")


def whole_text(text: str) -> str:
    """Return a text without lone surrogates, which JSON can express but UTF-8 cannot."""
    return text.encode(errors="replace").decode()


def rescued(ledger: Path, row: tuple[Any, ...]) -> str:
    """Write a row that the ledger cannot store to a file of JSON lines; return a message with its place.

    The file is beside the ledger, or else in the working folder, or else in the folder for temporary files.
    """
    place = _rescue(ledger, row)
    if place is None:
        return "the answer that arrived is in the line above; put this line into a file for `bundlewise ledger import`"
    names = f"{shlex.quote(str(place))} --ledger {shlex.quote(str(ledger))}"
    return f"the answer that arrived is in {place}; import it with `bundlewise ledger import {names}`"


def _rescue(ledger: Path, row: tuple[Any, ...]) -> Path | None:
    """Write the row to a file and return the file; print the row and return None if no file can be written."""
    numbers = {name: _near(value) for name, value in zip(NAMES, row, strict=True) if name in (*NUMBERS, "time")}
    line = (json.dumps(dict(zip(NAMES, row, strict=True)) | numbers, ensure_ascii=False) + "\n").encode()
    for path in _places(ledger):
        try:
            _append(path, line)
        except OSError:
            continue
        return path
    sys.stderr.write(line.decode())
    return None


def _near(number: float) -> float:
    """Return the nearest number that can be imported."""
    return min(max(number, 0), LARGEST - 1) if number == number else 0


def _places(ledger: Path) -> Iterator[Path]:
    name = f"{ledger.name}{RESCUED}"
    yield ledger.with_name(name)
    yield Path(name)
    yield Path(tempfile.gettempdir(), f"{os.getpid()}-{name}")


def _append(path: Path, line: bytes) -> None:
    """Add a whole line to a file, or nothing; other processes may add lines at the same time."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        size = os.fstat(handle).st_size
        try:
            if os.write(handle, line) < len(line):
                raise OSError("no space for the whole line")
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, size)
            raise
    finally:
        os.close(handle)
