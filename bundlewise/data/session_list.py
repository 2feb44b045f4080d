"""Sessions in a program: a sequence with its splits, loaded from a starter domain, a file or a table."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

from bundlewise.data.sessions import STARTERS, load, split_counts
from bundlewise.data.tables import sessions_of
from bundlewise.domain import Session, Split
from bundlewise.errors import UsageError
from bundlewise.notebook import first, table


class Sessions(Sequence[Session]):
    """Sessions in their order, and those of each split as `train`, `validation` and `test`."""

    def __init__(self, sessions: Iterable[Session]) -> None:
        self._sessions = tuple(sessions)

    @cached_property
    def train(self) -> "Sessions":
        """The sessions that teach."""
        return self._of("train")

    @cached_property
    def validation(self) -> "Sessions":
        """The sessions on which settings are chosen."""
        return self._of("validation")

    @cached_property
    def test(self) -> "Sessions":
        """The sessions that are only answered and scored."""
        return self._of("test")

    def _of(self, split: Split) -> "Sessions":
        return Sessions(session for session in self._sessions if session.split == split)

    @overload
    def __getitem__(self, place: int) -> Session: ...

    @overload
    def __getitem__(self, place: slice) -> "Sessions": ...

    def __getitem__(self, place: int | slice) -> "Session | Sessions":
        """Return the session at a place, or the sessions of a slice."""
        return Sessions(self._sessions[place]) if isinstance(place, slice) else self._sessions[place]

    def __len__(self) -> int:
        """Return how many sessions there are."""
        return len(self._sessions)

    def __eq__(self, other: object) -> bool:
        """Say whether both have the same sessions in the same order."""
        return isinstance(other, Sessions) and self._sessions == other._sessions

    def __hash__(self) -> int:
        """Return equal numbers for equal sessions."""
        return hash(tuple(session.session_id for session in self._sessions))

    def __repr__(self) -> str:
        """Return the number of sessions in each split."""
        counts = split_counts(list(self._sessions))
        return f"Sessions({', '.join(f'{count} {name}' for name, count in counts.items() if count) or 'none'})"

    def _repr_html_(self) -> str:
        rows = [(s.session_id, s.split, "; ".join(s.titles), len(s.bundles)) for s in first(self)]
        return table(repr(self), ("session", "split", "products", "bundles"), rows, len(self))


def require_sessions(given: Iterable[object]) -> None:
    """Check that all given objects are sessions; raise a UsageError otherwise."""
    if wrong := [type(each).__name__ for each in given if not isinstance(each, Session)]:
        raise UsageError(f"sessions are wanted, got a {wrong[0]}; load some: bundlewise.load_sessions(...)")


def load_sessions(source: Any, *, columns: Mapping[str, str] | None = None) -> Sessions:
    """Load sessions.

    Args:
        source: a starter domain (`electronics`, `clothing`, `grocery`), a file (JSON lines, JSON, CSV or Parquet,
            packed with gzip or not), a pandas table, a Hugging Face dataset (or one for each split), or sessions. A
            table has a product in each row, or a session in each row as JSON lines do.
        columns: the table's own name for `session`, `title`, `item`, `bundle`, `intent`, `split`, `price`,
            `category` or `domain`, if it is not a usual one.

    Raises:
        UsageError: the file does not exist, a column is missing, or the source has another type.
        DataError: a line or a row has a fault; the message names the line or row, and the column.
    """
    if (found := sessions_of(source, columns or {})) is not None:
        return Sessions(found)
    is_file = isinstance(source, str | Path) and source not in STARTERS
    if columns and not is_file:
        raise UsageError(f"columns are for tables and files, got {str(source)[:40]!r}; leave them out")
    if isinstance(source, str | Path):
        return Sessions(load(str(source), columns=columns))
    rows = list(source) if isinstance(source, Iterable) else [source]
    if all(isinstance(row, Session) for row in rows):
        return Sessions(rows)
    what = "a starter domain, a file, a pandas table or a Hugging Face dataset"
    raise UsageError(f"no sessions in a {type(source).__name__}; give {what}")
