"""Calls of a ledger as JSON lines: exported, taken in elsewhere, and rescued where the ledger cannot be written."""

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
"""Fields that older exports lack, with what stands for them."""
NAMES = (*TEXTS, *NUMBERS, *LATER)
PLACES = ", ".join("?" * len(NAMES))
RESCUED = ".rescued.jsonl"
VERDICTS = ("good", "empty", "refused", "tools", "unreadable", "faulty")
LARGEST = 2**40
"""Below this all numbers of a call lie; what is above cannot be summed up."""


def row_of(row: dict[str, Any], where: str) -> tuple[Any, ...]:
    """Return an exported call as a row of the ledger.

    Raises:
        DataError: it is no exported call; the message begins with `where` it stands.
    """
    if not {*TEXTS, *NUMBERS} <= set(row) <= set(NAMES):
        raise DataError(f"{where}: no exported call; give a file that `bundlewise ledger export` wrote")
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
    """Say whether values of a ledger are what can be exported and taken in."""
    return all(map(_fits, names, row))


def sound(names: Collection[str] = NAMES) -> str:
    """Return the condition in SQL that columns hold what can be exported and taken in."""
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
    """Return a text without halves of characters, which JSON can say and no file can hold."""
    return text.encode(errors="replace").decode()


def rescued(ledger: Path, row: tuple[Any, ...]) -> str:
    """Write a row that the ledger cannot take to a file of JSON lines; return where it is, for the user.

    The file lies beside the ledger, else in the working folder, else among temporary files.
    """
    place = _rescue(ledger, row)
    if place is None:
        return "the answer that arrived is in the line above; put that into a file for `bundlewise ledger import`"
    names = f"{shlex.quote(str(place))} --ledger {shlex.quote(str(ledger))}"
    return f"the answer that arrived is in {place}; take it in with `bundlewise ledger import {names}`"


def _rescue(ledger: Path, row: tuple[Any, ...]) -> Path | None:
    """Write the row; return the file, or None where it was printed."""
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
    """Return the nearest number that can be taken in."""
    return min(max(number, 0), LARGEST - 1) if number == number else 0


def _places(ledger: Path) -> Iterator[Path]:
    name = f"{ledger.name}{RESCUED}"
    yield ledger.with_name(name)
    yield Path(name)
    yield Path(tempfile.gettempdir(), f"{os.getpid()}-{name}")


def _append(path: Path, line: bytes) -> None:
    """Add a whole line to a file, or nothing; other processes may add theirs."""
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
