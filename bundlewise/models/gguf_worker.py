"""The process that converts a GGUF file: transformers reads it, and what was read is compared with the file."""

import json
import math
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bundlewise.models.gguf_header import GgufHeader
from bundlewise.settings import quiet_libraries

PROBES = (
    "Ünïcode, 2 x 128 GB (USB-C) isn't 100 %",
    "  two  spaces\n\nand lines\t",
    "<|im_start|>user\nHello<|im_end|>\n",
)
"""Texts that the tokenizer must split alike before and after it is saved."""
SPLITS = {"gpt-2", "phi-2", "mpt", "olmo", "jais"}
"""Names of the way in which GPT-2 splits a text into words; transformers splits so if it does not know a name."""
DIGITS = {"smollm", "starcoder", "refact", "command-r", "codeshell"}
"""Names of ways that differ from GPT-2's only in that each digit is a word."""
SPECIAL = {"bos_token": "bos_token_id", "eos_token": "eos_token_id"}
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
"""How Llama 3.1 and later stretch positions; a GGUF file holds only the resulting factors, as a tensor."""
FACTORS = "rope_freqs.weight"
TIED = {"falcon", "bloom"}
"""Families whose output matrix transformers takes from the embeddings even where the file repeats it."""


class UnreadableError(Exception):
    """What is wrong with the file, as the end of a sentence that begins with its path."""


def main(source: str, folder: str) -> None:
    """Convert a file to a folder; write a line of JSON after each step: null, or what is wrong with the file."""
    line = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Libraries may print.
    threading.Thread(target=_end_with_the_parent, daemon=True).start()

    def tell(fault: str | None = None) -> None:
        line.write(json.dumps(fault) + "\n")
        line.flush()

    try:
        convert(Path(source), Path(folder), tell)
    except UnreadableError as error:
        tell(str(error))


def _end_with_the_parent() -> None:
    os.read(0, 1)  # Nothing is ever written to it; sys.stdin would hold a lock at the end of the process.
    os._exit(1)


def convert(source: Path, folder: Path, done: Callable[[], None]) -> None:
    """Write the model and the tokenizer of a file; call `done` after each step.

    Raises:
        UnreadableError: the file holds no language model that transformers reads completely.
    """
    quiet_libraries()
    header = GgufHeader.read(source)
    config = configuration(source, header)
    check_tokenizer(header)
    done()
    model = loaded(source, header, config)
    done()
    model.save_pretrained(folder, max_shard_size="1TB")
    del model
    done()
    save_tokenizer(source, header, folder)
    done()


def configuration(source: Path, header: GgufHeader) -> Any:
    """Return the configuration of the model, a causal language model."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    family = header.architecture
    known = "give a causal language model of a family that it reads, such as llama, qwen2, qwen3, gemma3 or phi3"
    try:
        config = AutoConfig.from_pretrained(source.parent, gguf_file=source.name)
    except (ValueError, KeyError, IndexError) as error:
        what = f"holds a model of the family {family!r}" if family else "does not say the family of its model"
        raise UnreadableError(f"{what}, which transformers cannot read ({_first(error)}); {known}") from error
    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise UnreadableError(f"holds a model of the family {family!r}, which is no causal language model; {known}")
    set_positions(source, header, config)
    return config


def set_positions(source: Path, header: GgufHeader, config: Any) -> None:
    """Add to a configuration how the file stretches positions, which transformers leaves out."""
    how = header.said("rope.scaling.type")
    if how not in (None, "none") and header.said("rope.scaling.factor") != 1:
        raise UnreadableError(
            f"stretches the positions of its tokens ({how}), which transformers does not read; "
            "give the folder that it was made from"
        )
    if any(tensor.name == FACTORS for tensor in header.tensors):
        config.rope_parameters = llama3(source, header)


def llama3(source: Path, header: GgufHeader) -> dict[str, Any]:
    """Return the parameters of positions that give the factors in the file, as Llama 3 computes them."""
    from gguf import GGUFReader

    (tensor,) = (each for each in GGUFReader(source).tensors if each.name == FACTORS)
    found, theta = [float(value) for value in tensor.data.reshape(-1)], float(header.said("rope.freq_base") or 10_000)
    low, high, old = LLAMA3.values()
    expected, largest = [], max(found)
    for place in range(len(found)):
        turns = old / (2 * math.pi * theta ** (place / len(found)))
        share = min(1.0, max(0.0, (turns - low) / (high - low)))
        expected.append(1 / ((1 - share) / largest + share))
    if not all(math.isclose(a, b, rel_tol=1e-3) for a, b in zip(found, expected, strict=True)):
        raise UnreadableError(
            "stretches the positions of its tokens otherwise than Llama 3; give the folder that it was made from"
        )
    return {"rope_type": "llama3", "rope_theta": theta, "factor": largest, **LLAMA3}


def loaded(source: Path, header: GgufHeader, config: Any) -> Any:
    """Return the model in bfloat16; all its weights come from the file, and all of the file's are in it."""
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    # Without dequantizing, the model counts as quantised and cannot be trained or saved.
    plain = {"quantization_config": GgufConfig(dequantize=True), "dtype": torch.bfloat16, "config": config}
    model, about = AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, output_loading_info=True, ignore_mismatched_sizes=True, **plain
    )
    if other := sorted(about["mismatched_keys"]):
        name, found, wanted = other[0]
        raise UnreadableError(
            f"holds {name} with the shape {tuple(found)}, {type(model).__name__} wants {tuple(wanted)}; "
            "give the folder that it was made from"
        )
    if missing := sorted(about["missing_keys"]):
        raise UnreadableError(
            f"lacks {len(missing)} of the tensors of {type(model).__name__}, such as {missing[0]}; "
            "give the GGUF file of a whole model of one of the families that transformers reads"
        )
    here = sum(tensor.weights for tensor in header.tensors if _is_used(tensor.name, config, header))
    if (taken := sum(weights.numel() for weights in model.parameters())) != here:
        raise UnreadableError(
            f"holds {here:,} weights, of which {type(model).__name__} of transformers takes {taken:,}: answers would "
            "be wrong; give the folder that it was made from"
        )
    return model


def _is_used(name: str, config: Any, header: GgufHeader) -> bool:
    """Say whether a tensor is part of the model: not the factors of positions, nor layers for guessing ahead."""
    layer = re.match(r"blk\.(\d+)\.", name)
    if layer and int(layer[1]) >= config.num_hidden_layers:
        return False
    return name != FACTORS and not (name == "output.weight" and header.architecture in TIED)


def check_tokenizer(header: GgufHeader) -> None:
    """Check that the file has a tokenizer, and that transformers splits texts into words as it does."""
    facts = header.facts
    tokens = facts.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not tokens or "tokenizer.ggml.model" not in facts:
        raise UnreadableError("has no tokenizer; convert the model again from a folder with its tokenizer")
    for key in SPECIAL.values():
        if not 0 <= facts.get(f"tokenizer.ggml.{key}", 0) < len(tokens):
            raise UnreadableError(f"is damaged: its {key} is outside of its {len(tokens):,} tokens; fetch it again")
    if facts["tokenizer.ggml.model"] == "gpt2" and not _is_split_alike(facts.get("tokenizer.ggml.pre"), tokens):
        raise UnreadableError(
            f"splits texts as {facts.get('tokenizer.ggml.pre') or 'an old file that does not say how'}, "
            "which transformers cannot; give the folder that it was made from"
        )


def _is_split_alike(split: str | None, tokens: list[str]) -> bool:
    """Say whether transformers splits a text into words as a file asks for."""
    if split in DIGITS:
        return not any(len(token) > 1 and re.search(r"\d", token) and "<" not in token for token in tokens)
    if split in SPLITS:
        return True
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    return split in GGUF_PRE_TOKENIZER_SPLITS


def save_tokenizer(source: Path, header: GgufHeader, folder: Path) -> None:
    """Save the tokenizer with the chat template, and check that what is saved works as the file says."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise UnreadableError(f"has a tokenizer that transformers cannot read ({_first(error)})") from error
    tokenizer.save_pretrained(folder)
    saved, facts = AutoTokenizer.from_pretrained(folder), header.facts
    same = all(saved.encode(text) == tokenizer.encode(text) for text in PROBES)
    same = same and saved.chat_template == facts.get("tokenizer.chat_template")
    for name, key in SPECIAL.items():
        same = same and getattr(saved, f"{name}_id") == facts.get(f"tokenizer.ggml.{key}")
    if not same:
        raise UnreadableError(
            "has a tokenizer that transformers saves with other tokens or another chat template; "
            "give the folder that it was made from"
        )


def _first(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
