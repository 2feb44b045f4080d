"""The accounts of a ledger of calls: sums of tokens, verdicts, deleted answers, export and import."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bundlewise.agents.ledger.file import FAMILY, LedgerFile
from bundlewise.agents.ledger.rows import NAMES, NUMBERS, PLACES, RESCUED, is_sound, rescued, row_of, sound
from bundlewise.agents.ledger.salvage import salvage
from bundlewise.agents.ledger.schema import COLUMNS, renewal_of
from bundlewise.errors import KnowledgeError, UsageError
from bundlewise.files import numbered_rows, write_jsonl

ANSWER = ("text", "finish", *NUMBERS, "verdict")
VERDICT = NAMES.index("verdict")
BILLED = slice(NAMES.index("tokens_in"), VERDICT)
REMEMBER = """DELETE FROM forgotten WHERE rowid IN (
    SELECT rowid FROM forgotten WHERE key = ? AND tokens_in = ? AND tokens_out = ? AND seconds = ? LIMIT 1)"""
"""Removes an answer from `forgotten` when it is imported again, because it was paid once."""
SUMS = "COUNT(*) AS calls, SUM(tokens_in) AS tokens_in, SUM(tokens_out) AS tokens_out, SUM(seconds) AS seconds"


class Which(NamedTuple):
    """A choice of calls by stages, verdicts, and the Unix times of their storage; an empty field means any.

    Calls from the first format of the ledger have the time 0.
    """

    stages: Sequence[str] = ()
    verdicts: Sequence[str] = ()
    before: float | None = None
    after: float | None = None

    def where(self) -> tuple[str, list[Any]]:
        """Return the SQL condition and its values."""
        parts, values = ["1"], list[Any]()
        for column, names in (("stage", self.stages), ("verdict", self.verdicts)):
            if names:
                parts.append(f"{column} IN ({', '.join('?' * len(names))})")
                values += names
        for sign, bound in (("<", self.before), (">=", self.after)):
            if bound is not None:
                parts.append(f"time {sign} ?")
                values.append(bound)
        return " AND ".join(parts), values


def sums(file: LedgerFile, by: Sequence[str], which: Which | None = None, table: str = "calls") -> list[dict[str, Any]]:
    """Return the sums of calls, tokens and seconds by some columns, without damaged rows, in order of appearance."""
    where, values = (which or Which()).where()
    names = ", ".join(by)
    some = f"{table} WHERE {where} AND {sound(COLUMNS[table])}"
    sql = f"SELECT {names}, {SUMS} FROM {some} GROUP BY {names} ORDER BY MIN(rowid)"
    with file.guarded():
        cursor = file.base.execute(sql, values)
        columns = [column[0] for column in cursor.description]
        return [dict(zip(columns, row, strict=True)) for row in cursor]


def answer(file: LedgerFile, condition: str, values: Sequence[Any]) -> tuple[Any, ...] | None:
    """Return the columns of an answer; None for a missing answer, or for a damaged one in a read-only ledger.

    Raises:
        KnowledgeError: the answer is damaged and the ledger is writable, so that the call would be paid again.
    """
    with file.guarded():
        row: tuple[Any, ...] | None = file.base.execute(
            f"SELECT {', '.join(ANSWER)} FROM calls {condition}", values
        ).fetchone()
    if row is None or is_sound(row, ANSWER):
        return row
    if file.writable:
        raise KnowledgeError(f"the answer to a call in {file.path} is damaged; {renewal_of(file.path)}")
    return None


def damaged(file: LedgerFile) -> int:
    """Return the number of stored and deleted calls with invalid values, which are never used."""
    with file.guarded():
        counts = [
            file.base.execute(f"SELECT COUNT(*) FROM {table} WHERE NOT {sound(COLUMNS[table])}").fetchone()[0]
            for table in ("calls", "forgotten")
        ]
    return sum(counts)


def idempotency(file: LedgerFile, key: str) -> str:
    """Return the idempotency key of a call: a new one if the call was paid before.

    A provider repeats its answer to the same key, so a second try needs another key.
    """
    paid = "SELECT (SELECT COUNT(*) FROM calls WHERE key = ?1) + (SELECT COUNT(*) FROM forgotten WHERE key = ?1)"
    with file.guarded():
        times = file.base.execute(paid, (key,)).fetchone()[0]
    return f"{key}-{times}" if times else key


def forget(file: LedgerFile, which: Which) -> int:
    """Delete calls and return their number; their cost stays in the sums, and a run that needs one asks again."""
    where, values = which.where()
    with file.changing():
        return file.base.execute(f"DELETE FROM calls WHERE {where}", values).rowcount


def export(file: LedgerFile, path: Path) -> tuple[int, int]:
    """Write all sound calls as JSON lines in the order of their keys; return their number and that of damaged calls.

    Raises:
        UsageError: the path is a file of the ledger.
    """
    refuse_its_own(file.path, path)
    with file.guarded():
        cursor = file.base.execute(f"SELECT {', '.join(NAMES)} FROM calls ORDER BY key")
        rows = cursor.fetchall()
    written = [dict(zip(NAMES, row, strict=True)) for row in rows if is_sound(row)]
    write_jsonl(path, written)
    return len(written), len(rows) - len(written)


def export_what_is_readable(ledger: Path, path: Path) -> tuple[int, int]:
    """Write the readable calls of a damaged ledger; return their number and the number of calls known to be lost.

    Raises:
        UsageError: the path is a file of the ledger.
        KnowledgeError: no call is readable; nothing is written then.
    """
    refuse_its_own(ledger, path)
    found = salvage(Path(os.path.realpath(ledger)))
    if not found.rows:
        raise KnowledgeError(f"no call in {ledger} is readable, so nothing was written; look for a copy of the file")
    write_jsonl(path, (dict(zip(NAMES, found.rows[key], strict=True)) for key in sorted(found.rows)))
    return len(found.rows), found.lost


def take_in(file: LedgerFile, path: Path) -> tuple[int, int]:
    """Import exported calls; return the number of new ones and the number of all.

    Calls that the ledger already has stay unchanged, but a good answer replaces one that could not be used.

    Raises:
        DataError: a line is not an exported call; nothing is imported then.
    """
    rows = [row_of(row, f"{path}:{number}") for number, row in numbered_rows(path)]
    new = 0
    with file.changing():
        for row in rows:
            if row[VERDICT] == "good":
                file.base.execute("DELETE FROM calls WHERE key = ? AND verdict <> 'good'", row[:1])
            if file.base.execute(f"INSERT OR IGNORE INTO calls VALUES ({PLACES})", row).rowcount:
                file.base.execute(REMEMBER, (row[0], *row[BILLED]))
                new += 1
    return new, len(rows)


def saved(file: LedgerFile, before: int) -> str:
    """Save the calls after a row of a ledger that was moved or deleted while in use; return a message for the user."""
    with file.guarded():
        rows = file.base.execute(f"SELECT {', '.join(NAMES)} FROM calls WHERE rowid > ?", (before,)).fetchall()
    for row in rows:
        rescued(file.path, row)
    told = f"the ledger of calls {file.path} was moved or deleted while it was in use"
    return f"{told}; {len(rows):,} answers of this run were saved"


def refuse_its_own(ledger: Path, path: Path) -> None:
    """Refuse to overwrite the ledger, SQLite's files beside it, or answers that were saved beside it."""
    real = Path(os.path.realpath(ledger))
    own = [base.with_name(base.name + end) for base in (real, ledger) for end in (*FAMILY, RESCUED)]
    if any(
        path.resolve() == file.resolve() or (path.exists() and file.exists() and path.samefile(file)) for file in own
    ):
        told = "the ledger itself" if path.resolve() == real else "the ledger itself or a file that belongs to it"
        raise UsageError(f"{path} is {told}; give another file to write its calls to")
