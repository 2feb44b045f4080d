"""Presets: a base with the LoRA settings that suit its size, from a laptop's CPU to one large GPU."""

from dataclasses import dataclass

from bundlewise import memory
from bundlewise.errors import UsageError
from bundlewise.finetune.config import TrainingConfig
from bundlewise.memory import Format, Shape


@dataclass(frozen=True)
class Preset:
    """A base by name, its shape (published by its makers), and how it is tuned."""

    name: str
    student: str
    shape: Shape
    config: TrainingConfig

    def tuning_bytes(self, weights: Format) -> float:
        """Estimate the memory of tuning with weights of a format; on a GPU it is the GPU's."""
        return memory.tuning_bytes(
            self.shape,
            weights,
            rank=self.config.rank,
            layers=self.config.layers,
            batch_tokens=self.config.batch_tokens,
            checkpointing=self.config.gradient_checkpointing,
        )

    def serving_bytes(self, weights: Format) -> float:
        """Estimate the memory of answering with weights of a format."""
        return memory.serving_bytes(self.shape, weights)


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            "tiny",
            "smollm2-135m",
            Shape(576, 30, 1536, 49152, 9, 3, tied=True),
            TrainingConfig(),
        ),
        Preset(
            "small",
            "Qwen/Qwen2.5-0.5B-Instruct",
            Shape(896, 24, 4864, 151936, 14, 2, tied=True),
            TrainingConfig(learning_rate=5e-4, layers=12, batch_tokens=2000),
        ),
        Preset(
            "base",
            "Qwen/Qwen3-4B-Instruct-2507",
            Shape(2560, 36, 9728, 151936, 32, 8, tied=True, head=128),
            TrainingConfig(learning_rate=2e-4, layers=0, batch_tokens=4000, gradient_checkpointing=True),
        ),
        Preset(
            "large",
            "meta-llama/Llama-3.1-8B-Instruct",
            Shape(4096, 32, 14336, 128256, 32, 8, tied=False),
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
