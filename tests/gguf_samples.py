"""Real GGUF files of tiny random models, written from a folder that transformers can load."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFWriter
from gguf.constants import GGMLQuantizationType
from gguf.quants import quantize
from transformers import AutoModelForCausalLM

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "model.layers": "blk",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
"""The parts of transformers' names for weights, and how a GGUF file names them."""
CONTROL, NORMAL = 3, 1
"""Types of tokens."""


def write_gguf(
    path: Path,
    student: Path,
    facts: Mapping[str, Any] | None = None,
    tensors: Mapping[str, Any] | None = None,
    kind: GGMLQuantizationType = GGMLQuantizationType.F32,
) -> Path:
    """Write a Llama from a folder as a GGUF file.

    `facts` and `tensors` are added, or replace those of the model; None leaves one out. Matrices are stored as `kind`.
    """
    writer = GGUFWriter(path, "llama")
    for key, value in (facts_of(student) | dict(facts or {})).items():
        _add(writer, key, value)
    for name, values in (tensors_of(student) | dict(tensors or {})).items():
        if values is not None and values.ndim > 1:
            writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)
        elif values is not None:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def facts_of(student: Path) -> dict[str, Any]:
    """Return the facts about a Llama and its tokenizer, by the keys of a GGUF file."""
    config = json.loads((student / "config.json").read_text("utf-8"))
    model = json.loads((student / "tokenizer.json").read_text("utf-8"))
    tokens = sorted(model["model"]["vocab"], key=model["model"]["vocab"].__getitem__)
    special = {token["content"] for token in model["added_tokens"]}
    return {
        "llama.context_length": config["max_position_embeddings"],
        "llama.embedding_length": config["hidden_size"],
        "llama.block_count": config["num_hidden_layers"],
        "llama.feed_forward_length": config["intermediate_size"],
        "llama.attention.head_count": config["num_attention_heads"],
        "llama.attention.head_count_kv": config["num_key_value_heads"],
        "llama.attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
        "llama.rope.dimension_count": config["hidden_size"] // config["num_attention_heads"],
        "llama.rope.freq_base": 10000.0,
        "general.license": "apache-2.0",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [CONTROL if token in special else NORMAL for token in tokens],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in model["model"]["merges"]],
        "tokenizer.ggml.bos_token_id": config["bos_token_id"],
        "tokenizer.ggml.eos_token_id": config["eos_token_id"],
        "tokenizer.chat_template": (student / "chat_template.jinja").read_text("utf-8"),
    }


def tensors_of(student: Path) -> dict[str, Any]:
    """Return the weights of a Llama by the names and in the order of a GGUF file."""
    model = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32)
    heads = {"attn_q": model.config.num_attention_heads, "attn_k": model.config.num_key_value_heads}
    found = {}
    for name, weights in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        for ours, theirs in NAMES.items():
            name = name.replace(ours, theirs)
        values = weights.numpy()
        if count := heads.get(name.split(".")[-2]):
            # A GGUF file holds the two halves of a head's positions in turn.
            halves = values.reshape(count, 2, -1, values.shape[1])
            values = np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(values.shape)
        found[name] = values
    return found


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    if key == "general.architecture":
        writer.kv_data[0].pop(key)
    if isinstance(value, str):
        writer.add_string(key, value)
    elif isinstance(value, list):
        writer.add_array(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif value is not None:
        writer.add_uint32(key, value)
