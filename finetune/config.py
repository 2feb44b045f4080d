"""The dials of LoRA training, one set for every way to start one."""

from pydantic import Field, ValidationError

from bundlewise.domain import Record
from bundlewise.errors import UsageError


class TrainingConfig(Record):
    """What determines a training besides its data; `layers` counts from the top, 0 means all of them.

    `evaluations` are spread evenly over the run, the last one at its end; the weights of the best are
    kept, and after `patience` of them without a better one the training stops.
    """

    epochs: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    rank: int = Field(default=16, ge=1)
    layers: int = Field(default=10, ge=0)
    batch_tokens: int = Field(default=500, ge=1)
    intents: float = Field(default=1.0, ge=0, le=1)
    evaluations: int = Field(default=2, ge=0)
    patience: int = Field(default=2, ge=1)
    gradient_checkpointing: bool = False
    four_bit: bool = False
    seed: int = 0

    @classmethod
    def of(cls, **options: float | None) -> "TrainingConfig":
        """Build a configuration from options; None keeps the default.

        Raises:
            UsageError: a value is out of its range.
        """
        try:
            return cls.model_validate({key: value for key, value in options.items() if value is not None})
        except ValidationError as error:
            fault = error.errors()[0]
            raise UsageError(f"{fault['loc'][0]}: {fault['msg'].lower()}, got {fault['input']}") from error

    def evaluates_after(self, step: int, steps: int) -> bool:
        """Say whether an evaluation follows a step, counted from 1."""
        return any(step == round(steps * turn / self.evaluations) for turn in range(1, self.evaluations + 1))
