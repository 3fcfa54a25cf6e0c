"""Convolutions that the processor computes wrongly in bfloat16: found when an encoder is cast, and mended."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

_CLOSE = 0.05  # of the right outputs' length: rounding moves them by less than a hundredth
_PLACES = 8  # outputs along each axis of what is tried


@dataclass(frozen=True, slots=True)
class InFloat32:
    """A forward pass in the place of a layer's own: that of the same layer in float32, rounded afterwards."""

    exact: nn.Module

    def __call__(self, input: Tensor) -> Tensor:
        """Inputs and outputs are those of the layer that this stands for."""
        outputs: Tensor = self.exact(input.float())
        return outputs.to(input.dtype)


@torch.inference_mode()
def mend(encoder: nn.Module) -> list[str]:
    """Make convolutions in bfloat16 on a CPU compute in float32 where they are wrong, and give their names.

    oneDNN 3 with AMX gives other numbers for some kernels over few channels, such as 16 places of 4 channels:
    nothing fails, and the vectors are those of another network. Each kind of layer is tried once, on random
    numbers.
    """
    tried: dict[tuple[object, ...], bool] = {}
    found = []
    for name, layer in encoder.named_modules():
        if not isinstance(layer, _ConvNd) or "forward" in vars(layer) or not _is_cast(layer):
            continue
        kind = (type(layer), repr(layer))
        if kind not in tried:
            tried[kind] = _is_right(layer)
        if not tried[kind]:
            layer.forward = InFloat32(copy.deepcopy(layer).float())
            found.append(name)
    return found


def _is_cast(layer: _ConvNd) -> bool:
    weight = getattr(layer, "weight", None)
    return isinstance(weight, Tensor) and weight.dtype == torch.bfloat16 and weight.device.type == "cpu"


def _is_right(layer: _ConvNd) -> bool:
    """Whether a layer gives what it gives in float32, but for rounding; so, too, where it can't be tried."""
    sizes = [
        dilation * (kernel - 1) + 1 + stride * (_PLACES - 1)
        for kernel, stride, dilation in zip(layer.kernel_size, layer.stride, layer.dilation, strict=True)
    ]
    source = torch.Generator().manual_seed(0)
    given = torch.randn(1, layer.in_channels, *sizes, generator=source).bfloat16()
    try:
        found, right = layer(given), copy.deepcopy(layer).float()(given.float())
        return bool((found.float() - right).norm() <= _CLOSE * right.norm())
    except Exception:  # a subclass that takes something else
        return True
