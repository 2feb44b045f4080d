"""Progress on stderr: a bar on a terminal, nothing elsewhere; and an end to work that nobody waits for."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Advance = Callable[..., None]
_WANTED: ContextVar[Callable[[], bool]] = ContextVar("wanted", default=lambda: True)


class Unwanted(Exception):
    """Nobody waits for the work any more."""


@contextmanager
def while_wanted(is_wanted: Callable[[], bool]) -> Iterator[None]:
    """Let the work in the block end at its next step once it is not wanted."""
    token = _WANTED.set(is_wanted)
    try:
        yield
    finally:
        _WANTED.reset(token)


def go_on() -> None:
    """Take a step of long work.

    Raises:
        Unwanted: nobody waits for it any more.
    """
    if not _WANTED.get()():
        raise Unwanted


@contextmanager
def progress(title: str, total: int) -> Iterator[Advance]:
    """Show a bar while the block runs; call what it yields with the number of steps done (default 1).

    `advance(1, "loss 0.61")` also changes the note behind the bar.
    """
    if not sys.stderr.isatty() or not total:
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total, note="")

        def advance(steps: int = 1, note: str = "") -> None:
            bar.update(task, advance=steps, note=note)

        yield advance
