"""Watching a teacher at work: a live table by stage on a terminal, and a log as JSON lines."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundlewise.errors import UsageError
from bundlewise.prices import in_dollars

if TYPE_CHECKING:
    from rich.table import Table

    from bundlewise.agents.tally import Tally

COLUMNS = ("done", "failed", "calls", "cached", "tokens in", "tokens out", "money", "left")


@contextmanager
def watching(tally: "Tally", log: Path | None = None) -> Iterator[None]:
    """Show what a run does while the block runs, on a terminal, and write every event to the log.

    The log is opened to be added to: a run that goes on where it stopped goes on in the same file.
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
    with stream:

        def write(event: dict[str, Any]) -> None:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            stream.write(json.dumps({"time": stamp, **event}, ensure_ascii=False) + "\n")
            stream.flush()

        tally.listeners.append(write)
        try:
            yield
        finally:
            tally.listeners.remove(write)


@contextmanager
def _live(tally: "Tally") -> Iterator[None]:
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.live import Live

    started: dict[str, float] = {}

    def note(event: dict[str, Any]) -> None:
        started.setdefault(event["stage"], time.monotonic())

    tally.listeners.append(note)
    try:
        with Live(
            get_renderable=lambda: stage_table(tally, started),
            console=Console(stderr=True),
            refresh_per_second=4,
            transient=True,
        ):
            yield
    finally:
        tally.listeners.remove(note)


def stage_table(tally: "Tally", started: dict[str, float]) -> "Table":
    """Return the stages as a table; `started` says when each began, in seconds of the monotonic clock."""
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
        table.add_row(row["stage"], done, *numbers, in_dollars(row["cost"]), _left(row, seconds))
    return table


def _left(row: dict[str, Any], seconds: float) -> str:
    if not row["done"] or row["done"] >= row["total"]:
        return ""
    left = seconds * (row["total"] - row["done"]) / row["done"]
    return f"{left / 60:.0f} min" if left > 90 else f"{left:.0f} s"


def plan_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return a plan as lines: by stage calls, tokens and money from low to high, and why there are any."""
    lines = [f"{'stage':<10} {'cached':>7} {'to make':>15} {'tokens in':>21} {'tokens out':>19} {'money':>21}  why"]
    for row in [*rows, _sum(rows)]:
        calls = f"{row['calls']:,} - {row['most_calls']:,}"
        tokens = ["{:,} - {:,}".format(*row[name]) for name in ("tokens_in", "tokens_out")]
        low, high = row["cost"]
        money = in_dollars(low) if low is None or high == 0 else f"{in_dollars(low)} - {in_dollars(high)}"
        why = ", ".join(f"{count:,} {reason}" for reason, count in row["why"].items())
        numbers = f"{row['cached']:>7,} {calls:>15} {tokens[0]:>21} {tokens[1]:>19} {money:>21}"
        lines.append(f"{row['stage']:<10} {numbers}  {why}".rstrip())
    return lines


def _sum(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    def both(name: str) -> list[Any]:
        ends = [[row[name][end] for row in rows] for end in (0, 1)]
        return [None if None in values else sum(values) for values in ends]

    counts = {name: sum(row[name] for row in rows) for name in ("cached", "calls", "most_calls")}
    return {"stage": "all", **counts, **{n: both(n) for n in ("tokens_in", "tokens_out", "cost")}, "why": {}}
