"""The rescue of calls from a damaged ledger: reads page by page, because SQLite stops at the first damaged page."""

import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundlewise.agents.ledger.rows import LATER, NAMES, TEXTS, row_of
from bundlewise.errors import DataError, KnowledgeError

HEAD = 100
USUAL = 4096
TABLE, INDEX, INNER_INDEX = 0x0D, 0x0A, 0x02
SIZES = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)
"""The bytes of a value by its kind in a record; kinds from 12 on are blobs and texts."""


@dataclass
class Salvaged:
    """The readable calls by their keys, and the numbers of the rows that are readable or at least listed."""

    rows: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    read: set[int] = field(default_factory=set)
    named: set[int] = field(default_factory=set)

    @property
    def lost(self) -> int:
        """The number of calls that are listed in the file but cannot be read."""
        return len(self.named - self.read)


def salvage(path: Path) -> Salvaged:
    """Return the calls that are still readable in a damaged ledger and its log of changes.

    Pages that SQLite has freed are skipped, if their list is readable. Log frames after a broken frame add calls
    that are found nowhere else. If calls are still lost, old frames, which SQLite would overwrite, are read as well.

    Raises:
        KnowledgeError: the texts are in UTF-16, which bundlewise does not write.
    """
    found, log = Salvaged(), _Log.of(path)
    with path.open("rb") as stream:
        head = os.pread(stream.fileno(), HEAD, 0)
        if head.startswith(b"SQLite format 3\0") and head[59] in (2, 3):
            told = f"the texts of {path} are in UTF-16, which cannot be read from a damaged file"
            raise KnowledgeError(f"{told}; try `bundlewise ledger export` without --what-is-readable")
        pages = _Pages(stream.fileno(), log.size, log.whole)
        _gather(pages, found, pages.freed())
        if log.rest:
            _gather(_Pages(stream.fileno(), log.size, {**log.whole, **log.rest}), found, set())
        if log.stale and found.lost:
            _gather(_Pages(stream.fileno(), log.size, {**log.stale, **log.whole, **log.rest}), found, set())
    return found


def _gather(pages: "_Pages", found: Salvaged, freed: set[int]) -> None:
    for number in range(1, pages.count + 1):
        if number in freed:
            continue
        for rowid, values in pages.records(number):
            if rowid is None:
                found.named |= {values[2]} if _is_of_the_index(values) else set()
            elif len(values) in (len(NAMES), len(NAMES) - len(LATER)):
                _take(found, rowid, values)


def _is_of_the_index(values: list[Any]) -> bool:
    return [type(value) for value in values] == [str, str, int]


def _take(found: Salvaged, rowid: int, values: list[Any]) -> None:
    """Add a row to the readable calls; SQLite stores whole seconds as integers."""
    row = dict(zip(NAMES, values, strict=False))
    if [type(row[name]) for name in TEXTS] != [str] * len(TEXTS):
        return
    row |= {name: float(row[name]) for name in ("seconds", "time") if isinstance(row.get(name), int)}
    found.named.add(rowid)
    try:
        call = row_of(row, "")
    except DataError:
        return
    found.read.add(rowid)
    before = found.rows.get(call[0])
    if before is None or before[-1] < call[-1]:
        found.rows[call[0]] = call


class _Pages:
    """The pages of a file, replaced by those of its log; an unreadable page is empty."""

    def __init__(self, file: int, size: int, over: Mapping[int, bytes]) -> None:
        self._file, self._over = file, over
        head = os.pread(file, HEAD, 0)
        given = int.from_bytes(head[16:18], "big")
        self.size = size or (65536 if given == 1 else given)
        if self.size not in {2**power for power in range(9, 17)}:
            self.size = USUAL
        self._usable = self.size - (head[20] if head.startswith(b"SQLite format 3\0") else 0)
        there = -(-os.fstat(file).st_size // self.size)
        self.count = max([there, *over])

    def page(self, number: int) -> bytes:
        if number in self._over:
            return self._over[number]
        try:
            return os.pread(self._file, self.size, (number - 1) * self.size).ljust(self.size, b"\0")
        except OSError:
            return bytes(self.size)

    def freed(self) -> set[int]:
        """Return the pages on the readable part of the list of free pages."""
        found: set[int] = set()
        trunk = int.from_bytes(self.page(1)[32:36], "big")
        while 0 < trunk <= self.count and trunk not in found:
            page = self.page(trunk)
            after, count = struct.unpack_from(">II", page)
            if count > self.size // 4 - 2:
                break
            found |= {trunk, *struct.unpack_from(f">{count}I", page, 8)}
            trunk = after
        return found

    def records(self, number: int) -> Iterator[tuple[int | None, list[Any]]]:
        """Yield the records of a table leaf with their row numbers, and the records of an index page with None."""
        page, start = self.page(number), HEAD if number == 1 else 0
        kind = page[start]
        if kind not in (TABLE, INDEX, INNER_INDEX):
            return
        head = start + (12 if kind == INNER_INDEX else 8)
        for place in range(head, head + 2 * int.from_bytes(page[start + 3 : start + 5], "big"), 2):
            at = int.from_bytes(page[place : place + 2], "big") + (4 if kind == INNER_INDEX else 0)
            try:
                size, at = _varint(page, at)
                rowid, at = _varint(page, at) if kind == TABLE else (None, at)
                values = _values(self._payload(page, at, size, is_table=kind == TABLE))
            except (IndexError, ValueError, struct.error):
                continue
            yield rowid, values

    def _payload(self, page: bytes, at: int, size: int, *, is_table: bool) -> bytes:
        """Return the bytes of a record; a long record continues in a chain of pages."""
        usable = self._usable
        most = usable - 35 if is_table else (usable - 12) * 64 // 255 - 23
        least = (usable - 12) * 32 // 255 - 23
        spread = least + (size - least) % (usable - 4)
        local = size if size <= most else spread if spread <= most else least
        found, after = bytearray(page[at : at + local]), int.from_bytes(page[at + local : at + local + 4], "big")
        if size > self.count * self.size:
            raise ValueError("longer than the file")
        while len(found) < size:
            if not 0 < after <= self.count:
                raise ValueError("the chain is broken")
            page = self.page(after)
            if not any(page):
                raise ValueError("the page was wiped")
            after = int.from_bytes(page[:4], "big")
            found += page[4 : min(usable, 4 + size - len(found))]
        return bytes(found)


@dataclass(frozen=True)
class _Log:
    """The log of changes beside a file: its page size, sound pages, pages after a broken one, and old pages."""

    size: int = 0
    whole: dict[int, bytes] = field(default_factory=dict)
    rest: dict[int, bytes] = field(default_factory=dict)
    stale: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path) -> "_Log":
        log = path.with_name(f"{path.name}-wal")
        content = log.read_bytes() if log.is_file() else b""
        if len(content) < 32:
            return cls()
        magic, _, size, _, *salts = struct.unpack_from(">6I", content)
        if magic | 1 != 0x377F0683 or size not in {2**power for power in range(9, 17)}:
            return cls()
        order, sums, is_whole = "<>"[magic & 1], (0, 0), True
        sums = _sums(content[:24], order, sums)
        whole, pending, rest, stale = (dict[int, bytes]() for _ in range(4))
        for at in range(32, len(content) - size - 23, 24 + size):
            number, commit, *frame = struct.unpack_from(">6I", content, at)
            page = content[at + 24 : at + 24 + size]
            if frame[:2] != salts:
                stale[number] = page
                continue
            sums = _sums(content[at : at + 8] + page, order, sums)
            is_whole &= tuple(frame[2:]) == sums
            (pending if is_whole else rest)[number] = page
            if is_whole and commit:
                whole, pending = whole | pending, {}
        return cls(size, whole, pending | rest, stale)


def _sums(content: bytes, order: str, sums: tuple[int, int]) -> tuple[int, int]:
    """Return the checksums of a log, continued over some content."""
    one, two = sums
    words = iter(struct.unpack(f"{order}{len(content) // 4}I", content))
    for first, second in zip(words, words, strict=True):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two


def _varint(page: bytes, at: int) -> tuple[int, int]:
    """Return a number of one to nine bytes and the position after it."""
    found = 0
    for place in range(at, at + 8):
        found = found << 7 | page[place] & 0x7F
        if page[place] < 0x80:
            return found, place + 1
    return found << 8 | page[at + 8], at + 9


def _values(record: bytes) -> list[Any]:
    """Return the values of a record.

    Raises:
        ValueError: the record is too short, or a text is not valid UTF-8.
    """
    end, at = _varint(record, 0)
    kinds = []
    while at < end:
        kind, at = _varint(record, at)
        kinds.append(kind)
    values: list[Any] = []
    for kind in kinds:
        size = (kind - 12) // 2 if kind >= 12 else SIZES[kind]
        part = record[at : at + size]
        if len(part) < size:
            raise ValueError("too short")
        at += size
        values.append(_value(kind, part))
    return values


def _value(kind: int, part: bytes) -> Any:
    if kind >= 12:
        return part.decode() if kind % 2 else part
    if kind == 7:
        return struct.unpack(">d", part)[0]
    return {0: None, 8: 0, 9: 1}[kind] if kind in (0, 8, 9) else int.from_bytes(part, "big", signed=True)
