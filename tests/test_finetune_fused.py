"""LoRA as one operation: the numbers of peft's own layer, forwards and backwards, and peft's layer for all the rest."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import Linear
from torch import nn

from bundlewise.agents.student import load
from bundlewise.agents.student.load import load_causal_lm
from bundlewise.finetune import fused
from bundlewise.finetune.config import TARGETS, TrainingConfig
from bundlewise.finetune.fused import FusedLinear
from bundlewise.finetune.lora import lora_settings, with_lora

SHAPE = (2, 5, 6)


class Two(nn.Module):
    """Two layers, so that the first one's output needs a gradient and the second one's input gets one."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(6, 7, bias=bias, dtype=torch.float64)
        self.second = nn.Linear(7, 4, bias=bias, dtype=torch.float64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.second(torch.tanh(self.first(x)))
        return out


def tuned(plain: bool, biased: bool = False, **options: Any) -> Any:
    """Return `Two` with LoRA whose weights are all random, as after some steps."""
    settings = LoraConfig(r=3, lora_alpha=6, target_modules=["first", "second"], **options)
    if not plain:
        settings._register_custom_module({nn.Linear: FusedLinear})
    torch.manual_seed(1)
    model: Any = get_peft_model(Two(biased), settings, autocast_adapter_dtype=False)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            nn.init.normal_(weight)
    return model.double()


def layers_of(model: Any) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, Linear)]


def given() -> torch.Tensor:
    return torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def count_fused(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by one with each fused operation."""
    calls: list[int] = []
    forward = fused._LowRank.forward

    def counted(*arguments: Any) -> Any:
        calls.append(1)
        return forward(*arguments)

    monkeypatch.setattr(fused._LowRank, "forward", staticmethod(counted))
    return calls


@pytest.mark.parametrize("bias", [False, True])
def test_outputs_and_gradients_are_those_of_peft(bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count_fused(monkeypatch)
    found = []
    for plain in (True, False):
        model, x = tuned(plain, bias), given().requires_grad_()
        y = model(x)
        y.square().sum().backward()
        gradients = {n: w.grad for n, w in model.named_parameters() if w.requires_grad}
        assert set(gradients) == {n for n, _ in model.named_parameters() if "lora_" in n}
        found.append((y.detach(), x.grad, gradients))
    assert len(calls) == 2
    for expected, got in zip(found[0][:2], found[1][:2], strict=True):
        torch.testing.assert_close(got, expected)
    torch.testing.assert_close(found[1][2], found[0][2])


def test_gradients_are_those_of_finite_differences() -> None:
    def leaf(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64).requires_grad_()

    torch.manual_seed(0)
    weight, bias = leaf(4, 6).detach(), leaf(4).detach()
    assert torch.autograd.gradcheck(
        lambda x, a, b: fused._LowRank.apply(x, weight, bias, a, b, 1.7), (leaf(5, 6), leaf(3, 6), leaf(4, 3))
    )


def test_inputs_that_need_no_gradient_and_frozen_weights_get_none() -> None:
    model = tuned(plain=False)
    x = given()
    model(x).sum().backward()
    assert x.grad is None
    assert all(layer.base_layer.weight.grad is None for layer in layers_of(model))


def test_an_adapter_that_is_off_or_merged_is_left_to_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count_fused(monkeypatch)
    model, x = tuned(plain=False), given()
    expected = model(x).detach()
    assert len(calls) == 2
    with model.disable_adapter():
        torch.testing.assert_close(model(x), Two(bias=False)(x))
    model.merge_adapter()
    torch.testing.assert_close(model(x), expected)
    assert len(calls) == 2
    model.unmerge_adapter()
    torch.testing.assert_close(model(x), expected)
    assert len(calls) == 4


@pytest.mark.parametrize("options", [{"lora_dropout": 0.5}, {"use_dora": True}, {"lora_bias": True}, {"bias": "all"}])
def test_what_is_more_than_plain_lora_is_left_to_peft(options: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count_fused(monkeypatch)
    found = []
    for plain in (True, False):
        model = tuned(plain, biased=True, **options)
        torch.manual_seed(3)
        found.append(model(given()).detach())
    torch.testing.assert_close(found[1], found[0])
    assert not calls


def test_two_adapters_at_once_are_left_to_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count_fused(monkeypatch)
    found = []
    for plain in (True, False):
        model = tuned(plain)
        torch.manual_seed(4)
        model.add_adapter("other", model.peft_config["default"])
        model.double().base_model.set_adapter(["default", "other"])
        found.append(model(given()).detach())
    torch.testing.assert_close(found[1], found[0])
    assert not calls


def test_weights_of_another_format_are_left_to_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count_fused(monkeypatch)
    model = tuned(plain=False)
    for layer in layers_of(model):
        layer.lora_A.float()
        layer.lora_B.float()
    assert model(given()).dtype is torch.float64
    assert not calls


def test_autocast_is_left_to_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count_fused(monkeypatch)
    model = tuned(plain=False).float()
    with torch.autocast("cpu", torch.bfloat16):
        assert model(given().float()).dtype is torch.bfloat16
    assert not calls


@pytest.mark.parametrize("x", [torch.zeros(0, 5, 6), torch.ones(3, 6), torch.ones(6, 5, 2).transpose(0, 2)])
def test_inputs_of_any_shape(x: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count_fused(monkeypatch)
    expected = tuned(plain=True)(x.double())
    torch.testing.assert_close(tuned(plain=False)(x.double()), expected)
    assert len(calls) == 2


def test_bfloat16_is_within_its_rounding_of_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count_fused(monkeypatch)
    expected = tuned(plain=True).bfloat16()(given().bfloat16())
    torch.testing.assert_close(tuned(plain=False).bfloat16()(given().bfloat16()), expected, atol=0.05, rtol=0.05)
    assert len(calls) == 2


def logits(model: Any) -> Any:
    with torch.inference_mode():
        return model(input_ids=torch.tensor([[5, 9, 11, 4]])).logits


def shaken(model: Any) -> Any:
    """Return the model with other LoRA weights than those it begins with, which add nothing."""
    torch.manual_seed(5)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            nn.init.normal_(weight, std=0.05)
    return model.eval()


@pytest.fixture
def exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load in float32 on every machine: bfloat16 rounds more than the tolerances here."""
    monkeypatch.setattr(load, "preferred_dtype", lambda: torch.float32)


@pytest.mark.usefixtures("exactly")
def test_a_student_is_tuned_by_fused_layers_and_saved_as_any_adapter(tiny_student: Path, tmp_path: Path) -> None:
    config = TrainingConfig(rank=4, layers=1)
    model = shaken(with_lora(load_causal_lm(tiny_student)[0], config))
    assert [type(layer) for layer in layers_of(model)] == [FusedLinear] * len(TARGETS)
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(load_causal_lm(tiny_student)[0], str(tmp_path))
    assert {type(layer) for layer in layers_of(again)} == {Linear}
    torch.testing.assert_close(logits(again), logits(model), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logits(again.merge_and_unload()), logits(model), atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("exactly")
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_student_gets_the_gradients_of_peft(
    tiny_student: Path, checkpointing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count_fused(monkeypatch)
    config = TrainingConfig(rank=4, layers=0, gradient_checkpointing=checkpointing)
    base = load_causal_lm(tiny_student)[0]
    plain = get_peft_model(base, lora_settings(base, config), autocast_adapter_dtype=False)
    found = []
    for model in (plain, with_lora(load_causal_lm(tiny_student)[0], config)):
        shaken(model).train()
        ids = torch.tensor([[5, 9, 11, 4, 7]])
        model(input_ids=ids, labels=ids).loss.backward()
        found.append({n: w.grad for n, w in model.named_parameters() if w.requires_grad})
    # Between checkpoints nothing is kept, so every layer is run again on the way back.
    assert len(calls) == 2 * len(TARGETS) * (2 if checkpointing else 1)
    assert set(found[0]) == set(found[1]) and any(bool(grad.any()) for grad in found[0].values())
    torch.testing.assert_close(found[1], found[0], atol=1e-6, rtol=1e-4)


def test_a_base_of_four_bits_keeps_the_layers_of_peft(tiny_student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peft.prepare_model_for_kbit_training", lambda model, **options: model)
    model = with_lora(load_causal_lm(tiny_student)[0], TrainingConfig(rank=4, layers=1, four_bit=True))
    assert {type(layer) for layer in layers_of(model)} == {Linear}


def test_a_base_that_comes_quantized_keeps_the_layers_of_peft(tiny_student: Path) -> None:
    base = load_causal_lm(tiny_student)[0]
    base.is_quantized = True
    model = with_lora(base, TrainingConfig(rank=4, layers=1))
    assert {type(layer) for layer in layers_of(model)} == {Linear}
