"""The contract of an encoder: items of one modality in, features out."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .plugins.places import placeless
from .plugins.spec import Identity, Scoring

Tensors = dict[str, Tensor]


class Encoder(nn.Module, ABC):
    """Turns items of one modality into features; reading, batching, moving and normalising are core's work.

    `width` is the last dimension of the features. `preprocessing`, `tokenizer`, `pooling` and `windows` say
    in a few words what the features depend on besides the weights; they are part of the space's identity, so
    change the words whenever the numbers change. `architecture` says, for a member of a family, what is
    computed with the weights, wherever these lie: "timm resnet18", and the settings that change the numbers
    but not the weights' shapes. Without it, it is the member's name without the path in that. `resolution` is
    how many pixels of an image's shorter side `preprocess` looks at, 0 where all count; with fast=True core
    may decode to three times that.
    """

    width: int
    architecture: str = ""
    preprocessing: str = ""
    tokenizer: str = ""
    pooling: str = ""
    windows: str = ""
    resolution: int = 0

    @property
    def grid(self) -> tuple[int, int] | None:
        """The (rows, columns) that an image's tokens fill row by row; None where there is no grid."""
        return None

    @property
    def scoring(self) -> Scoring | None:
        """How cosines with texts become probabilities; None where no training has fixed that."""
        return None

    @abstractmethod
    def preprocess(self, item: Any) -> Tensors:
        """Turn one safe item (str, RGB `PIL.Image`, `Waveform`) into CPU tensors.

        Runs in worker threads: deterministic, thread-safe, without a batch dimension. Any exception is
        reported as an InputError of that item; an InputError, as it is. A text encoder whose tokenizer can
        leave nothing of a text says so by `mmencode.inputs.text.require_tokens`.
        """

    def collate(self, items: list[Tensors]) -> Tensors:
        """Join preprocessed items into one batch `[b, ...]`; the default stacks equal shapes."""
        return {key: torch.stack([item[key] for item in items]) for key in items[0]}

    @abstractmethod
    def forward(self, tensors: Tensors) -> Tensor:
        """Features `[b, width]` of a collated batch, on the device and in the dtype of the weights."""

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Contextual outputs `[b, t, width]`, their mask `[b, t]`; NotImplementedError if it has none."""
        raise NotImplementedError(f"{type(self).__name__} has no token outputs")

    def cost(self, tensors: Tensors) -> int:
        """How much work one preprocessed item is; items of like cost share a batch."""
        return sum(tensor.numel() for tensor in tensors.values())


def identify(encoder: Encoder, projection: nn.Module | None = None, variant: str = "") -> Identity:
    """What a loaded encoder's vectors depend on, digests computed afresh; no projection is the identity.

    `variant` is the rest of the name of a family's member, where it is one.
    """
    return Identity(
        architecture=encoder.architecture or placeless(variant),
        weights=digest(encoder),
        preprocessing=encoder.preprocessing,
        tokenizer=encoder.tokenizer,
        pooling=encoder.pooling,
        windows=encoder.windows,
        projection="identity" if projection is None else known(projection),
    )


def known(projection: nn.Module) -> str:
    """A projection's digest, after the reservation that it has, if any."""
    note = getattr(projection, "note", "")
    return f"{note}, {digest(projection)}" if note else digest(projection)


def digest(module: nn.Module) -> str:
    """SHA-256 over the names, types, shapes and bytes of a module's state, in order of name.

    A module without state is known by the name of its class. Of a quantised one the numbers count that its
    codes stand for.
    """
    state = {
        name: tensor for key, value in module.state_dict().items() for name, tensor in _tensors(key, value)
    }
    if not state:
        return f"class:{type(module).__qualname__}"
    total = hashlib.sha256()
    with torch.inference_mode():  # where tensors that were made in it can be looked at, too
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


def _tensors(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors of one entry of a state; those of packed weights are in tuples."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, (tuple, list)):
        for place, part in enumerate(value):
            yield from _tensors(f"{name}.{place}", part)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _tensors(f"{name}.{key}", part)
