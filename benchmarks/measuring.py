"""Helpers of the benchmarks: seconds, memory, disk, quantiles, and steps in separate processes."""

import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

WARM = 10
PATIENCE = 90.0
"""Most seconds for the questions to one contender: a slow one gets fewer questions, but at least LEAST."""
LEAST = 20
WIDTH = 120

Numbers = dict[str, Any]
Question = TypeVar("Question")


@contextmanager
def timed(numbers: Numbers, name: str, but: Callable[[], float] = lambda: 0.0) -> Iterator[None]:
    """Note the seconds of a block, minus the seconds that `but` counts meanwhile."""
    start, before = time.perf_counter(), but()
    yield
    numbers[name] = round(time.perf_counter() - start - (but() - before), 6)


def note_memory(numbers: Numbers, name: str) -> None:
    """Note the memory of this process in MiB: its present and its peak value."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    numbers |= {name: psutil.Process().memory_info().rss // 2**20, "peak_mb": most // 1024}


def megabytes(folder: Path) -> float:
    """Return the size of a folder's files in MiB."""
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20, 1)


def alone(step: Callable[..., Numbers], *arguments: object) -> Numbers:
    """Run a step in a new process with its modules loaded, so that the memory of each step is measured alone."""
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(step, *arguments).result()


def race(contenders: dict[str, Callable[[Question], object]], questions: Sequence[Question]) -> dict[str, Numbers]:
    """Ask every contender each question in turn, so that conditions are equal; the first questions only warm up."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for number, question in enumerate(questions):
        for name, ask in contenders.items():
            if len(times[name]) >= LEAST and sum(times[name]) > PATIENCE:
                continue
            start = time.perf_counter()
            ask(question)
            if number >= WARM:
                times[name].append(time.perf_counter() - start)
    return {name: quantiles(found) for name, found in times.items()}


def quantiles(seconds: Sequence[float]) -> Numbers:
    """Return the median and the 95th percentile in milliseconds."""
    p50, p95 = (round(1000 * float(np.quantile(seconds, share)), 2) for share in (0.5, 0.95))
    return {"p50_ms": p50, "p95_ms": p95, "queries": len(seconds)}


def ratio(ours: Numbers, theirs: Numbers) -> Numbers:
    """Return the ratio of our time to theirs, at the median and at the 95th percentile."""
    return {quantile: round(ours[f"{quantile}_ms"] / theirs[f"{quantile}_ms"], 2) for quantile in ("p50", "p95")}


def show(found: Numbers) -> None:
    """Print the tables among the numbers on stderr: numbers by name are a table, other levels are titles."""
    console = Console(stderr=True, width=WIDTH)
    console.print({name: value for name, value in found.items() if not _is_table(value)})
    for title, rows in found.items():
        if _is_table(rows):
            columns = list(dict.fromkeys(column for row in rows.values() for column in row))
            table = Table(title, *columns)
            for name, row in rows.items():
                table.add_row(name, *(f"{row[c]:,.6g}" if c in row else "" for c in columns))
            console.print(table)


def _is_table(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(row, dict) for row in value.values())
