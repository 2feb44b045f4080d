"""A linear layer with LoRA as one differentiable operation: the same results as peft's, with fewer memory passes.

peft adds `B A x` to `W x` by operations that each write a tensor as large as the layer's output, and autograd does
the same backwards. docs/results.md shows the time and memory that the single operation saves.
"""

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch.autograd.function import once_differentiable


class _LowRank(torch.autograd.Function):
    """y = x Wᵀ + bias + s (x Aᵀ) Bᵀ for x (tokens, in), A (rank, in), B (out, rank); W (out, in), bias are frozen."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any, a: Any, b: Any, scaling: float) -> Any:
        low = x @ a.t()
        y = torch.nn.functional.linear(x, weight, bias)
        y.addmm_(low, b.t(), alpha=scaling)
        ctx.save_for_backward(x, weight, a, b, low)
        ctx.scaling = scaling
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Any) -> tuple[Any, ...]:
        x, weight, a, b, low = ctx.saved_tensors
        grad_low = (grad @ b).mul_(ctx.scaling)
        grad_b = (grad.t() @ low).mul_(ctx.scaling)
        grad_x = (grad @ weight).addmm_(grad_low, a) if ctx.needs_input_grad[0] else None
        return grad_x, None, None, grad_low.t() @ x, grad_b, None


class FusedLinear(Linear):  # type: ignore[misc]
    """peft's LoRA layer; its forward pass is one operation if it is plain LoRA with weights of one format."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return the layer's output for x of shape (..., in), equal to the output of peft's layer."""
        if args or kwargs or not self._plain(x):
            result: torch.Tensor = super().forward(x, *args, **kwargs)
            return result
        name, base = self.active_adapters[0], self.base_layer
        a, b = self.lora_A[name].weight, self.lora_B[name].weight
        flat = x.reshape(-1, x.shape[-1])
        y: torch.Tensor = _LowRank.apply(flat, base.weight, base.bias, a, b, self.scaling[name])  # type: ignore[no-untyped-call]
        return y.view(*x.shape[:-1], y.shape[-1])

    def _plain(self, x: torch.Tensor) -> bool:
        """Say whether the single operation gives exactly the result of peft's layer."""
        if self.merged or self.disable_adapters or len(self.active_adapters) != 1 or self.lora_variant:
            return False
        name, base = self.active_adapters[0], self.base_layer
        if type(base) is not torch.nn.Linear or torch.is_autocast_enabled(x.device.type):
            return False
        if name not in self.lora_A or type(self.lora_dropout[name]) is not torch.nn.Identity:
            return False
        frozen = [base.weight] if base.bias is None else [base.weight, base.bias]
        if self.lora_B[name].bias is not None or any(weight.requires_grad for weight in frozen):
            return False
        weights = (*frozen, self.lora_A[name].weight, self.lora_B[name].weight)
        return all(weight.dtype == x.dtype for weight in weights)
