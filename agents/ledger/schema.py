"""The tables of a ledger of calls: the checks before use, and the update or unchanged reading of older files."""

import os
import shlex
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from bundlewise.agents.ledger.rows import PLACES, sound
from bundlewise.errors import KnowledgeError

_BILLED = ["tokens_in", "tokens_out", "seconds"]
COLUMNS = {
    "calls": ["key", "stage", "subject", "template", "model", "text", "finish", *_BILLED, "verdict", "time"],
    "claims": ["key", "process"],
    "forgotten": ["key", "stage", "model", "verdict", *_BILLED],
}
"""The columns of the tables, in their order."""
ADDED = {"verdict": "TEXT NOT NULL DEFAULT 'good'", "time": "REAL NOT NULL DEFAULT 0"}
"""Columns that `calls` lacks in the first format."""
SCHEMA = (
    """CREATE TABLE IF NOT EXISTS calls (
        key TEXT PRIMARY KEY, stage TEXT NOT NULL, subject TEXT NOT NULL, template TEXT NOT NULL, model TEXT NOT NULL,
        text TEXT NOT NULL, finish TEXT NOT NULL, tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL,
        seconds REAL NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS calls_by_subject ON calls (stage, subject)",
    "CREATE TABLE IF NOT EXISTS claims (key TEXT PRIMARY KEY, process TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS forgotten (
        key TEXT NOT NULL, stage TEXT NOT NULL, model TEXT NOT NULL, verdict TEXT NOT NULL,
        tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, seconds REAL NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS forgotten_by_key ON forgotten (key)",
    """CREATE TRIGGER IF NOT EXISTS kept AFTER INSERT ON calls
        BEGIN DELETE FROM claims WHERE key = NEW.key; END""",
    """CREATE TRIGGER IF NOT EXISTS forgot AFTER DELETE ON calls BEGIN INSERT INTO forgotten VALUES
        (OLD.key, OLD.stage, OLD.model, OLD.verdict, OLD.tokens_in, OLD.tokens_out, OLD.seconds); END""",
)
MADE = {"calls", "calls_by_subject", "claims", "forgotten", "forgotten_by_key", "kept", "forgot"}
"""The names of the tables, indexes and triggers in `SCHEMA`."""
VERSION = 1
"""The current format, stored as SQLite's `user_version`; the first format was 0."""
APPLICATION = 0x62776C31
"""SQLite's `application_id` of a ledger of calls ("bwl1")."""
POLL = 0.05
NAMED = "substr(name, 1, 7) <> 'sqlite_'"
"""The SQL condition that excludes SQLite's internal tables and indexes."""
CHECKED = 2**28
"""The largest file in bytes whose pages are all checked before use (a third of a second); the length always is."""
OTHER = "give another file with --ledger"


def salvage_of(path: Path) -> str:
    """Return the remedy for a damaged ledger: a command that saves the readable calls."""
    named = shlex.quote(str(path))
    return f"`bundlewise ledger export FILE --what-is-readable --ledger {named}` saves the readable calls"


def check(base: sqlite3.Connection, path: Path) -> None:
    """Refuse another program's database, a newer format, and a damaged file; change nothing."""
    version, application = (_pragma(base, name) for name in ("user_version", "application_id"))
    tables = {row[0] for row in base.execute(f"SELECT name FROM sqlite_master WHERE type = 'table' AND {NAMED}")}
    ours = application == APPLICATION or (application == 0 and {"calls", "claims"} <= tables)
    if ours and version > VERSION:
        told = f"{path} was written by a newer bundlewise (format {version} of the ledger of calls, {VERSION} is known)"
        raise KnowledgeError(f"{told}; update bundlewise, or {OTHER}")
    if application not in (0, APPLICATION) or tables - COLUMNS.keys():
        raise KnowledgeError(f"{path} is not a ledger of calls but another database; {OTHER}")
    for table in sorted(tables & COLUMNS.keys()):
        found = _columns(base, table)
        if found not in (COLUMNS[table], [name for name in COLUMNS[table] if name not in ADDED]):
            told = f"{path} is not a ledger of calls: its table {table} has the columns {', '.join(found)}"
            raise KnowledgeError(f"{told}; {OTHER}")
    _check_whole(base, path)


def renewal_of(path: Path) -> str:
    """Return the remedy for a ledger with damaged calls: a command that copies the sound ones."""
    named = shlex.quote(str(path))
    return f"`bundlewise ledger export FILE --ledger {named}` writes the sound calls; import them into a new ledger"


def refuse_foreign(base: sqlite3.Connection, path: Path) -> None:
    """Refuse triggers, views and indexes of another program, because they may delete or change answers."""
    with closing(_as_made()) as made:
        ours = dict(made.execute("SELECT type || ' ' || name, sql FROM sqlite_master"))
    for kind, name, sql in base.execute(f"SELECT type, name, sql FROM sqlite_master WHERE type <> 'table' AND {NAMED}"):
        if _plain(sql) != _plain(ours.get(f"{kind} {name}")):
            told = f"another program made the {kind} {name!r} in the ledger of calls {path}"
            raise KnowledgeError(f"{told}; remove it with `DROP {kind.upper()} {name}` in sqlite3, or {OTHER}")


def refuse_foreign_tables(base: sqlite3.Connection, path: Path) -> None:
    """Refuse tables that another program has changed: without its key, for example, a call could be paid twice."""
    with closing(_as_made()) as made:
        for table in COLUMNS:
            ours, there = (each.execute(f"PRAGMA main.table_xinfo({table})").fetchall() for each in (made, base))
            if there != ours:
                told = f"another program has changed the table {table} of the ledger of calls {path}"
                raise KnowledgeError(f"{told}; {renewal_of(path)}, or {OTHER}")


def _as_made() -> sqlite3.Connection:
    """Return an empty ledger in memory."""
    base = sqlite3.connect(":memory:", isolation_level=None)
    bring_up_to_date(base)
    return base


def _plain(sql: str | None) -> str:
    return " ".join(str(sql).replace("IF NOT EXISTS", "").split())


def refuse_damaged(base: sqlite3.Connection, path: Path) -> None:
    """Refuse calls with invalid values: they cannot be used, so they would be paid again unnoticed."""
    where = f"FROM calls WHERE NOT {sound()}"
    if count := base.execute(f"SELECT COUNT(*) {where}").fetchone()[0]:
        stage, subject = base.execute(f"SELECT stage, subject {where}").fetchone()
        told = f"the ledger of calls {path} holds {count:,} damaged calls, such as {stage!r} of {subject!r}"
        raise KnowledgeError(f"{told}; {renewal_of(path)}, or {OTHER}")


def _check_whole(base: sqlite3.Connection, path: Path) -> None:
    """Refuse a damaged file, because a call that cannot be found would be paid again."""
    size, real = _pragma(base, "page_count") * _pragma(base, "page_size"), Path(os.path.realpath(path))
    files = (real, real.with_name(f"{real.name}-wal"))
    there = sum(file.stat().st_size for file in files if file.exists())
    fault = "ok" if there >= size or not real.exists() else f"{there:,} bytes of {size:,} are there"
    if fault == "ok" and size <= CHECKED:
        fault = base.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if fault != "ok":
        told = " ".join(fault.removeprefix("*** in database main ***").split())
        raise KnowledgeError(f"the ledger of calls {path} is damaged ({told}); {salvage_of(path)}, or {OTHER}")


def _pragma(base: sqlite3.Connection, name: str) -> int:
    return int(base.execute(f"PRAGMA {name}").fetchone()[0])


def _columns(base: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in base.execute(f"PRAGMA main.table_info({table})")]


def open_for_many(base: sqlite3.Connection, seconds: float) -> None:
    """Switch to write-ahead logging; wait here while another process does so, because SQLite does not wait."""
    until = time.monotonic() + seconds
    while True:
        try:
            base.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(POLL)


def bring_up_to_date(base: sqlite3.Connection) -> None:
    """Create the missing tables and columns in one transaction, so that a killed process leaves the file unchanged."""
    made = {row[0] for row in base.execute("SELECT name FROM sqlite_master")}
    if _pragma(base, "user_version") == VERSION and made >= MADE:
        return
    base.execute("BEGIN IMMEDIATE")
    try:
        for statement in SCHEMA:
            base.execute(statement)
        # Another process may have added them while this one waited.
        there = _columns(base, "calls")
        for name, kind in ADDED.items():
            if name not in there:
                base.execute(f"ALTER TABLE calls ADD COLUMN {name} {kind}")
        base.execute(f"PRAGMA application_id = {APPLICATION}")
        base.execute(f"PRAGMA user_version = {VERSION}")
        base.execute("COMMIT")
    except BaseException:
        if base.in_transaction:
            base.execute("ROLLBACK")
        raise


def try_to_write(base: sqlite3.Connection, path: Path) -> None:
    """Check before any payment that the ledger keeps an answer that is written to it."""
    row = ("a test", *["x"] * 6, 1, 1, 1.0, "good", 1.0)
    base.execute("BEGIN IMMEDIATE")
    try:
        base.execute("INSERT INTO claims VALUES (?, 'x')", row[:1])
        base.execute(f"INSERT OR IGNORE INTO calls VALUES ({PLACES})", row)
        kept = base.execute("SELECT * FROM calls WHERE key = ?", row[:1]).fetchall()
        claims = base.execute("SELECT * FROM claims WHERE key = ?", row[:1]).fetchall()
    finally:
        if base.in_transaction:
            base.execute("ROLLBACK")
    if kept != [row] or claims:
        raise KnowledgeError(f"the ledger of calls {path} does not keep what is written to it; {OTHER}")


def show_as_new(base: sqlite3.Connection) -> None:
    """Create temporary views that show a file of the first format, or without tables, in the current format."""
    base.execute("PRAGMA temp_store=MEMORY")
    for table, names in COLUMNS.items():
        there = _columns(base, table)
        lacking = {"verdict": "'good'", "time": "0.0"} if there else dict.fromkeys(names, "NULL")
        if there != names:
            shown = ", ".join(name if name in there else f"{lacking[name]} AS {name}" for name in names)
            source = f"main.{table}" if there else "(SELECT 0 AS rowid) WHERE 0"
            base.execute(f"CREATE TEMP VIEW {table} AS SELECT rowid AS rowid, {shown} FROM {source}")
