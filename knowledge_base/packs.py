"""Packs: knowledge as portable JSON lines, with a manifest that lists the sessions it may come from.

The first line is the manifest, every other line is a record. Each record's line ends with its own `check`,
so that a damaged line can be found; the manifest's checksum covers all lines and the manifest.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError

from bundlewise.domain import Knowledge, KnownSession
from bundlewise.errors import DataError, UsageError
from bundlewise.files import atomic_writer
from bundlewise.inputs import is_input, local
from bundlewise.knowledge_base import manifest as manifests
from bundlewise.knowledge_base.checks import faults_of
from bundlewise.strictly import RepeatedKey, once
from bundlewise.text import line as one_line

LINE_LIMIT = 1_000_000
"""The most bytes of a record; a thought about a hundred products needs about ten thousand."""
TOO_LONG = f"longer than {LINE_LIMIT:,} bytes"
MANIFEST_LIMIT = 500_000_000
SHOWN = 5


@dataclass(frozen=True)
class Pack:
    """The content of a pack."""

    records: tuple[Knowledge, ...]
    sessions: tuple[KnownSession, ...]
    manifest: dict[str, Any]


@dataclass(frozen=True)
class PackFault:
    """A line that is refused: its number, the reason, and its beginning; line 1 stands for the whole pack."""

    line: int
    reason: str
    text: str = ""


def write_pack(
    path: Path,
    records: Sequence[Knowledge],
    sessions: Sequence[KnownSession],
    about: dict[str, Any] | None = None,
    before: Callable[[], None] = lambda: None,
) -> None:
    """Write records in the order of their ids, the sessions they may come from, and the caller's fields in `about`.

    `before` is called when the pack is written and has not yet replaced the old one; if it fails, the old pack stays.

    Raises:
        DataError: a record could not be read back, because its source is not a known training session for example.
    """
    manifest = manifests.describe(records, sessions, about or {})
    checksum = manifests.opening(manifest)
    door = _Door(manifests.sessions_of(path, manifest))
    with atomic_writer(path) as stream:
        stream.write(manifests.header(manifest, "0" * 64))
        for number, record in enumerate(sorted(records, key=lambda record: record.id), 2):
            reason = door.refuse(record, number)
            line = b"" if reason else _line(record)
            if reason or len(line) > LINE_LIMIT:
                raise DataError(
                    f"cannot write {path}: {record.kind} {record.id}: {reason or TOO_LONG}; retire or correct it"
                )
            checksum.update(line)
            stream.write(line)
        stream.seek(0)
        stream.write(manifests.header(manifest, checksum.hexdigest()))
        before()


def _line(record: Knowledge) -> bytes:
    row = record.model_dump(mode="json", exclude_defaults=True)
    return (json.dumps(row | {"check": _check(manifests.canonical(row))}, ensure_ascii=False) + "\n").encode()


def _check(canonical: str) -> str:
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


class _Door:
    """The check of records on their way into or out of a pack: each must fit the known sessions and occur once."""

    def __init__(self, sessions: dict[str, KnownSession]) -> None:
        self._sessions = sessions
        self._lines: dict[str, int] = {}

    def refuse(self, record: Knowledge, number: int) -> str:
        """Return why a record is refused; empty if it is accepted."""
        reasons = faults_of(record, self._sessions)
        if record.id in self._lines:
            reasons.append(f"its id is already in line {self._lines[record.id]}")
        if not reasons:
            self._lines[record.id] = number
        return one_line("; ".join(reasons))[:300]


def read_pack(path: Path) -> Pack:
    """Read a pack without faults.

    Raises:
        UsageError: there is no such file.
        DataError: it is not a pack of this version, or lines have faults; the message names the first ones.
    """
    pack, faults = salvage(path)
    if faults:
        named = [f"{path}:{fault.line}: {fault.reason}" for fault in faults[:SHOWN]]
        more = len(faults) - SHOWN
        named += [f"and {more} more {'faults' if more > 1 else 'fault'}"] if more > 0 else []
        raise DataError(*named[:-1], f"{named[-1]}; {manifests.AGAIN}")
    return pack


def salvage(path: Path) -> tuple[Pack, list[PackFault]]:
    """Read the good records of a pack, and return the faults of the other lines.

    Raises:
        UsageError: there is no such file.
        DataError: the manifest cannot be read, or is of another version.
    """
    if not (path.exists() or is_input(path)):
        raise UsageError(f"no file {path}; check the path")
    try:
        with local(path).open("rb") as stream:
            first, number = manifests.first_line(stream, MANIFEST_LIMIT)
            manifest = manifests.parse(path, first)
            return _sift(stream, manifest, manifests.sessions_of(path, manifest), number)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check path and permissions") from error


def _sift(
    stream: BinaryIO, manifest: dict[str, Any], known: dict[str, KnownSession], first: int
) -> tuple[Pack, list[PackFault]]:
    """Separate the lines after the manifest into records and faults; a fault of the whole pack comes first."""
    checksum, door, count = manifests.opening(manifest), _Door(known), 0
    records: list[Knowledge] = []
    faults: list[PackFault] = []
    for number, line in enumerate(_lines(stream), first + 1):
        if not line.strip():
            continue
        count += 1
        checksum.update(line + b"\n")
        found = _parse(line)
        reason = found if isinstance(found, str) else door.refuse(found, number)
        if isinstance(found, Knowledge) and not reason:
            records.append(found)
        else:
            faults.append(PackFault(number, reason, one_line(line[:300].decode(errors="replace"))))
    if count != manifest["records"]:
        faults.insert(0, PackFault(1, f"{manifest['records']} records are announced and {count} are here"))
    elif not faults and checksum.hexdigest() != manifest["checksum"]:
        reason = "the checksum does not fit, though every record is whole: the manifest or the order was changed"
        faults.append(PackFault(1, reason))
    return Pack(tuple(records), tuple(known.values()), manifest), faults


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the lines without their ends; a line over the limit is cut one byte after the limit."""
    while line := stream.readline(LINE_LIMIT + 1):
        tail = line
        while tail and not tail.endswith(b"\n"):
            tail = stream.readline(LINE_LIMIT)
        yield line.rstrip(b"\r\n")


def _parse(line: bytes) -> Knowledge | str:
    """Return the record in a line, or the reason why it has none."""
    if len(line) > LINE_LIMIT:
        return TOO_LONG
    try:
        row = json.loads(line.decode(), object_pairs_hook=once)
        if not isinstance(row, dict):
            return f"not JSON of a record, but of type {type(row).__name__}"
        stated, canonical = row.pop("check", None), manifests.canonical(row)
        check, record = _check(canonical), Knowledge.model_validate_json(canonical, strict=True)
    except ValidationError as error:
        return f"not knowledge: {manifests.first_of(error)}"
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        return f"not UTF-8 ({error.reason})"
    except RepeatedKey as error:
        return one_line(str(error))
    except (ValueError, RecursionError) as error:
        return f"not JSON ({one_line(str(getattr(error, 'msg', error)))[:80]})"
    return record if stated == check else _changed(record)


def _changed(record: Knowledge) -> str:
    """Return the fault of a record that does not fit its check."""
    wanted = Knowledge.content_id(record.kind, record.domain, record.text, record.source_session_ids)
    what = "its check does not fit" if record.id == wanted else "its id is not that of its content"
    return f"changed since it was written: {what}"
