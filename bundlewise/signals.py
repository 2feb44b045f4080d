"""Stop signals: SIGTERM and SIGHUP act like Ctrl-C, with exit codes of their own."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
RAISING = (signal.SIGINT, *ENDING, *(getattr(signal, name) for name in ("SIGALRM",) if hasattr(signal, name)))
"""Signals whose handlers may raise anywhere in the main thread."""
UNWINDING = 0.5
"""Seconds after a signal has stopped the work in which further signals are ignored, while temporary files go."""


@dataclass
class Stopped:
    """The signal that stopped the work, and its exit code: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP.

    `since` is the time when it interrupted the work, None before.
    """

    number: int = signal.SIGINT
    since: float | None = None

    @property
    def code(self) -> int:
        """The exit code that shells use for this signal."""
        return 128 + self.number

    def end(self, number: int, frame: FrameType | None) -> None:
        """Stop the work as Ctrl-C does: finished work is kept and temporary files are removed."""
        if self.since is not None and time.monotonic() - self.since < UNWINDING:
            return
        self.number = number
        handler = signal.getsignal(signal.SIGINT)
        try:
            # A shell lets its background jobs ignore Ctrl-C.
            (handler if callable(handler) else signal.default_int_handler)(number, frame)
        except BaseException:
            self.since = time.monotonic()
            raise


def signals_end() -> None:
    """Let signals end the process at once: for work that keeps nothing and blocks where exceptions do not arrive."""

    def end(number: int, _: FrameType | None) -> None:
        os._exit(128 + number)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, *ENDING):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, end)


@contextmanager
def signals_stop() -> Iterator[Stopped]:
    """Let SIGTERM and SIGHUP stop the block as Ctrl-C does; an ignored signal (with nohup) stays ignored."""
    stopped, before = Stopped(), {}
    if threading.current_thread() is threading.main_thread():
        for number in ENDING:
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, stopped.end)
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def signals_wait(tell: Callable[[int], None] = lambda _: None) -> Iterator[None]:
    """Delay signals until the block has ended; keep the block short.

    `tell` is called for each signal when it arrives.

    Signals interrupt only the main thread: in other threads nothing changes. A signal without a Python handler
    keeps its effect.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard, before, is_over = list[int](), dict[int, Any](), False

    def hear(number: int, frame: FrameType | None) -> None:
        # While the old handlers are put back, a signal may still arrive here.
        if is_over:
            before[number](number, frame)
        else:
            heard.append(number)
            tell(number)

    try:
        for number in RAISING:
            handler = signal.getsignal(number)
            if callable(handler):
                before[number] = handler
                signal.signal(number, hear)
        yield
    finally:
        is_over = True
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in heard:
            signal.raise_signal(number)


@dataclass
class NotedSignals:
    """Signals that are recorded, and interrupt only the blocks that allow it, each block at most once.

    Use it for work that must end in order, but has parts that may be interrupted.
    """

    heard: list[int] = field(default_factory=list)
    _breaks: bool = False

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Record the signals during the block, and raise them at its end."""
        self.heard.clear()
        with signals_wait(self._hear):
            yield

    @contextmanager
    def breaking(self) -> Iterator[None]:
        """Let the first signal interrupt the block, even one from before the block; later signals are recorded."""
        try:
            self._breaks = True
            if self.heard:
                raise KeyboardInterrupt
            yield
        finally:
            self._breaks = False

    def _hear(self, number: int) -> None:
        self.heard.append(number)
        if self._breaks:
            self._breaks = False
            raise KeyboardInterrupt
