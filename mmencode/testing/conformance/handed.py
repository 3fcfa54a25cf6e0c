"""An encoder that somebody else goes on using: handed to core by a target, and looked at before and after."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ...encoder import Encoder
from ...engine.towers import _build
from ...plugins.spec import EncoderSpec

_MODULE = "_mmencode_handed"
State = dict[str, tuple[object, ...]]


def built(spec: EncoderSpec) -> Encoder:
    """What the spec's target gives, before core has seen it."""
    encoder: Encoder = _build(spec, spec.target, Encoder)
    return encoder


@contextmanager
def giving(spec: EncoderSpec, give: Callable[[], Encoder]) -> Iterator[EncoderSpec]:
    """The spec with a target that gives what `give` does."""
    name = f"{_MODULE}_{id(give)}"
    module: Any = ModuleType(name)
    module.give = lambda *variant: give()
    sys.modules[name] = module
    try:
        yield replace(spec, target=f"{name}:give")
    finally:
        del sys.modules[name]


def state(network: nn.Module) -> State:
    """Whatever its owner would miss, by the name of the part."""
    found: State = {
        f"module {name!r}": (id(module), type(module), module.training, len(module._forward_hooks))
        for name, module in network.named_modules()
    }
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        kind = tensor.dtype, tensor.device, tuple(tensor.shape), tensor.requires_grad, tensor.grad is None
        found[repr(name)] = (id(tensor), *kind, _content(tensor))
    return found


def changed(before: State, after: State) -> list[str]:
    """The names of the parts that aren't as they were."""
    return [name for name in (before | after) if before.get(name) != after.get(name)]


def _content(tensor: Tensor) -> str:
    try:
        numbers = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    except (RuntimeError, TypeError):  # of a kind that has no plain bytes
        return str(tensor.detach())
    return sha256(numbers.data).hexdigest()
