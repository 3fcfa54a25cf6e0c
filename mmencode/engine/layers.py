"""Networks with other layers in the places of some, which share all the rest."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any, TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def with_layers(module: M, layers: Mapping[nn.Module, nn.Module]) -> M:
    """Make a module with other layers in the places of some, which shares all that has none of them."""
    return _with_layers(module, layers, {})


def rest(encoder: M, own: nn.Module, other: nn.Module) -> M:
    """Make an encoder that has in the places of the modules of one network those of another that is alike.

    What has no counterpart by its name stays as it is.
    """
    there = dict(other.named_modules(remove_duplicate=False))
    places = own.named_modules(remove_duplicate=False)
    return with_layers(encoder, {module: there[name] for name, module in places if name in there})


def _with_layers(module: M, layers: Mapping[nn.Module, nn.Module], done: dict[nn.Module, Any]) -> M:
    if module not in done:
        done[module] = layers.get(module, module)
        children = {
            name: child and _with_layers(child, layers, done) for name, child in module._modules.items()
        }
        if done[module] is module and any(
            children[name] is not child for name, child in module._modules.items()
        ):
            done[module] = copy(module)
            done[module]._modules = children
    found: M = done[module]
    return found
