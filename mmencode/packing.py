"""Linear layers in the layout that the processor's matrix product wants, for CPUs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_LEAST = 64  # columns or rows below which there is nothing to gain


def pack(module: nn.Module) -> None:
    """Replace the linear layers of a module on a CPU by packed ones, in place.

    torch brings the weights into oneDNN's blocked layout again for every call; here that is done once. The
    numbers stay the same but for rounding. Nothing happens where this torch has no oneDNN, or the layer's
    type isn't float32 or bfloat16. Gain: 1.15 to 1.19 times in float32, 1.07 to 1.09 in bfloat16
    (tests/benchmarks/gains.py, on two Zen 4 cores, as all gains in this package).
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return
    for name, child in list(module.named_children()):
        if type(child) is nn.Linear and _worthwhile(child):  # a subclass may compute something else
            setattr(module, name, PackedLinear(child))
        else:
            pack(child)


class PackedLinear(nn.Linear):
    """A linear layer whose weight stays in oneDNN's blocked layout; for inference only."""

    def __init__(self, plain: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.training = plain.in_features, plain.out_features, False
        self.register_parameter("bias", plain.bias)
        self._packed = torch.ops.mkldnn._reorder_linear_weight(plain.weight.detach())

    def forward(self, input: Tensor) -> Tensor:
        """Inputs `[..., in_features]` to `[..., out_features]`."""
        outputs: Tensor = torch.ops.mkldnn._linear_pointwise(input, self._packed, self.bias, "none", [], "")
        return outputs

    def __getattr__(self, name: str) -> Any:
        """`weight` is a plain copy, made each time, for code that looks at its type or shape."""
        return self._packed.to_dense() if name == "weight" else super().__getattr__(name)


def _worthwhile(layer: nn.Linear) -> bool:
    on_cpu = layer.weight.device.type == "cpu"
    kind = layer.weight.dtype
    fits = kind == torch.float32 or (kind == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return on_cpu and fits and min(layer.in_features, layer.out_features) >= _LEAST
