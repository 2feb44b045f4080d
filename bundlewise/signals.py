"""Stopping: a signal to end is taken as Ctrl-C is, and told apart by the exit code."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

INTERRUPTED = 130
ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


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
