"""The identity of an encoder's vectors: the encoder's own words, and digests of its weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..plugins.places import placeless
from ..plugins.spec import Identity
from .contract import Encoder


def identify(
    encoder: Encoder,
    projection: nn.Module | None = None,
    variant: str = "",
    *,
    digest_weights: Callable[[nn.Module], str] | None = None,
) -> Identity:
    """Compute the identity of a loaded encoder's vectors: its own words, and digests of its weights.

    `projection` is the head that takes its features into the space, None where they are in it already.
    `variant` is, for a member of a family, its name without the family's prefix. `digest_weights` computes
    the digest of its weights, by default `digest`; a `Digester` is for encoders that share weights.
    """
    return Identity(
        architecture=encoder.architecture or placeless(variant),
        weights=encoder.weights_digest or (digest_weights or digest)(encoder),
        preprocessing=encoder.preprocessing,
        tokenizer=encoder.tokenizer,
        pooling=encoder.pooling,
        windows=encoder.windows,
        projection="identity" if projection is None else identify_projection(projection),
    )


def identify_projection(projection: nn.Module) -> str:
    """Compute the digest of a projection, with the projection's `note` before it where it has one."""
    note = getattr(projection, "note", "")
    return f"{note}, {digest(projection)}" if note else digest(projection)


known = identify_projection  # the old name, kept for one release


def digest(module: nn.Module) -> str:
    """Compute SHA-256 over the names, types, shapes and bytes of a module's state, in order of name.

    The digest of a module without state is the name of its class. Quantized tensors are dequantized first.
    """
    state = {
        name: tensor for key, value in module.state_dict().items() for name, tensor in _tensors(key, value)
    }
    if not state:
        return f"class:{type(module).__qualname__}"
    total = hashlib.sha256()
    with torch.inference_mode():  # else tensors made in inference mode can't be read
        for name in sorted(state):
            tensor = state[name].detach().cpu()
            total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            if tensor.layout != torch.strided:
                tensor = tensor.to_dense()
            if tensor.is_quantized:
                tensor = tensor.dequantize()
            plain = tensor.resolve_conj().resolve_neg().contiguous()
            total.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return f"sha256:{total.hexdigest()}"


class Digester:
    """Computes digests of modules as `digest` does, and those of modules with one state only once.

    The encoders of an omni checkpoint are one network. It is for weights that stay as they are meanwhile.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[tuple[str, int], ...], str] = {}
        self._held: list[Tensor] = []  # so that no other tensor gets the id of one that was looked at

    def __call__(self, module: nn.Module) -> str:
        """Compute the digest of a module."""
        state = module.state_dict(keep_vars=True)
        if not state or not all(isinstance(value, Tensor) for value in state.values()):
            return digest(module)
        key = tuple(sorted((name, id(tensor)) for name, tensor in state.items()))
        if key not in self._known:
            self._known[key] = digest(module)
            self._held += state.values()
        return self._known[key]


def _tensors(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors in one entry of a state dict; torch's packed weights are tuples of them."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, (tuple, list)):
        for place, part in enumerate(value):
            yield from _tensors(f"{name}.{place}", part)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _tensors(f"{name}.{key}", part)
