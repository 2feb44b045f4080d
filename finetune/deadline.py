"""The end of a training's time: looked for within a step too, layer by layer, so that it is kept within seconds."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from bundlewise.progress import stopping


class TimeIsOver(BaseException):
    """The minutes that were given are over; no error, and no library may take it for one."""


@dataclass
class Deadline:
    """When to stop: so many minutes after the start, less the seconds that earlier starts of the work have taken."""

    minutes: float | None = None
    earlier: float = 0.0
    started: float = field(default_factory=perf_counter)

    @property
    def left(self) -> float:
        """The seconds that are left, infinitely many without a limit."""
        if self.minutes is None:
            return float("inf")
        return 60 * self.minutes - self.earlier - (perf_counter() - self.started)

    def check(self) -> None:
        """Stop where it is called if the time is over.

        Raises:
            TimeIsOver: it is.
        """
        if self.left <= 0:
            raise self.over()

    def over(self) -> TimeIsOver:
        """Return what says that the time is over."""
        return TimeIsOver(f"{self.minutes:g} minutes are over")

    @contextmanager
    def alarm(self) -> Iterator[None]:
        """Stop the block anywhere within when the time is over; only for work that loses nothing by it.

        Without such clocks (Windows, other threads) the time is looked at only before the block.
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
        """Look at the time at each layer of a model, forwards and backwards, which also lets Ctrl-C through there."""
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
