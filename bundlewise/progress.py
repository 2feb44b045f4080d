"""Progress as a bar on a terminal or in a notebook, elsewhere as lines; and an end to work nobody waits for."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from bundlewise import notebook
from bundlewise.terminal import console, one_line

Advance = Callable[..., None]
EVERY = 10.0
"""Seconds between two lines; work that takes less says nothing."""
SOON = 0.5
"""Seconds after which a line in a notebook is rewritten."""
_RUNNING: "list[_Lines]" = []
_WANTED: ContextVar[Callable[[], bool]] = ContextVar("wanted", default=lambda: True)


class Unwanted(Exception):
    """The caller no longer waits for the work."""


@contextmanager
def while_wanted(is_wanted: Callable[[], bool]) -> Iterator[None]:
    """End the work in the block at its next step when `is_wanted` returns false."""
    token = _WANTED.set(is_wanted)
    try:
        yield
    finally:
        _WANTED.reset(token)


def go_on() -> None:
    """Check between two steps of long work whether to go on.

    Raises:
        Unwanted: the caller no longer waits for the work.
    """
    if not _WANTED.get()():
        raise Unwanted


@contextmanager
def stopping(model: Any, look: Callable[[], None] = go_on) -> Iterator[None]:
    """Call `look` before each part of each layer of a model, so that it can end a forward pass by an exception."""
    layers = getattr(model.get_decoder(), "layers", ())
    # The attention of one layer over thousands of tokens takes half a second.
    parts = [part for layer in layers for part in layer.children() if next(part.children(), None) is not None]
    hooks = [part.register_forward_pre_hook(lambda *_: look()) for part in parts or layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def progress(title: str, total: int) -> Iterator[Advance]:
    """Show the progress of the block; it yields a function to call with the number of steps done (default 1).

    `advance(1, "loss 0.61")` also changes the note that is shown.
    """
    if not total:
        yield lambda *_: None
        return
    with _bar(title, total) if sys.stderr.isatty() else _lines(title, total) as advance:
        yield advance


@contextmanager
def in_notebook(title: str, total: int, advance: Advance | None) -> "Iterator[Advance | None]":
    """Yield what is told of steps: `advance` where there is one, else a bar where this is a notebook."""
    if advance is None and total > 1 and notebook.is_running():
        with progress(title, total) as advance:
            yield advance
    else:
        yield advance


@contextmanager
def _bar(title: str, total: int) -> Iterator[Advance]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=console(), transient=True) as bar:
        task = bar.add_task(one_line(title), total=total, note="")

        def advance(steps: int = 1, note: str = "") -> None:
            bar.update(task, advance=steps, note=one_line(note))

        yield advance


@contextmanager
def _lines(title: str, total: int) -> Iterator[Advance]:
    lines = _Lines(title, total)
    _RUNNING.append(lines)
    try:
        # Of nested work, only the innermost prints its progress.
        with told_now_and_then(lambda: lines.now() if _RUNNING[-1:] == [lines] else ""):
            yield lines.advance
    finally:
        _RUNNING.remove(lines)


@contextmanager
def told_now_and_then(line: Callable[[], str]) -> Iterator[None]:
    """Print what `line` returns on stderr every ten seconds while the block runs; an empty line is not printed.

    In a notebook the line stands in the cell, and is rewritten twice a second.
    """
    ended = threading.Event()
    in_cell = notebook.is_running()
    write, every = (notebook.rewritten(), SOON) if in_cell else (_on_stderr, EVERY)

    def tell() -> None:
        while not ended.wait(every):
            if said := line():
                write(said)

    # A separate thread can print while one step takes long.
    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()
        if in_cell and (said := line()):
            write(said)


def _on_stderr(said: str) -> None:
    sys.stderr.write(f"{said}\n")
    sys.stderr.flush()


class _Lines:
    """The progress of a piece of work, as lines of text."""

    def __init__(self, title: str, total: int) -> None:
        self.title, self.total, self.done, self.note = title, total, 0, ""
        self.started = time.monotonic()

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.done, self.note = self.done + steps, note

    def now(self) -> str:
        """Return the line for this moment."""
        return self.line(time.monotonic() - self.started)

    def line(self, seconds: float) -> str:
        """Return the steps done after so many seconds, with the note and the estimated time left."""
        note = f", {self.note}" if self.note else ""
        left = f", about {duration(seconds * (self.total - self.done) / self.done)} left" if self.done else ""
        bar = f"{notebook.bar(self.done, self.total)} " if notebook.is_running() else ""
        left = left if self.done < self.total else ""
        return one_line(f"{self.title}: {bar}{self.done:,} of {self.total:,}{note}{left}")


def duration(seconds: float) -> str:
    """Return a time in a readable unit: `40 s`, `7 min` or `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
