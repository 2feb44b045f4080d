"""The progress of a teacher's run: a live table by stage on a terminal, and a log as JSON lines."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from bundlewise.errors import BundlewiseError, UsageError
from bundlewise.models.prices import in_dollars
from bundlewise.progress import told_now_and_then
from bundlewise.terminal import console, one_line

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from bundlewise.agents.teacher.tally import Tally

LINE = 80
NOTES = 3
"""Most notes shown below the table; the latest are shown."""
TOLD = ("waiting", "answering", "stopping", "note")
"""Events that are printed in words."""
COLUMNS = ("done", "failed", "calls", "cached", "tokens in", "tokens out", "money", "left")


class LogError(BundlewiseError):
    """A log that cannot be written any more."""


@contextmanager
def watching(tally: "Tally", log: Path | None = None) -> Iterator[None]:
    """Show the progress of a run on a terminal while the block runs, and write every event to the log.

    Events are appended to the log, so that a run that continues after a stop continues the same file.
    """
    with _logged(tally, log), _live(tally):
        yield


@contextmanager
def _logged(tally: "Tally", log: Path | None) -> Iterator[None]:
    if log is None:
        yield
        return
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        stream = log.open("a", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(f"cannot write the log {log}: {error.strerror}; give another file") from error

    def write(event: dict[str, Any]) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        try:
            stream.write(json.dumps({"time": stamp, **event}, ensure_ascii=False) + "\n")
            stream.flush()
        except OSError as error:
            remedy = "free space, or give another file next time"
            raise LogError(f"the log {log} ends here ({error.strerror}), and the run continues; {remedy}") from error

    tally.listeners.append(write)
    try:
        yield
    finally:
        with suppress(ValueError):  # A log that failed was removed already.
            tally.listeners.remove(write)
        with suppress(OSError):  # Closing writes the rest, which failed before and was reported.
            stream.close()


@contextmanager
def _live(tally: "Tally") -> Iterator[None]:
    started: dict[str, float] = {}

    def note(event: dict[str, Any]) -> None:
        if "stage" in event:
            started.setdefault(event["stage"], time.monotonic())

    if not sys.stderr.isatty():
        with telling(tally), told_now_and_then(lambda: stage_line(tally)):
            yield
        return
    told = len(tally.notes)
    tally.listeners.append(note)
    try:
        with _table(tally, started):
            yield
    finally:
        with suppress(ValueError):
            tally.listeners.remove(note)
        # The table disappears at the end, so the notes are printed again to stay visible.
        for said in tally.notes[told:]:
            sys.stderr.write(f"{said}\n")


def stage_line(tally: "Tally") -> str:
    """Return the progress of the latest stage as a line; it is empty before the first stage."""
    rows = tally.rows()
    if not rows:
        return ""
    row = rows[-1]
    parts = [f"{row['done']:,} of {row['total']:,}" if row["total"] else f"{row['done']:,} done"]
    parts += [f"{row['failed']:,} failed"] if row["failed"] else []
    parts += [f"{row['calls']:,} calls, {in_dollars(tally.cost())} so far"] if row["calls"] else []
    return one_line(f"{row['stage']}: {', '.join(parts)}")


@contextmanager
def telling(tally: "Tally") -> Iterator[None]:
    """Print notes while the block runs, and what the run waits for, since it otherwise seems to hang."""
    tally.listeners.append(_say)
    try:
        yield
    finally:
        with suppress(ValueError):
            tally.listeners.remove(_say)


def _say(event: dict[str, Any]) -> None:
    if event["event"] in TOLD:
        sys.stderr.write(f"{event['reason'] or 'it answers again'}\n")
        sys.stderr.flush()


def _table(tally: "Tally", started: dict[str, float]) -> "Live":
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    def shown() -> Group:
        words = [*tally.notes[-NOTES:], *([tally.waiting] if tally.waiting else [])]
        return Group(stage_table(tally, started), *(Text(one_line(said)) for said in words))

    return Live(get_renderable=shown, console=console(), refresh_per_second=4, transient=True)


def stage_table(tally: "Tally", started: dict[str, float]) -> "Table":
    """Return the stages as a table; `started` has the start of each, in seconds of the monotonic clock."""
    from rich.table import Table

    # Without lines it fits into 80 columns.
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    table.add_column("stage", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for row in tally.rows():
        done = f"{row['done']:,}" + (f" of {row['total']:,}" if row["total"] else "")
        numbers = [f"{row[name]:,}" for name in ("failed", "calls", "cached", "tokens_in", "tokens_out")]
        seconds = time.monotonic() - started.get(row["stage"], time.monotonic())
        table.add_row(one_line(row["stage"]), done, *numbers, in_dollars(row["cost"]), _left(row, seconds))
    return table


def _left(row: dict[str, Any], seconds: float) -> str:
    if not row["done"] or row["done"] >= row["total"]:
        return ""
    left = seconds * (row["total"] - row["done"]) / row["done"]
    return f"{left / 60:.0f} min" if left > 90 else f"{left:.0f} s"


def plan_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return a plan as lines that fit a terminal: for each stage the least and the most calls and cost, and why."""
    table: list[tuple[str, ...]] = [("stage", "cached", "calls", "tokens in", "tokens out", "money")]
    whys = [""]
    for row in [*rows, _sum(rows)]:
        ends = [_end(row, end) for end in (0, 1)]
        table.append((row["stage"], f"{row['cached']:,}", *ends[0]))
        if ends[0] != ends[1]:
            table.append(("", "at most", *ends[1]))
        whys += [""] * (len(table) - len(whys) - 1) + [_why(row)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for cells, why in zip(table, whys, strict=True):
        numbers = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
        lines.append("  ".join([cells[0].ljust(widths[0]), *numbers]))
        lines += wrap(why, LINE, initial_indent="  ", subsequent_indent="  ") if why else []
    return lines


def _why(row: dict[str, Any]) -> str:
    """Return the reasons of a stage's calls, and the number of unusable answers in the ledger."""
    why = ", ".join(f"{count:,} {reason}" for reason, count in row["why"].items())
    failed = f"failed: {row['failed']:,} kept answers that --retry-failed asks for again" if row["failed"] else ""
    return "; ".join(part for part in (why and f"why: {why}", failed) if part)


def _end(row: dict[str, Any], end: int) -> tuple[str, ...]:
    """Return the calls, tokens and money of a row of a plan: the least (end 0) or the most (end 1)."""
    numbers = (row[("calls", "most_calls")[end]], row["tokens_in"][end], row["tokens_out"][end])
    return (*(f"{number:,}" for number in numbers), in_dollars(row["cost"][end]))


def _sum(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    def both(name: str) -> list[Any]:
        ends = [[row[name][end] for row in rows] for end in (0, 1)]
        return [None if None in values else sum(values) for values in ends]

    counts = {name: sum(row[name] for row in rows) for name in ("cached", "failed", "calls", "most_calls")}
    return {"stage": "all", **counts, **{n: both(n) for n in ("tokens_in", "tokens_out", "cost")}, "why": {}}
