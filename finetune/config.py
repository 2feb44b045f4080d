"""The dials of LoRA training, and presets of them for bases of four sizes."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError, field_validator

from bundlewise.domain import Record
from bundlewise.errors import UsageError
from bundlewise.models import memory
from bundlewise.models.memory import Format, ModelShape

Target = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TARGETS: tuple[Target, ...] = get_args(Target)
"""The projections of a layer that get LoRA weights."""


class TrainingConfig(Record):
    """All that determines a training besides its data; `layers` counts from the top, 0 means all layers.

    LoRA's scale is `alpha` / `rank`, with an alpha of twice the rank by default. `without` is the share of whole
    answers that are taught without knowledge, so that one adapter serves every amount of it.

    `evaluations` are spread evenly over the run, the last one at its end. The weights of the best evaluation
    are kept, and the training stops after `patience` evaluations without a better one.
    """

    epochs: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    rank: int = Field(default=16, ge=1)
    alpha: int | None = Field(default=None, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: tuple[Target, ...] = Field(default=TARGETS, min_length=1)
    layers: int = Field(default=10, ge=0)
    batch_tokens: int = Field(default=500, ge=1)
    intents: float = Field(default=1.0, ge=0, le=1)
    without: float = Field(default=0.2, ge=0, le=1)
    evaluations: int = Field(default=2, ge=0)
    patience: int = Field(default=2, ge=1)
    gradient_checkpointing: bool = False
    four_bit: bool = False
    seed: int = 0

    @field_validator("targets", mode="before")
    @classmethod
    def _from_words(cls, targets: Any) -> Any:
        return tuple(name.strip() for name in targets.split(",")) if isinstance(targets, str) else targets

    @classmethod
    def of(cls, **options: Any) -> "TrainingConfig":
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


@dataclass(frozen=True)
class Preset:
    """The name of a base, its shape (published by its makers), and its training config."""

    name: str
    student: str
    shape: ModelShape
    config: TrainingConfig

    def tuning_bytes(self, weights: Format) -> float:
        """Estimate the memory in bytes of tuning with weights in a format; on a GPU it is the GPU's memory."""
        return memory.tuning_bytes(
            self.shape,
            weights,
            rank=self.config.rank,
            layers=self.config.layers,
            batch_tokens=self.config.batch_tokens,
            checkpointing=self.config.gradient_checkpointing,
        )

    def serving_bytes(self, weights: Format) -> float:
        """Estimate the memory in bytes of answering with weights in a format."""
        return memory.serving_bytes(self.shape, weights)


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            "tiny",
            "smollm2-135m",
            ModelShape(576, 30, 1536, 49152, 9, 3, tied=True),
            TrainingConfig(),
        ),
        Preset(
            "small",
            "Qwen/Qwen2.5-0.5B-Instruct",
            ModelShape(896, 24, 4864, 151936, 14, 2, tied=True),
            TrainingConfig(learning_rate=5e-4, layers=12, batch_tokens=2000),
        ),
        Preset(
            "base",
            "Qwen/Qwen3-4B-Instruct-2507",
            ModelShape(2560, 36, 9728, 151936, 32, 8, tied=True, head=128),
            TrainingConfig(learning_rate=2e-4, layers=0, batch_tokens=4000, gradient_checkpointing=True),
        ),
        Preset(
            "large",
            "meta-llama/Llama-3.1-8B-Instruct",
            ModelShape(4096, 32, 14336, 128256, 32, 8, tied=False),
            TrainingConfig(learning_rate=1e-4, layers=0, batch_tokens=4000, gradient_checkpointing=True, four_bit=True),
        ),
    )
}


def preset_named(name: str) -> Preset:
    """Return the preset of a name.

    Raises:
        UsageError: there is none.
    """
    if name not in PRESETS:
        raise UsageError(f"no preset named {name!r}; choose {', '.join(PRESETS)}")
    return PRESETS[name]
