"""Hand an existing encoder to a space through a spec's target, and compare its state before and after."""

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
from ...engine.building import build_encoder
from ...isolation.fence import own_numbers
from ...plugins.spec import EncoderSpec

_MODULE = "_mmencode_handed"
State = dict[str, tuple[object, ...]]


def build_raw(spec: EncoderSpec) -> Encoder:
    """Call the spec's target, and give its encoder as it is, before a space prepares it."""
    with own_numbers():  # random weights leave the user's generators alone
        return build_encoder(spec)


@contextmanager
def retarget(spec: EncoderSpec, give: Callable[[], Encoder]) -> Iterator[EncoderSpec]:
    """Replace the spec's target by the function `give`, within the context."""
    name = f"{_MODULE}_{id(give)}"
    module: Any = ModuleType(name)
    module.give = lambda *variant, **instruction: give()
    sys.modules[name] = module
    try:
        yield replace(spec, target=f"{name}:give", shared=False)
    finally:
        del sys.modules[name]


def state_of(network: nn.Module) -> State:
    """Record everything about a network that its owner relies on, by the name of the module or tensor.

    That is the identity, mode and hooks of modules, and the identity, properties and content of tensors.
    """
    found: State = {
        f"module {name!r}": (id(module), type(module), module.training, len(module._forward_hooks))
        for name, module in network.named_modules()
    }
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        kind = tensor.dtype, tensor.device, tuple(tensor.shape), tensor.requires_grad, tensor.grad is None
        found[repr(name)] = (id(tensor), *kind, _content(tensor))
    return found


def differences(before: State, after: State) -> list[str]:
    """The names of the modules and tensors whose state differs."""
    return [name for name in (before | after) if before.get(name) != after.get(name)]


def _content(tensor: Tensor) -> str:
    try:
        numbers = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    except (RuntimeError, TypeError):  # a tensor type without plain bytes, such as a quantised one
        return str(tensor.detach())
    return sha256(numbers.data).hexdigest()
