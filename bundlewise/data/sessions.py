"""Read and write sessions as JSON lines, strictly, and find the starter dataset."""

import codecs
import difflib
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bundlewise.domain import SPLITS, Bundle, Item, Session, Split
from bundlewise.errors import DataError, UsageError
from bundlewise.files import write_jsonl
from bundlewise.inputs import is_input, local
from bundlewise.strictly import refuse_repeated_keys
from bundlewise.titles import title_fault

STARTERS = ("electronics", "clothing", "grocery")
LINE_LIMIT = 10_000_000
"""The most bytes of a line; a session of a hundred products needs a few thousand."""
EXPECTED = {
    "model_type": "an object in { }",
    "tuple_type": "a list in [ ]",
    "string_type": "a text in double quotes",
    "float_type": "a number without quotes",
    "literal_error": "train, validation or test",
}
"""The expected value in messages, for each of pydantic's error types."""


def read_sessions(path: Path) -> list[Session]:
    """Read every session of a file.

    Raises:
        DataError: a line is invalid; the message names file, line and remedy.
    """
    sessions = []
    for result in scan(path):
        if isinstance(result, DataError):
            raise result
        sessions.append(result)
    return sessions


def scan(path: Path) -> Iterator[Session | DataError]:
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
        session = Session.model_validate_json(text, strict=True)
        refuse_repeated_keys(text, where)
    except DataError as error:
        return error
    except UnicodeDecodeError as error:
        return DataError(f"{where}: not UTF-8 at byte {error.start + 1}; save the file as UTF-8")
    except ValidationError as error:
        return DataError(f"{where}: {explain(error)}")
    earlier = lines_by_id.setdefault(session.session_id, number)
    if earlier != number:
        shown = _show(session.session_id)
        return DataError(f"{where}: session_id {shown} is already in line {earlier}; make it unique")
    problem = next(problems(session), None)
    return DataError(f"{where}: {problem}") if problem else session


def explain(error: ValidationError) -> str:
    """Return pydantic's first error on one line: field, value and remedy."""
    first = error.errors(include_url=False)[0]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    match first["type"]:
        case "json_invalid":
            reason = str(first["ctx"]["error"]).replace("at line 1 column", "at column")
            return f"not valid JSON ({reason}); write one JSON object per line"
        case "missing":
            return f"{field} is missing; add it"
        case "extra_forbidden":
            return f"{field} is not a field of a session; remove or rename it"
        case kind if kind in EXPECTED:
            return f"{field or 'a line'} must be {EXPECTED[kind]}, got {_show(first['input'])}"
        case _:
            return f"{field}: {first['msg'][:1].lower()}{first['msg'][1:]}, got {_show(first['input'])}"


def problems(session: Session) -> Iterator[str]:
    """Yield the faults of a session whose types are right, each with value and remedy."""
    if not session.session_id.strip():
        yield "session_id is empty; give every session an id of its own"
    if not session.items:
        yield f"session {_show(session.session_id)} has no items; add its products or remove the line"
    for number, item in enumerate(session.items):
        yield from _item_problems(item, f"items[{number}]")
    ids = [item.id for item in session.items]
    for item_id in _repeated(ids):
        yield f"item id {_show(item_id)} occurs {ids.count(item_id)} times; list each product once"
    for number, bundle in enumerate(session.bundles):
        yield from _bundle_problems(bundle, f"bundles[{number}]", set(ids))


def _item_problems(item: Item, where: str) -> Iterator[str]:
    """Yield the faults of a product."""
    if not item.id.strip():
        yield f"{where}.id is empty; give every product an id"
    if fault := title_fault(item.title):
        yield f"{where}.{fault}"
    if item.price is not None and not (math.isfinite(item.price) and item.price >= 0):
        yield f"{where}.price must be a number of at least 0, got {item.price}; leave unknown prices out"


def _bundle_problems(bundle: Bundle, where: str, known: set[str]) -> Iterator[str]:
    """Yield the faults of an annotated bundle of a session with the known item ids."""
    for item_id in bundle.item_ids:
        if item_id not in known:
            yield f"{where} names item {_show(item_id)}, which is not in the session; use ids of its items"
    for item_id in _repeated(bundle.item_ids):
        yield f"{where} names item {_show(item_id)} twice; name each product once"
    if len(bundle.item_ids) < 2:
        yield f"{where} must have at least 2 items, got {len(bundle.item_ids)}; add one or remove the bundle"


def _repeated(ids: list[str] | tuple[str, ...]) -> list[str]:
    return [item_id for item_id, count in Counter(ids).items() if count > 1]


def _show(value: Any) -> str:
    """Return a value as JSON, cut to a length that fits in a message."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


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
    known = {name: name for name in STARTERS} | {file.name: str(file) for file in path.parent.glob("*.jsonl")}
    close = [known[name] for name in difflib.get_close_matches(path.name, known)]
    hint = f"did you mean {' or '.join(close)}?" if close else f"starter domains are {', '.join(STARTERS)}"
    raise UsageError(f"no file and no starter domain {name_or_path!r}; {hint}")


def load(name_or_path: str, split: Split | None = None) -> list[Session]:
    """Read the sessions of a starter domain or file, all or those of one split.

    Raises:
        UsageError: there is no such domain or file, or it has no session of the split.
        DataError: a line is invalid.
    """
    sessions = read_sessions(find_dataset(name_or_path))
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
