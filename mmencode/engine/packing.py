"""Linear layers in the layout that the processor's matrix product wants, for CPUs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_LEAST = 64  # columns or rows below which there is nothing to gain


def pack(module: nn.Module) -> None:
    """Replace the linear layers of a module on a CPU by packed ones, in place: give it a copy of one's own.

    torch brings the weights into oneDNN's blocked layout again for every call; here that is done once. The
    numbers stay the same but for rounding. Nothing happens where this torch has no oneDNN, or the layer's
    type isn't float32 or bfloat16. A layer that stands in several places is packed once, and one with hooks,
    or with more than a weight and a bias, stays as it is. Gain: 1.15 to 1.19 times in float32, 1.07 to 1.09
    in bfloat16 (tests/benchmarks/gains.py, on two Zen 4 cores, as all gains in this package).
    """
    if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        _pack(module, {})


def _pack(module: nn.Module, done: dict[nn.Module, nn.Module]) -> None:
    """Pack what is below a module; `done` has what became of each layer, and every module passed."""
    done[module] = module
    for name, child in module._modules.items():
        if child is None:
            continue
        if child not in done:
            if type(child) is nn.Linear and _worthwhile(child):  # a subclass may compute something else
                done[child] = PackedLinear(child)
            else:
                _pack(child, done)
        if done[child] is not child:
            setattr(module, name, done[child])


class PackedLinear(nn.Linear):
    """A linear layer whose weight stays in oneDNN's blocked layout; for inference only."""

    in_features: int
    out_features: int
    training: bool

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

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """Give the weight, too, so that the state, and what is known by it, is that of the plain layer."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}weight"] = self.weight

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel, and be copied, as a plain layer: the blocked layout has no other form."""
        plain = nn.Linear(self.in_features, self.out_features, self.bias is not None, device="meta")
        plain.weight, plain.bias = nn.Parameter(self.weight, requires_grad=False), self.bias
        return PackedLinear, (plain,)


def _worthwhile(layer: nn.Linear) -> bool:
    """Whether a layer is an ordinary one, of a size and type that packing makes faster."""
    hooks = layer._forward_hooks, layer._forward_pre_hooks, layer._buffers, layer._modules
    if "forward" in vars(layer) or layer._parameters.keys() != {"weight", "bias"} or any(hooks):
        return False
    if type(layer.weight) is not nn.Parameter or layer.weight.layout != torch.strided:
        return False
    on_cpu, kind = layer.weight.device.type == "cpu", layer.weight.dtype
    fits = kind == torch.float32 or (kind == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return on_cpu and fits and min(layer.in_features, layer.out_features) >= _LEAST
