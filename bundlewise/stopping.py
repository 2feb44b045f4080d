"""Stopping work that waits for answers which are paid for: the first signal waits for them, the second leaves at once.

A signal is handled between any two steps of the main thread, which may hold any lock then. So its handler only sets
flags and writes to a queue that is made for this; a thread of its own does what is left.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Protocol

from bundlewise.errors import StoppedError

SIGNALS = (signal.SIGINT, signal.SIGTERM)
IMPATIENT = 3
"""The signal that ends the work wherever it stands."""


class Stoppable(Protocol):
    """Work that can be stopped."""

    def halt(self) -> int:
        """Let nothing more begin, without a lock; return how much is under way that is waited for."""

    def release(self) -> None:
        """End every wait but those for answers."""

    def hang_up(self) -> None:
        """Give up the answers that are on their way."""

    def stopping(self, is_first: bool) -> None:
        """Tell whoever watches."""


@contextmanager
def stoppable(work: Stoppable) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM stop the work of the block; the block ends with a KeyboardInterrupt then.

    Only the main thread hears signals: elsewhere nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stopping = _Stopping(work)
    attendant = threading.Thread(target=stopping.attend, daemon=True, name="stopping")
    attendant.start()
    # Where SIGTERM has a handler already, that one passes it on as Ctrl-C and tells it apart by the exit code.
    mine = [number for number in SIGNALS if number == signal.SIGINT or signal.getsignal(number) is signal.SIG_DFL]
    before = {number: signal.signal(number, stopping.hear) for number in mine}
    try:
        yield
    except StoppedError as error:
        raise KeyboardInterrupt from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        stopping.heard.put(0)
        attendant.join()


@dataclass
class _Stopping:
    work: Stoppable
    count: int = 0
    heard: "SimpleQueue[int]" = field(default_factory=SimpleQueue)

    def hear(self, *_: Any) -> None:
        """Handle a signal: where nothing is under way there is nothing to wait for."""
        self.count += 1
        under_way = self.work.halt()
        self.heard.put(self.count)
        if not under_way or self.count >= IMPATIENT:
            raise KeyboardInterrupt

    def attend(self) -> None:
        """Do what signals ask for, until the end of the block."""
        while count := self.heard.get():
            self.work.stopping(count == 1)
            self.work.release()
            if count > 1:
                self.work.hang_up()
