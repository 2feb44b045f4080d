"""The loader of causal language models: picks the fastest number format and device, and checks the memory."""

from pathlib import Path
from typing import Any

from bundlewise.errors import ModelError, UsageError
from bundlewise.extras import require
from bundlewise.models.memory import Format, require_memory


def preferred_dtype() -> Any:
    """Return bfloat16 if the hardware multiplies it faster than float32, else float32."""
    import torch

    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return torch.bfloat16 if torch.cuda.is_available() or supported() else torch.float32


def load_causal_lm(folder: Path, *, four_bit: bool = False, exact: bool = False) -> tuple[Any, Any]:
    """Load a causal language model and its tokenizer from a folder, onto the GPU if there is one.

    `exact` loads float32 on every machine, for comparisons that bfloat16 would blur.

    Raises:
        UsageError: `four_bit` is set, but there is no GPU or no bitsandbytes.
        ModelError: the weights need more memory than is free, or transformers cannot load the model.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    device, dtype = "cuda" if torch.cuda.is_available() else "cpu", torch.float32 if exact else preferred_dtype()
    weights: Format = "four_bit" if four_bit else "bfloat16" if dtype is torch.bfloat16 else "float32"
    options = {"quantization_config": four_bit_settings(device)} if four_bit else {}
    require_memory(folder, weights, device)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa", **options)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0].rstrip(" :")
        raise ModelError(f"cannot load a student from {folder}: {reason}; fetch it again or give another") from error
    return (model if four_bit else model.to(device)).eval(), tokenizer


def four_bit_settings(device: str) -> Any:
    """Return the settings for loading a model in four bits (NF4, computing in bfloat16).

    Raises:
        UsageError: there is no GPU, or no bitsandbytes.
    """
    if device != "cuda":
        raise UsageError("four bits need a GPU, this machine has none; leave out --four-bit, or choose preset tiny")
    require("four-bit", "holding a model in four bits")
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.bfloat16,
        bnb_4bit_use_double_quant=True,
    )
