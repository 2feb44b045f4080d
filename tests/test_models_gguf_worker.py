"""A GGUF file is converted with all its weights, its tokenizer and its chat template, or refused with a reason."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf.constants import GGMLQuantizationType
from gguf_samples import write_gguf
from transformers import AutoModelForCausalLM, AutoTokenizer

from bundlewise.models.gguf_worker import LLAMA3, UnreadableError, convert

TEXTS = ["Wireless mouse, 2x 15 in", "Ünïcode <|im_start|>user\nyes<|im_end|>", "  A   B\n\n- C"]


def converted(folder: Path, student: Path, **changes: Any) -> Path:
    (folder / "alone").mkdir()
    convert(write_gguf(folder / "alone" / "tiny.gguf", student, **changes), folder / "out", lambda: None)
    return folder / "out"


def logits(folder: Path) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).float()
    with torch.no_grad():
        return model(torch.tensor([[5, 60, 7, 300, 9, 1]])).logits


def test_a_converted_model_computes_and_splits_texts_as_the_original(tiny_student: Path, tmp_path: Path) -> None:
    folder = converted(tmp_path, tiny_student)
    assert torch.equal(logits(folder), logits(tiny_student))
    ours, theirs = AutoTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(tiny_student)
    assert [ours.encode(text) for text in TEXTS] == [theirs.encode(text) for text in TEXTS]
    assert ours.chat_template == theirs.chat_template
    assert (ours.bos_token, ours.eos_token) == (theirs.bos_token, theirs.eos_token)


def test_quantised_weights_are_nearly_those_of_the_original(tiny_student: Path, tmp_path: Path) -> None:
    folder = converted(tmp_path, tiny_student, kind=GGMLQuantizationType.Q8_0)
    assert torch.allclose(logits(folder), logits(tiny_student), atol=0.02)


def test_the_stretched_positions_of_llama_3_are_kept(tiny_student: Path, tmp_path: Path) -> None:
    low, high, old = LLAMA3.values()
    turns = [old / (2 * math.pi * 500_000 ** (place / 4)) for place in range(4)]
    shares = [min(1.0, max(0.0, (turn - low) / (high - low))) for turn in turns]
    factors = np.array([1 / ((1 - share) / 32 + share) for share in shares], np.float32)
    facts = {"llama.rope.freq_base": 500_000.0}
    folder = converted(tmp_path, tiny_student, facts=facts, tensors={"rope_freqs.weight": factors})
    found = AutoModelForCausalLM.from_pretrained(folder)
    wanted = {"rope_type": "llama3", "rope_theta": 500_000.0, "factor": 32.0, **LLAMA3}
    assert found.config.rope_parameters == wanted
    inverse = 500_000.0 ** (-torch.arange(4) / 4) / torch.from_numpy(factors)
    assert torch.allclose(found.model.rotary_emb.inv_freq, inverse, rtol=1e-3)


@pytest.mark.parametrize(
    ("facts", "tensors", "message"),
    [
        ({"general.architecture": "clip"}, {}, "holds a model of the family 'clip', which transformers cannot read"),
        ({"general.architecture": "bert"}, {}, "holds a model of the family 'bert', which transformers cannot read"),
        ({"general.architecture": "t5"}, {}, "'t5', which is no causal language model"),
        ({"tokenizer.ggml.tokens": None}, {}, "has no tokenizer"),
        ({"tokenizer.ggml.model": "bert"}, {}, "has a tokenizer that transformers cannot read"),
        ({"tokenizer.ggml.pre": None}, {}, "an old file that does not say how, which transformers cannot"),
        ({"tokenizer.ggml.pre": "deepseek-llm"}, {}, "splits texts as deepseek-llm, which transformers cannot"),
        ({"tokenizer.ggml.pre": "smollm"}, {}, "splits texts as smollm"),
        ({"tokenizer.ggml.eos_token_id": 10**6}, {}, "eos_token_id is outside of its 328 tokens"),
        ({"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0}, {}, "stretches the positions"),
        ({}, {"rope_freqs.weight": np.array([1, 2, 3, 4], np.float32)}, "otherwise than Llama 3"),
        (
            {},
            {"blk.1.ffn_up.weight": None},
            "lacks 1 of the tensors of LlamaForCausalLM, such as model",
        ),
        ({}, {"blk.1.attn_q.bias": np.zeros(32, np.float32)}, "answers would be wrong"),
        (
            {},
            {"blk.1.ffn_up.weight": np.zeros((32, 32), np.float32)},
            r"the shape \(32, 32\), .* wants \(64, 32\)",
        ),
    ],
)
def test_what_cannot_be_read_completely_is_refused(
    tiny_student: Path, tmp_path: Path, facts: dict[str, Any], tensors: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnreadableError, match=message):
        converted(tmp_path, tiny_student, facts=facts, tensors=tensors)
