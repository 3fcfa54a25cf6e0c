"""Convolutions as oneDNN runs them fastest: with the norm behind them and the activation in one operation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

_PLAIN: dict[type[nn.Module], str] = {
    nn.Identity: "none",
    nn.ReLU: "relu",
    nn.SiLU: "swish",
    nn.Hardswish: "hardswish",
    nn.Sigmoid: "sigmoid",
    nn.Hardsigmoid: "hardsigmoid",
    nn.Tanh: "tanh",
}


@dataclass(frozen=True, slots=True)
class Activation:
    """An activation in oneDNN's words, which computes it while the outputs of a convolution are at hand."""

    name: str = "none"
    numbers: tuple[float, ...] = ()
    algorithm: str = ""


def activation_of(module: nn.Module) -> Activation | None:
    """The activation that a module computes; None for a module that isn't a known one."""
    if isinstance(module, nn.Hardtanh) and type(module) in (nn.Hardtanh, nn.ReLU6):
        return Activation("hardtanh", (float(module.min_val), float(module.max_val)))
    if type(module) is nn.GELU:
        return Activation("gelu", (), module.approximate)
    name = _PLAIN.get(type(module))
    return None if name is None else Activation(name)


@dataclass(frozen=True, slots=True)
class Convolution:
    """The numbers of a convolution: weight `[out, in / groups, h, w]`, bias `[out]`, and how it moves."""

    weight: Tensor
    bias: Tensor
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @classmethod
    def of(cls, plain: nn.Conv2d) -> Convolution:
        """Take the numbers of a layer."""
        weight = plain.weight.detach()
        bias = weight.new_zeros(len(weight)) if plain.bias is None else plain.bias.detach()
        padding = tuple(int(size) for size in plain.padding)
        return cls(weight, bias, plain.stride, padding, plain.dilation, plain.groups)

    def with_norm(self, norm: nn.BatchNorm2d) -> Convolution:
        """Put the batch norm of its outputs into weight and bias, computed in float64."""
        mean, variance = _exact(norm.running_mean), _exact(norm.running_var)
        scale = (variance + norm.eps).rsqrt()
        if norm.weight is not None:
            scale = scale * _exact(norm.weight)
        bias = (self.bias.double() - mean) * scale
        if norm.bias is not None:
            bias = bias + _exact(norm.bias)
        weight = self.weight.double() * scale.view(-1, 1, 1, 1)
        return self._with(weight.to(self.weight.dtype), bias.to(self.bias.dtype), self.padding)

    def with_zeros(self, before: int, after: int) -> Convolution:
        """Put zeros around its inputs: `before` to the left and top, `after`, no fewer, to the other sides.

        oneDNN pads both sides alike: what is too much before, zeros at the kernel's edge leave out.
        """
        weight = pad(self.weight, (after - before, 0, after - before, 0))
        return self._with(weight, self.bias, (after, after))

    def _with(self, weight: Tensor, bias: Tensor, padding: tuple[int, ...]) -> Convolution:
        return Convolution(weight, bias, self.stride, padding, self.dilation, self.groups)


class FusedConv2d(nn.Conv2d):
    """A convolution and its activation as one operation, its weight in oneDNN's layout; for inference only.

    `seen` is a shape of inputs, `[b, channels, h, w]`, by which the layout is chosen; others are taken, too.
    """

    out_channels: int
    in_channels: int
    kernel_size: tuple[int, int]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[int, ...]
    padding_mode: Literal["zeros", "reflect", "replicate", "circular"]
    groups: int
    transposed: bool
    output_padding: tuple[int, int]

    def __init__(self, numbers: Convolution, activation: Activation, seen: Sequence[int]) -> None:
        nn.Module.__init__(self)
        weight = numbers.weight.contiguous()
        self.out_channels, self.in_channels = len(weight), weight.shape[1] * numbers.groups
        self.kernel_size = (int(weight.shape[2]), int(weight.shape[3]))
        self.stride, self.dilation = (*numbers.stride,), (*numbers.dilation,)
        self.padding, self.padding_mode = (*numbers.padding,), "zeros"
        self._padding = numbers.padding
        self.groups, self.transposed, self.output_padding = numbers.groups, False, (0, 0)
        self.training = False
        self.register_parameter("bias", nn.Parameter(numbers.bias, requires_grad=False))
        self._activation, self._seen = activation, (*seen,)
        self._packed = torch.ops.mkldnn._reorder_convolution_weight(
            weight, self.padding, self.stride, self.dilation, self.groups, self._seen
        )

    def forward(self, input: Tensor) -> Tensor:
        """Inputs `[b, channels, h, w]` to what comes out of the activation."""
        outputs: Tensor = torch.ops.mkldnn._convolution_pointwise(
            input,
            self._packed,
            self.bias,
            self.padding,
            self.stride,
            self.dilation,
            self.groups,
            self._activation.name,
            self._activation.numbers,
            self._activation.algorithm,
        )
        return outputs

    def __getattr__(self, name: str) -> Any:
        """`weight` is a plain copy, made each time, for code that looks at its type or shape."""
        return self._packed.to_dense() if name == "weight" else super().__getattr__(name)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """Give the weight, too, so that all that is computed with is in the state."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}weight"] = self.weight

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel, and be copied, by plain numbers: the blocked layout has no other form."""
        bias = self._parameters["bias"]
        assert bias is not None
        numbers = Convolution(self.weight, bias, self.stride, self._padding, self.dilation, self.groups)
        return FusedConv2d, (numbers, self._activation, self._seen)


def can_fuse() -> bool:
    """Whether the installed torch has the operations that a FusedConv2d needs."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    needed = ("_reorder_convolution_weight", "_convolution_pointwise")
    return all(hasattr(torch.ops.mkldnn, name) for name in needed)


def _exact(numbers: Tensor | None) -> Tensor:
    if numbers is None:
        raise ValueError("a batch norm without statistics can't be folded")
    return numbers.detach().double()
