"""Read sessions from files strictly, write them as JSON lines, and find the starter dataset."""

import codecs
import difflib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bundlewise.data.columns import columns_in_force
from bundlewise.data.rows import SUFFIXES, kind_inside, kind_of
from bundlewise.data.session_faults import explain, problems, show
from bundlewise.data.tables import has_titles, holds_session, scan_table, without_missing
from bundlewise.domain import SPLITS, Session, Split
from bundlewise.errors import DataError, UsageError
from bundlewise.files import write_jsonl
from bundlewise.inputs import base_name, is_input, local
from bundlewise.strictly import refuse_repeated_keys

STARTERS = ("electronics", "clothing", "grocery")
LINE_LIMIT = 10_000_000
"""The most bytes of a line; a session of a hundred products needs a few thousand."""


def read_sessions(path: Path, columns: Mapping[str, str] | None = None) -> list[Session]:
    """Read every session of a file; the arguments are those of `scan`.

    Raises:
        UsageError: a table has no column for sessions or titles, or not one that is given.
        DataError: a line or row is invalid; the message names file, place and remedy.
    """
    sessions = []
    for result in scan(path, columns):
        if isinstance(result, DataError):
            raise result
        sessions.append(result)
    return sessions


def scan(path: Path, columns: Mapping[str, str] | None = None) -> Iterator[Session | DataError]:
    """Yield the sessions and the faults of a file, in its order.

    Args:
        path: JSON lines or a JSON list with a session or a product in each, Parquet in the same two forms, or a CSV
            with a product in each row. The suffix states the format; otherwise the content shows it.
        columns: the names of a table's columns; without them, those of `--columns` or of the environment.
    """
    given = columns_in_force() if columns is None else columns
    shown = kind_inside(path)
    stated = kind_of(path) or shown
    kind = shown if stated == "csv" else stated
    first = _first_row(path) if shown == "jsonl" else None
    if kind == "jsonl" or (kind == "json" and first is not None):
        has_products = first is not None and has_titles(first, given) and not holds_session(first, first, given)
        return scan_table(path, "jsonl", given) if has_products else _scan_lines(path)
    return scan_table(path, kind, given)


def _first_row(path: Path) -> dict[str, Any] | None:
    """Return the object in the first line that is not blank; None if it is none."""
    with local(path).open("rb") as stream:
        lines = (line.removeprefix(codecs.BOM_UTF8) for line in iter(lambda: stream.readline(LINE_LIMIT), b""))
        first = next((line for line in lines if line.strip()), b"")
    try:
        row = json.loads(first)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _scan_lines(path: Path) -> Iterator[Session | DataError]:
    """Yield for each line its session or its fault; a byte order mark, CRLF and blank lines are allowed."""
    lines_by_id: dict[str, int] = {}
    empty = True
    try:
        with local(path).open("rb") as stream:
            for number, line in enumerate(iter(lambda: stream.readline(LINE_LIMIT + 1), b""), start=1):
                where = f"{path}, line {number}"
                if len(line) > LINE_LIMIT:
                    yield DataError(f"{where}: longer than {LINE_LIMIT:,} bytes; write one session per line")
                    return
                if line.removeprefix(codecs.BOM_UTF8).strip():
                    empty = False
                    yield _session(line, where, number, lines_by_id)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check path and permissions") from error
    if empty:
        yield DataError(f"{path}: holds no sessions; write one JSON object per line")


def _session(line: bytes, where: str, number: int, lines_by_id: dict[str, int]) -> Session | DataError:
    """Return the session of a line and record its id, or return the first fault."""
    try:
        text = line.removeprefix(codecs.BOM_UTF8).decode()
        session = _parsed(text)
        refuse_repeated_keys(text, where)
    except DataError as error:
        return error
    except UnicodeDecodeError as error:
        return DataError(f"{where}: not UTF-8 at byte {error.start + 1}; save the file as UTF-8")
    except ValidationError as error:
        return DataError(f"{where}: {explain(error)}")
    earlier = lines_by_id.setdefault(session.session_id, number)
    if earlier != number:
        shown = show(session.session_id)
        return DataError(f"{where}: session_id {shown} is already in line {earlier}; make it unique")
    problem = next(problems(session), None)
    return DataError(f"{where}: {problem}") if problem else session


def _parsed(text: str) -> Session:
    """Return the session in a text of JSON; null is as if the field were absent."""
    try:
        return Session.model_validate_json(text, strict=True)
    except ValidationError as error:
        if "null" not in text or error.errors()[0]["type"] == "json_invalid":
            raise
    return Session.model_validate_json(json.dumps(without_missing(json.loads(text))), strict=True)


def to_row(session: Session) -> dict[str, Any]:
    """Return a session as a row to write; category and price are included only if they are known."""
    items = [item.model_dump(mode="json", exclude_defaults=True) for item in session.items]
    return session.model_dump(mode="json") | {"items": items}


def write_sessions(path: Path, sessions: list[Session]) -> None:
    """Write sessions as JSON lines; the file appears only when it is complete."""
    write_jsonl(path, map(to_row, sessions))


def starter_names() -> list[str]:
    """Return the names of the starter domains."""
    return list(STARTERS)


def starter_path(name: str) -> Path:
    """Return the file with a starter domain's sessions."""
    return _starter_file(name, f"{name}.jsonl")


def starter_pack_path(name: str) -> Path:
    """Return the file with the knowledge records about a starter domain's training sessions."""
    return _starter_file(name, f"{name}-pack.jsonl")


def _starter_file(name: str, file: str) -> Path:
    if name not in STARTERS:
        raise UsageError(f"no starter domain {name!r}; choose from {', '.join(STARTERS)}")
    return Path(str(resources.files("bundlewise.starter") / file))


def find_dataset(name_or_path: str) -> Path:
    """Return the file of a starter domain, or the path itself.

    Raises:
        UsageError: there is neither; the message names similar files and domains.
    """
    if name_or_path in STARTERS:
        return starter_path(name_or_path)
    path = Path(name_or_path)
    if is_input(path):
        return path
    beside = {file.name: str(file) for file in _files_in(path.parent) if Path(base_name(file)).suffix in SUFFIXES}
    known = {name: name for name in STARTERS} | beside
    close = [known[name] for name in difflib.get_close_matches(path.name, known)]
    hint = f"did you mean {' or '.join(close)}?" if close else f"starter domains are {', '.join(STARTERS)}"
    raise UsageError(f"no file and no starter domain {name_or_path!r}; {hint}")


def _files_in(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def load(name_or_path: str, split: Split | None = None, columns: Mapping[str, str] | None = None) -> list[Session]:
    """Read the sessions of a starter domain or file, all or those of one split.

    Args:
        name_or_path: the starter domain, or a file of a format that `scan` reads; `-` is standard input.
        split: the split; without it all sessions are returned.
        columns: the names of a table's columns; without them, those of `--columns` or of the environment.

    Raises:
        UsageError: there is no such domain or file, or it has no session of the split.
        DataError: a line or row is invalid.
    """
    sessions = read_sessions(find_dataset(name_or_path), columns)
    chosen = [session for session in sessions if split in (None, session.split)]
    if not chosen:
        counts = split_counts(sessions)
        existing = ", ".join(f"{name} ({count})" for name, count in counts.items() if count)
        raise UsageError(f"{name_or_path} has no sessions in split {split!r}; it has {existing}")
    return chosen


def load_all(names_or_paths: Sequence[str]) -> list[Session]:
    """Read the sessions of several starter domains or files, one after the other.

    Raises:
        DataError: a session is in two of them.
    """
    sessions, seen = [], dict[str, str]()
    for name in names_or_paths:
        for session in load(name):
            if other := seen.get(session.session_id):
                raise DataError(f"session {session.session_id!r} is in {other} and in {name}; give each session once")
            seen[session.session_id] = name
            sessions.append(session)
    return sessions


def split_counts(sessions: list[Session]) -> dict[Split, int]:
    """Count the sessions of every split, in the order train, validation, test."""
    counts = Counter(session.split for session in sessions)
    return {split: counts[split] for split in SPLITS}
