"""Add LoRA weights to a loaded base."""

from typing import Any

from bundlewise.errors import UsageError
from bundlewise.finetune.config import TrainingConfig


def lora_settings(model: Any, config: TrainingConfig) -> Any:
    """Return peft's settings: LoRA on the projections of the top layers; the layers below stay frozen.

    Gradients do not flow through the lower layers, which saves their share of the backward pass.

    Raises:
        UsageError: the model has fewer layers than the config asks for.
    """
    from peft import LoraConfig

    count = model.config.num_hidden_layers
    if config.layers > count:
        raise UsageError(f"layers must be at most {count} for this student, got {config.layers}")
    chosen = list(range(count - config.layers, count)) if config.layers else None
    return LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha or 2 * config.rank,
        lora_dropout=config.dropout,
        target_modules=list(config.targets),
        layers_to_transform=chosen,
        task_type="CAUSAL_LM",
    )


def with_lora(model: Any, config: TrainingConfig) -> Any:
    """Return the model with LoRA by `lora_settings`, ready to be trained."""
    import torch
    from peft import get_peft_model, prepare_model_for_kbit_training

    from bundlewise.finetune.fused import FusedLinear

    torch.manual_seed(config.seed)
    settings = lora_settings(model, config)
    if config.four_bit:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    elif not getattr(model, "is_quantized", False):
        settings._register_custom_module({torch.nn.Linear: FusedLinear})
    tuned = get_peft_model(model, settings, autocast_adapter_dtype=False)
    if config.gradient_checkpointing:
        # With checkpointing the frozen embeddings pass no gradients, so the inputs must require them.
        tuned.enable_input_require_grads()
        base = tuned.get_base_model()
        # Newer versions of transformers have a new name, and warn about the old one.
        enable = getattr(base, "activation_checkpointing_enable", None) or base.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    return tuned
