"""Batch norms and activations folded into the convolutions before them, once an encoder is identified.

What follows what isn't written down in a network, so it is watched: two generated items go through each
encoder, and a norm is folded where all that it ever gets comes from one convolution. Then they go through the
folded one, which isn't used where a feature has changed by more than rounding.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..encoder import Encoder, Tensors
from ..encoder.notices import without_notices
from .convolutions import Activation, Convolution, FusedConv2d, activation_of, can_fuse
from .generated import generated_values
from .layers import with_layers
from .runtime import move

MOST = 2**26  # bytes of weights that are folded, of an encoder
CLOSE = 1e-4  # of an encoder's largest feature: how far rounding may move one
_CPU = torch.device("cpu")


@torch.inference_mode(False)  # where changes of tensors aren't counted
def fold(encoder: Encoder, modality: str) -> Encoder:
    """Make a twin of a float32 encoder on a CPU, with folded convolutions; the encoder itself if none can be.

    The encoder stays what it is, for whoever looks at it or takes its network elsewhere. The twin shares its
    layers but for those that are folded. Their weights are in memory twice, so networks with more than MOST
    bytes of them have no twin. Nothing is folded where this torch has no oneDNN, for modalities without
    probes, of layers with hooks and of subclasses, nor where features would change. Gain:
    tests/benchmarks/gains.py.
    """
    if not can_fuse() or not any(map(_is_norm, encoder.modules())):
        return encoder
    batch = _batch(encoder, modality)
    if batch is None:
        return encoder
    trace = Trace()
    with trace.watching(encoder):
        before = _compute(encoder, batch)
    chains = trace.find_chains()
    if not chains or sum(chain.conv.weight.nbytes for chain in chains) > MOST:
        return encoder
    layers = {layer: other for chain in chains for layer, other in chain.fuse().items()}
    twin = with_layers(encoder, layers)
    return twin if _is_close(_compute(twin, batch), before) else encoder


@dataclass(frozen=True, slots=True)
class Chain:
    """A convolution with what goes with it: zeros padded before it, the norm and an activation behind it."""

    conv: nn.Conv2d
    seen: tuple[int, ...]
    pad: nn.ZeroPad2d | None
    norm: nn.BatchNorm2d
    behind: nn.Module | None

    @property
    def modules(self) -> list[nn.Module]:
        """The layers of the chain, in the order in which they are called."""
        return [each for each in (self.pad, self.conv, self.norm, self.behind) if each is not None]

    def fuse(self) -> dict[nn.Module, nn.Module]:
        """Make one layer of it, and give what stands for each of its layers."""
        numbers = Convolution.of(self.conv)
        if self.pad is not None:
            before, after, _, _ = self.pad.padding
            numbers = numbers.with_zeros(before, after)
        last = self.behind if self.behind is not None else getattr(self.norm, "act", None)
        activation = None if last is None else activation_of(last)
        found: dict[nn.Module, nn.Module] = {layer: nn.Identity().eval() for layer in self.modules}
        found[self.conv] = FusedConv2d(numbers.with_norm(self.norm), activation or Activation(), self.seen)
        return found


@dataclass(slots=True)
class Trace:
    """The sources of each layer's inputs, in each of its calls; None where a source isn't watched."""

    sources: dict[nn.Module, list[nn.Module | None]] = field(default_factory=dict)
    shapes: dict[nn.Module, tuple[int, ...]] = field(default_factory=dict)
    _made: dict[int, tuple[nn.Module, Tensor, int]] = field(default_factory=dict)

    @contextmanager
    def watching(self, encoder: Encoder) -> Iterator[None]:
        """Watch the layers of an encoder that a chain may have."""
        hooks = [layer.register_forward_hook(self._note) for layer in encoder.modules() if _is_known(layer)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            self._made.clear()

    def _note(self, layer: nn.Module, given: tuple[Any, ...], made: Any) -> None:
        source, tensor, version = self._made.get(id(given[0]) if given else 0, (None, None, 0))
        in_place = made is tensor  # which torch counts as one change
        known = tensor is not None and tensor._version == version + in_place
        self.sources.setdefault(layer, []).append(source if known else None)
        if isinstance(made, Tensor) and given:
            self.shapes[layer] = tuple(given[0].shape)
            self._made[id(made)] = (layer, made, made._version)

    def find_chains(self) -> list[Chain]:
        """Find the chains whose layers always stand in them, and get nothing from elsewhere."""
        found = []
        for conv in self.sources:
            norm = self._following(conv)
            if not isinstance(conv, nn.Conv2d) or norm is None or not _is_norm(norm):
                continue
            behind = self._following(norm) if type(norm) is nn.BatchNorm2d else None
            if behind is not None and (activation_of(behind) is None or not _is_usual(behind)):
                behind = None
            assert isinstance(norm, nn.BatchNorm2d)
            found.append(Chain(conv, self.shapes[conv], self._pad(conv), norm, behind))
        return found

    def _following(self, layer: nn.Module) -> nn.Module | None:
        """The one layer that gets the outputs of another, and these alone, each time once."""
        receivers = [each for each, sources in self.sources.items() if layer in sources]
        if len(receivers) != 1 or not _is_usual(layer):
            return None
        (receiver,) = receivers
        alone = {*self.sources[receiver]} == {layer}
        return receiver if alone and len(self.sources[receiver]) == len(self.sources[layer]) else None

    def _pad(self, conv: nn.Conv2d) -> nn.ZeroPad2d | None:
        """The zeros before a convolution, where it can have them in its kernel and padding."""
        source = self.sources[conv][0]
        if not isinstance(source, nn.ZeroPad2d) or self._following(source) is not conv:
            return None
        left, right, top, bottom = source.padding
        fits = (left, right) == (top, bottom) and 0 <= left <= right
        return source if fits and {*conv.padding} == {0} and {*conv.dilation} == {1} else None


def _batch(encoder: Encoder, modality: str) -> Tensors | None:
    """Two generated items, ready for the forward pass; None where there are none or none can be prepared."""
    try:
        with without_notices():
            items = [encoder.preprocess(item) for item in generated_values(modality)[:2]]
        return move(encoder.collate(items), _CPU, torch.float32)
    except Exception:  # the encoder's own code, which says what is wrong when it is used
        return None


def _compute(encoder: Encoder, tensors: Mapping[str, Tensor]) -> Tensor | None:
    """Features `[b, width]`; None where the pass fails."""
    try:
        with torch.no_grad():
            features: Tensor = encoder({name: tensor.clone() for name, tensor in tensors.items()})
        return features
    except Exception:  # as above, or a network that looks into its layers
        return None


def _is_close(found: Tensor | None, before: Tensor | None) -> bool:
    if found is None or before is None or found.shape != before.shape:
        return False
    return bool((found - before).abs().max() <= CLOSE * before.abs().max())


def _is_known(module: nn.Module) -> bool:
    """Whether a module may be a layer of a chain."""
    if type(module) is nn.Identity:  # its outputs are its inputs
        return False
    return type(module) in (nn.Conv2d, nn.ZeroPad2d) or _is_norm(module) or activation_of(module) is not None


def _is_usual(module: nn.Module) -> bool:
    """Whether a layer computes what its type says, on ordinary numbers."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._modules)
    if "forward" in vars(module) or (any(hooks) and not _is_timms(module)):
        return False
    if isinstance(module, nn.Conv2d):
        usual = module.padding_mode == "zeros" and not isinstance(module.padding, str) and not module._buffers
        return usual and module._parameters.keys() == {"weight", "bias"} and _is_plain(module.weight)
    return True


def _is_plain(weight: Tensor) -> bool:
    fits = weight.dtype == torch.float32 and weight.layout == torch.strided and weight.device.type == "cpu"
    return type(weight) is nn.Parameter and fits


def _is_norm(module: nn.Module) -> bool:
    """Whether a module is a batch norm that can be folded, with an activation in it or without."""
    if type(module) is not nn.BatchNorm2d and not _is_timms(module):
        return False
    assert isinstance(module, nn.BatchNorm2d)
    return not module.training and module.running_mean is not None and module.running_var is not None


def _is_timms(module: nn.Module) -> bool:
    """Whether a module is timm's batch norm with an activation that is known."""
    kind = getattr(sys.modules.get("timm.layers"), "BatchNormAct2d", None)
    if kind is None or type(module) is not kind or module._forward_hooks or module._forward_pre_hooks:
        return False
    last: Any = module
    return type(last.drop) is nn.Identity and activation_of(last.act) is not None
