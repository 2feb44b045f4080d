"""Score files of predictions, and format scores as a table."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from bundlewise import notebook
from bundlewise.data.session_faults import explain
from bundlewise.data.session_list import require_sessions
from bundlewise.domain import Grouping, Prediction, Session
from bundlewise.errors import DataError, UsageError
from bundlewise.evaluation.metrics import (
    Interval,
    SessionScore,
    Summary,
    intervals,
    nested,
    paired_bootstrap,
    score_session,
    summarise,
)
from bundlewise.inputs import BOM, is_input, text_of
from bundlewise.strictly import refuse_repeated_keys
from bundlewise.terminal import one_line

NAME_WIDTH = 8
"""The least width of the column of names in a table; longer names wrap."""


class _Foreign(BaseModel):
    """A prediction of any program, including ours; unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True)


class _Bundle(_Foreign):
    items: tuple[Any, ...] | None = None
    item_ids: tuple[str, ...] | None = None


class _Answer(_Foreign):
    session_id: str
    bundles: tuple[_Bundle, ...]


def read_predictions(path: Path, sessions: Sequence[Session]) -> dict[str, Grouping]:
    """Read JSON lines of predictions, products by number from 1 or by id, keyed by session id.

    Sessions may be missing; `score` counts them as zero.

    Raises:
        UsageError: the file cannot be read.
        DataError: no line, invalid JSON, an unknown session or product, or a session twice; the message names the line.
    """
    known = {session.session_id: session for session in sessions}
    found: dict[str, Grouping] = {}
    for where, line in _lines(path):
        try:
            answer = _Answer.model_validate_json(line)
            refuse_repeated_keys(line, where)
        except ValidationError as error:
            raise DataError(f"{where}: {explain(error)}") from error
        session = known.get(answer.session_id)
        if session is None:
            raise DataError(
                f"{where}: session {answer.session_id!r} is not among the {len(known)} to score; "
                "check --data and --split"
            )
        if session.session_id in found:
            raise DataError(f"{where}: session {answer.session_id!r} occurs twice; keep one line per session")
        found[session.session_id] = tuple(_positions(bundle, session, where) for bundle in answer.bundles)
    if not found:
        raise DataError(f"{path}: holds no predictions; write one JSON object per line")
    return found


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the place and the text of each line; a byte order mark and blank lines are allowed."""
    if not is_input(path):
        raise UsageError(f"cannot read {path}: no file or pipe of this name; give a file of predictions")
    for number, line in enumerate(text_of(path).split("\n"), 1):
        if line.strip():
            yield f"{path}, line {number}", line.lstrip(BOM)


def _positions(bundle: _Bundle, session: Session, where: str) -> tuple[int, ...]:
    """Return the products of a bundle as sorted positions from 0, without duplicates."""
    given = [keys for keys in (bundle.items, bundle.item_ids) if keys is not None]
    named = [sorted({_position(key, session, where) for key in keys}) for keys in given]
    if not named:
        raise DataError(f"{where}: a bundle names no products; add items (numbers from 1) or item_ids")
    if named[0] != named[-1]:
        raise DataError(f"{where}: items and item_ids of a bundle name different products; drop the wrong one")
    return tuple(named[0])


def _position(key: Any, session: Session, where: str) -> int:
    ids = [item.id for item in session.items]
    if key in ids:
        return ids.index(key)
    if type(key) is int and 1 <= key <= len(ids):
        return key - 1
    raise DataError(
        f"{where}: no item {key!r} in session {session.session_id!r}; "
        f"name its products by number, 1 to {len(ids)}, or by id"
    )


def score(predictions: Mapping[str, Grouping], sessions: Sequence[Session]) -> list[SessionScore]:
    """Score every session in order; a session without a prediction counts as zero."""
    return [score_session(predictions.get(session.session_id, ()), session.groups) for session in sessions]


def evaluate(
    sessions: Sequence[Session], predictions: Sequence[Prediction] | Path | str, name: str = "predictions"
) -> "Scores":
    """Score predictions, or a file of them, against the annotated bundles.

    The sessions scored are the annotated ones of each split that a prediction is about; one of them without a
    prediction counts as zero.

    Raises:
        UsageError: there is no such file.
        DataError: a prediction is about an unknown session or product, or nothing can be scored.
    """
    require_sessions(sessions)
    if isinstance(predictions, str | Path):
        found, cost = read_predictions(Path(predictions), sessions), {}
    else:
        found, cost = {each.session_id: each.groups for each in predictions}, _cost_of(predictions)
    known = {session.session_id: session.split for session in sessions}
    if foreign := [key for key in found if key not in known]:
        raise DataError(f"session {foreign[0]!r} is not among the {len(known)} to score; give the sessions answered")
    splits = {known[key] for key in found}
    scored = [session for session in sessions if session.bundles and session.split in splits]
    if not scored:
        raise DataError("none of the sessions answered has annotated bundles; give predictions of others")
    missing = sum(session.session_id not in found for session in scored)
    return Scores(name, score(found, scored), missing=missing, **cost)


def _cost_of(predictions: Sequence[Prediction]) -> dict[str, Any]:
    return {
        "tokens_in": sum(each.tokens_in for each in predictions),
        "tokens_out": sum(each.tokens_out for each in predictions),
        "seconds": sum(each.seconds for each in predictions),
    }


@dataclass(frozen=True, repr=False)
class Scores:
    """A scored way to make bundles, with what it cost where that is known."""

    name: str
    scores: Sequence[SessionScore]
    tokens_in: int | None = None
    tokens_out: int | None = None
    seconds: float | None = None
    note: str = ""
    missing: int = 0
    """Sessions without a prediction, which count as zero."""

    @property
    def gjs(self) -> float:
        """The mean GJS over all sessions."""
        return self.summary.gjs

    def __str__(self) -> str:
        """Return the metrics as a table for a terminal."""
        return table([self])

    def __repr__(self) -> str:
        """Return the mean GJS with its interval."""
        low, high = map(decimal, self.ci["gjs"])
        return f"Scores({self.name}: GJS {decimal(self.gjs)} [{low}, {high}] on {self.summary.n} sessions)"

    def _repr_html_(self) -> str:
        columns = _columns([self], None)
        cells = [" ".join(write(self).split("\n")) for write in columns.values()]
        return notebook.table(repr(self), [" ".join(name.split("\n")) for name in columns], [cells])

    @cached_property
    def summary(self) -> Summary:
        """The metrics over all sessions."""
        return summarise(self.scores)

    @cached_property
    def ci(self) -> dict[str, Interval]:
        """The 95 % interval of each metric, by the metric's name in `summary`."""
        return intervals(self.scores)

    def difference(self, reference: "Scores") -> tuple[float, Interval]:
        """Return how much higher the GJS is than the reference's, with the paired 95 % interval."""
        ours, theirs = [[score.gjs for score in row.scores] for row in (self, reference)]
        return self.summary.gjs - reference.summary.gjs, paired_bootstrap(ours, theirs)

    def as_dict(self) -> dict[str, Any]:
        """Return the metrics and their intervals in the published JSON form."""
        return {**self.summary.as_dict(), "ci95": nested(self.ci)}


def table(rows: Sequence[Scores], *, reference: Scores | None = None, width: int | None = None) -> str:
    """Lay rows out as plain text for a terminal of 80 columns or more, two lines each as in the header.

    With a reference, a column holds each row's paired difference in GJS to it.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    columns = _columns(rows, reference)
    texts = [[cell(row) for cell in columns.values()] for row in rows]
    grid = Table(box=box.SIMPLE_HEAD, show_edge=False, leading=1, padding=0)
    grid.add_column("\nname", overflow="fold")
    for header in columns:
        grid.add_column(header, justify="right", no_wrap=True)
    for row, cells in zip(rows, texts, strict=True):
        grid.add_row(f"{one_line(row.name)}\n{row.note}".rstrip(), *cells)
    # Without colours the text is the same in a terminal, a pipe and a report.
    console = Console(width=width, color_system=None, markup=False, emoji=False)
    # In a narrow terminal lines may wrap; otherwise rich would cut numbers.
    widths = [_longest_line(column) for column in zip(columns, *texts, strict=True)]
    console.width = max(console.width, NAME_WIDTH + sum(width + 1 for width in widths))
    with console.capture() as capture:
        console.print(grid)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def _columns(rows: Sequence[Scores], reference: Scores | None) -> dict[str, Callable[[Scores], str]]:
    """Return the header of each column of numbers and what writes its cells, two lines each."""
    columns: dict[str, Callable[[Scores], str]] = {
        "answered\nof": _answered,
        "v1 P/R/C\nv2 P/R/C": _subset,
        "exact P\nexact R": _exact,
        "GJS\n95 %": _gjs,
    }
    if reference is not None:
        columns["difference\n95 %"] = partial(_difference, reference=reference)
    if any(row.tokens_in is not None or row.seconds is not None for row in rows):
        columns["tokens\nseconds"] = _cost
    return columns


def _longest_line(cells: Iterable[str]) -> int:
    return max(len(line) for cell in cells for line in cell.split("\n"))


def _answered(row: Scores) -> str:
    return f"{row.summary.answered}\n{row.summary.n}"


def _subset(row: Scores) -> str:
    s = row.summary
    lines = (s.v1_precision, s.v1_recall, s.v1_coverage), (s.v2_precision, s.v2_recall, s.v2_coverage)
    return "\n".join("/".join(map(decimal, values)) for values in lines)


def _exact(row: Scores) -> str:
    return f"{decimal(row.summary.exact_precision)}\n{decimal(row.summary.exact_recall)}"


def _gjs(row: Scores) -> str:
    low, high = row.ci["gjs"]
    return f"{decimal(row.summary.gjs)}\n{decimal(low)}-{decimal(high)}"


def _difference(row: Scores, reference: Scores) -> str:
    if row is reference:
        return ""
    value, (low, high) = row.difference(reference)
    return f"{decimal(value, '+')}\n{decimal(low, '+')} {decimal(high, '+')}"


def _cost(row: Scores) -> str:
    tokens = "" if row.tokens_in is None else f"{thousands(row.tokens_in)}+{thousands(row.tokens_out or 0)}"
    return f"{tokens}\n{'' if row.seconds is None else f'{row.seconds:,.1f}'}"


def thousands(count: int) -> str:
    """Return a count in at most four characters: `950`, `12k` or `3.4M`."""
    if count < 1_000:
        return str(count)
    return f"{count / 1e3:.0f}k" if count < 999_500 else f"{count / 1e6:.1f}M"


def decimal(value: float, sign: str = "") -> str:
    """Return a number in the style of papers: `.658`, or with a sign `+.023`."""
    text = f"{value:{sign}.3f}"
    return text.replace("0.", ".", 1) if text.lstrip("+-").startswith("0.") else text
