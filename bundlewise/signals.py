"""Stopping: a signal to end is taken as Ctrl-C is, and told apart by the exit code."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
RAISING = (signal.SIGINT, *ENDING, *(getattr(signal, name) for name in ("SIGALRM",) if hasattr(signal, name)))
"""Signals whose handlers may raise anywhere in the main thread."""


@dataclass
class Stopped:
    """The signal that has stopped the work, and the exit code that says so: 130 is Ctrl-C, 143 SIGTERM, 129 SIGHUP."""

    number: int = signal.SIGINT

    @property
    def code(self) -> int:
        """The exit code by which shells tell a signal."""
        return 128 + self.number

    def end(self, number: int, frame: FrameType | None) -> None:
        """Do what Ctrl-C does at this moment: what is done is kept, and temporary files go."""
        self.number = number
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler):
            handler(number, frame)
        else:
            # A shell lets its background jobs ignore Ctrl-C.
            raise KeyboardInterrupt


def signals_end() -> None:
    """Let signals end the process at once, for work that keeps nothing and waits where no exception comes through."""

    def end(number: int, _: FrameType | None) -> None:
        os._exit(128 + number)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, *ENDING):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, end)


@contextmanager
def signals_stop() -> Iterator[Stopped]:
    """Let SIGTERM and SIGHUP stop the block as Ctrl-C does; one that is ignored, by nohup say, stays ignored."""
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
    """Let signals that would break the block off wait until it has ended, however it ends; keep the block short.

    `tell` hears of each signal when it comes.

    Only the main thread is broken off by signals: in others nothing changes. A signal without a handler of Python keeps
    its effect.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard, before, is_over = list[int](), dict[int, Any](), False

    def hear(number: int, frame: FrameType | None) -> None:
        # A signal that comes while the handlers are put back meets some that are not yet.
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
    """Signals that are noted and break off only blocks that allow it, each at most once.

    It is for work that must end in good order, and of which parts may be given up.
    """

    heard: list[int] = field(default_factory=list)
    _breaks: bool = False

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note the signals of the block; one that came is raised at its end."""
        self.heard.clear()
        with signals_wait(self._hear):
            yield

    @contextmanager
    def breaking(self) -> Iterator[None]:
        """Let the first signal break the block off, also one that came before it; more of them are noted."""
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
