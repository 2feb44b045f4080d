"""Training with several processes, one per device, started by `accelerate launch`.

Each process computes its share of every batch. The gradients of the LoRA weights, which are small, are summed
over the processes, and all processes take the same step. A single process works in the same way.

Processes that wait for each other must stop together. So work that may be interrupted runs through `together`:
after it each process reports whether it was interrupted, and if one was, all stop.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bundlewise.extras import require
from bundlewise.finetune.deadline import TimeIsOver
from bundlewise.finetune.examples import Example
from bundlewise.signals import NotedSignals

T = TypeVar("T")
Stop = TimeIsOver | KeyboardInterrupt


@dataclass(frozen=True)
class Processes:
    """The number of a process, from 0, and how many there are."""

    rank: int = 0
    count: int = 1
    _signals: NotedSignals = field(default_factory=NotedSignals, compare=False, repr=False)

    @classmethod
    def current(cls) -> "Processes":
        """Return the rank and count of this process; it is the only one unless a launcher started several."""
        require("train", "tuning a student")
        import torch
        from accelerate import PartialState

        state = PartialState(cpu=not torch.cuda.is_available())
        return cls(state.process_index, state.num_processes)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and shows messages."""
        return self.rank == 0

    def share(self, batch: Sequence[Example]) -> list[Example]:
        """Return this process's part of a batch."""
        return list(batch[self.rank :: self.count])

    def sum_gradients(self, parameters: Sequence[Any]) -> None:
        """Replace the gradients of every process by their sum over all processes; a missing gradient counts as zero."""
        if self.count == 1:
            return
        import torch

        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            torch.distributed.all_reduce(parameter.grad)

    @contextmanager
    def stopping_together(self) -> Iterator[None]:
        """Let signals interrupt only work that runs through `together`; a signal at another moment waits for it."""
        if self.count == 1:
            yield
            return
        with self._signals.noted():
            yield

    def together(self, work: Callable[[], T]) -> list[T]:
        """Run this process's part of some work, and return the results of all processes by their rank.

        The work itself must not wait for other processes.

        Raises:
            TimeIsOver: the time of one process is over; all processes raise it.
            KeyboardInterrupt: a signal has stopped one process; all processes raise it.
        """
        if self.count == 1:
            return [work()]
        from accelerate.utils import gather_object

        # Each process gives a pair: its result, or the exception that stopped it; the other is None.
        results, stops = zip(*gather_object([self._result_or_stop(work)]), strict=True)
        if found := [stop for stop in stops if stop is not None]:
            # A signal has priority over the time, because the user waits for the end of the command.
            raise next((stop for stop in found if isinstance(stop, KeyboardInterrupt)), found[0])
        return list(results)

    def _result_or_stop(self, work: Callable[[], T]) -> tuple[T | None, Stop | None]:
        try:
            with self._signals.breaking():
                return work(), None
        except (TimeIsOver, KeyboardInterrupt) as stop:
            return None, stop

    def wait(self) -> None:
        """Wait until all processes have called this."""
        if self.count > 1:
            import torch

            torch.distributed.barrier()
