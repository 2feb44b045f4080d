"""Training over several processes, one a device, as `accelerate launch` starts them.

Only LoRA gradients travel, which are small: each process takes its share of every batch, the gradients
are summed, and all take the same step. One process is the case of a sum with one term.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bundlewise.extras import require
from bundlewise.finetune.examples import Example


@dataclass(frozen=True)
class Processes:
    """The number of a process, from 0, and how many there are."""

    rank: int = 0
    count: int = 1

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

    def total(self, value: float) -> float:
        """Return the sum of a number over all processes."""
        if self.count == 1:
            return value
        from accelerate.utils import gather_object

        return float(sum(gather_object([value])))

    def from_first(self, value: Any) -> Any:
        """Return the first process's value everywhere."""
        if self.count == 1:
            return value
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]

    def wait(self) -> None:
        """Go on when all processes have come here."""
        if self.count > 1:
            import torch

            torch.distributed.barrier()
