"""Measure the tuning of every preset on this machine: tokens per second, share of the peak, memory and its estimate.

Speed and memory depend only on the shape of a base, so each base is replaced by a Llama of that shape with random
weights.
"""

import argparse
import json
import tempfile
from pathlib import Path
from time import perf_counter

from measuring import Numbers, alone, show
from training_speed import flops, peak, prepared

from bundlewise.errors import ModelError
from bundlewise.finetune.config import PRESETS, Preset, preset_named
from bundlewise.finetune.lora import with_lora
from bundlewise.finetune.training import Training
from bundlewise.models.folders import resolve
from bundlewise.models.memory import Format

WARM = 3


def save_random_base(preset: Preset, folder: Path) -> None:
    """Write a Llama of the preset's shape in bfloat16, with the embedded student's tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    shape = preset.shape
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        head_dim=shape.head or shape.hidden // shape.heads,
        tie_word_embeddings=shape.tied,
        max_position_embeddings=8192,
        dtype=torch.bfloat16,
    )
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(resolve("smollm2-135m")).save_pretrained(folder)


def tuned(name: str, data: str, steps: int) -> Numbers:
    """Tune a preset's shape with the preset's settings for some steps; memory is the GPU's, or the process's."""
    import torch

    preset = preset_named(name)
    config = preset.config.model_copy(update={"intents": 0.0, "evaluations": 0})
    on_gpu = torch.cuda.is_available()
    weights: Format = "four_bit" if config.four_bit else "bfloat16" if on_gpu else "float32"
    numbers: Numbers = {"estimated GB": round(preset.tuning_bytes(weights) / 1e9, 1)}
    with tempfile.TemporaryDirectory() as folder:
        save_random_base(preset, Path(folder))
        if on_gpu:
            torch.cuda.empty_cache()
        model, _, batches, _ = prepared(folder, data, steps + WARM, config)
        work = flops(folder, config)
        lora = with_lora(model, config)
        Training(lora, batches[:WARM], config, Path(folder, "warm")).run()
        start = perf_counter()
        result = Training(lora, batches[WARM:], config, Path(folder, "run")).run()
        seconds = perf_counter() - start
    numbers |= {"tokens a step": result.tokens // steps, "tokens/s": round(result.tokens / seconds, 1)}
    numbers |= {"share of peak": round(work * result.tokens / seconds / peak(), 3)}
    if on_gpu:
        numbers |= {"peak GB": round(torch.cuda.max_memory_reserved() / 1e9, 1)}
    return numbers


def main() -> None:
    """Tune every preset that fits this machine, and print a table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", choices=list(PRESETS), action="append")
    parser.add_argument("--data", default="electronics")
    parser.add_argument("--steps", type=int, default=20)
    given = parser.parse_args()
    found: Numbers = {}
    for name in given.preset or PRESETS:
        try:
            found[name] = alone(tuned, name, given.data, given.steps)
        except ModelError as error:
            print(f"{name}: {error}")
    show({"LoRA training of the presets' shapes": found})
    print(json.dumps(found))


if __name__ == "__main__":
    main()
