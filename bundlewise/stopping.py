"""Stop work that waits for paid answers: after the first signal it still waits for them, after the second it ends.

Python may call a signal's handler while the main thread holds any lock. So the handler only sets flags and writes to
a `SimpleQueue`, which is safe there; a separate thread does the rest.
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
"""The number of the signal that ends the work at any point."""


class Stoppable(Protocol):
    """Work that can be stopped."""

    def halt(self) -> int:
        """Start no more calls, and take no lock; return the number of calls whose answers are awaited."""

    def release(self) -> None:
        """End every wait except the waits for answers."""

    def hang_up(self) -> None:
        """Give up the answers that have not arrived."""

    def stopping(self, is_first: bool) -> None:
        """Show the user that the work is stopping."""


@contextmanager
def stoppable(work: Stoppable) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM stop the work of the block, which then ends with a KeyboardInterrupt.

    Only the main thread receives signals: in other threads nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stopping = _Stopping(work)
    attendant = threading.Thread(target=stopping.attend, daemon=True, name="stopping")
    attendant.start()
    # An existing handler of SIGTERM stays: it acts like Ctrl-C and sets the exit code.
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
        """Handle a signal; raise KeyboardInterrupt if no answer is awaited, or at the third signal."""
        self.count += 1
        under_way = self.work.halt()
        self.heard.put(self.count)
        if not under_way or self.count >= IMPATIENT:
            raise KeyboardInterrupt

    def attend(self) -> None:
        """Act on the signals until the block ends."""
        while count := self.heard.get():
            self.work.stopping(count == 1)
            self.work.release()
            if count > 1:
                self.work.hang_up()
