"""Training over several processes, one a device, as `accelerate launch` starts them.

Only LoRA gradients travel, which are small: each process takes its share of every batch, the gradients
are summed, and all take the same step. One process is the case of a sum with one term.

Processes that wait for each other must stop together. So what may be broken off runs `together`: afterwards
each tells whether it was, and all stop where one was.
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
        """Return where this process stands; alone unless a launcher says otherwise."""
        require("train", "tuning a student")
        import torch
        from accelerate import PartialState

        state = PartialState(cpu=not torch.cuda.is_available())
        return cls(state.process_index, state.num_processes)

    @property
    def first(self) -> bool:
        """Say whether this is the process that writes files and speaks to the user."""
        return self.rank == 0

    def share(self, batch: Sequence[Example]) -> list[Example]:
        """Return this process's part of a batch."""
        return list(batch[self.rank :: self.count])

    def sum_gradients(self, parameters: Sequence[Any]) -> None:
        """Give every process the sum of all processes' gradients; one without any counts as zero."""
        if self.count == 1:
            return
        import torch

        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            torch.distributed.all_reduce(parameter.grad)

    @contextmanager
    def stopping_together(self) -> Iterator[None]:
        """Let signals of the block break off only what runs `together`; one that comes elsewhere waits for it."""
        if self.count == 1:
            yield
            return
        with self._signals.noted():
            yield

    def together(self, work: Callable[[], T]) -> list[T]:
        """Do this process's part of a work and return the results of all parts, by process.

        The work itself must not wait for other processes.

        Raises:
            TimeIsOver: the time of one process is over; all raise it.
            KeyboardInterrupt: a signal has stopped one process; all raise it.
        """
        if self.count == 1:
            return [work()]
        from accelerate.utils import gather_object

        # Each process gives one pair, of which one half is None.
        results, stops = zip(*gather_object([self._result_or_stop(work)]), strict=True)
        if found := [stop for stop in stops if stop is not None]:
            # A signal comes before the time: the user waits for the end of the command.
            raise next((stop for stop in found if isinstance(stop, KeyboardInterrupt)), found[0])
        return list(results)

    def _result_or_stop(self, work: Callable[[], T]) -> tuple[T | None, Stop | None]:
        try:
            with self._signals.breaking():
                return work(), None
        except (TimeIsOver, KeyboardInterrupt) as stop:
            return None, stop

    def wait(self) -> None:
        """Go on when all processes have come here."""
        if self.count > 1:
            import torch

            torch.distributed.barrier()
