"""The time limit of a training, checked at every layer within a step, so that it is kept within seconds."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from bundlewise.progress import stopping


class TimeIsOver(BaseException):
    """The given minutes are over; this is a BaseException, so that no library handles it as an error."""


@dataclass
class Deadline:
    """A time limit in minutes from the start, less the seconds that earlier runs of the same work took."""

    minutes: float | None = None
    earlier: float = 0.0
    started: float = field(default_factory=perf_counter)

    @property
    def left(self) -> float:
        """The seconds left; infinite without a limit."""
        if self.minutes is None:
            return float("inf")
        return 60 * self.minutes - self.earlier - (perf_counter() - self.started)

    def check(self) -> None:
        """Check the time.

        Raises:
            TimeIsOver: the time is over.
        """
        if self.left <= 0:
            raise self.over()

    def over(self) -> TimeIsOver:
        """Return the exception for the end of the time."""
        return TimeIsOver(f"{self.minutes:g} minutes are over")

    @contextmanager
    def alarm(self) -> Iterator[None]:
        """Stop the block at any point when the time is over; use it only for work that may be interrupted.

        Without timer signals (on Windows, in other threads) the time is checked only before the block.
        """
        self.check()
        is_main = threading.current_thread() is threading.main_thread()
        if self.minutes is None or not is_main or not hasattr(signal, "setitimer"):
            yield
            return

        def ring(*_: object) -> None:
            raise self.over()

        before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, max(self.left, 1e-6))
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    @contextmanager
    def within(self, model: Any) -> Iterator[None]:
        """Check the time at each layer of a model, forwards and backwards; Ctrl-C can interrupt there too."""
        base = model.get_base_model()
        layers = getattr(base.get_decoder(), "layers", ())
        hooks = [layer.register_forward_hook(self._look_backwards) for layer in layers]
        try:
            with stopping(base, self.check):
                yield
        finally:
            for hook in hooks:
                hook.remove()

    def _look_backwards(self, _: Any, __: Any, output: Any) -> None:
        states = output[0] if isinstance(output, tuple) else output
        if states.requires_grad:
            states.register_hook(lambda _: self.check())
