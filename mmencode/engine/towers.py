"""Towers: encoders and their projections on a device, ready to compute."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import torch
from torch import nn

from ..card import TowerCard
from ..encoder import Encoder
from ..errors import IdentityError
from ..isolation.copying import Borrowed
from ..isolation.fence import plain_load
from ..plugins.spec import EncoderSpec
from ..projection import Projection
from .budget import Budget
from .building import Built, build_checked
from .casting import cast
from .compiling import Compiled
from .folding import fold
from .packing import pack
from .runtime import Runtime


@dataclass(frozen=True, eq=False, slots=True)
class Tower:
    """One modality of a loaded space on one device; `dim` is the width of its embeddings.

    `forward` takes tensors to features: the encoder itself, its twin with folded convolutions, or compiled
    where that was asked for. That of a sum has the towers of its `parts`.
    """

    spec: EncoderSpec
    encoder: Encoder
    forward: Encoder | Compiled
    projection: Projection
    card: TowerCard
    dim: int
    device: torch.device
    dtype: torch.dtype
    borrowed: Borrowed
    parts: tuple[Tower, ...] = ()
    budget: Budget = field(default_factory=Budget)

    def require_as_loaded(self) -> None:
        """Raise IdentityError when the encoder's network is somebody else's, too, and was changed since."""
        for part in self.parts:
            part.require_as_loaded()
        changed = self.borrowed.find_changed()
        if changed is not None:
            raise IdentityError(
                f"the weights of encoder {self.spec.name!r} were changed after it was loaded, such as "
                f"{changed!r}: its vectors would no longer be those of its card",
                remedy="load the space again once its network has been trained; where training and encoding "
                "go on together, let the target make the encoder of copy.deepcopy(network)",
            )


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts about an encoder that a space's card needs, whether or not it stays in memory."""

    card: TowerCard
    dim: int


def load_tower(
    spec: EncoderSpec,
    runtime: Runtime,
    device: torch.device | None = None,
    projection: Projection | None = None,
) -> Tower:
    """Build, check, move and pack or compile one encoder; the projection stays float32.

    A projection that is given takes the place of the spec's own.

    Raises MissingPackageError, WeightsError, EncoderError when the target gives something else than an
    Encoder, IdentityError when it isn't what the spec declares.
    """
    given = {} if projection is None else {spec.key: projection}
    (tower,), _ = load_towers([spec], runtime, device, given)
    return tower


@plain_load()
def load_towers(
    specs: Sequence[EncoderSpec],
    runtime: Runtime,
    device: torch.device | None = None,
    projections: Mapping[str, Projection] | None = None,
    dropped: Sequence[EncoderSpec] = (),
) -> tuple[list[Tower], dict[str, Facts]]:
    """Load the encoders of specs that name one target, as `load_tower` does, in one call of the target.

    What they share is in memory once, and has one dtype. Those of `dropped` are built with them for the facts
    about them, and then let go. The facts are by key.
    """
    device, given = device or runtime.device, projections or {}
    built = build_checked([*specs, *dropped], given)
    facts = {each.spec.key: Facts(each.card, each.dim) for each in built}
    del built[len(specs) :]
    _move(built, device)
    dtypes = cast(built, runtime, device)
    if None in dtypes:
        built.clear()  # before their weights are read again
        built += build_checked(specs, given)
        _move(built, device)
    kept = [dtype or torch.float32 for dtype in dtypes]
    for each, dtype in zip(built, kept, strict=True):
        each.encoder.to(dtype)
    if not runtime.compile:
        pack(nn.ModuleList(each.encoder for each in built))
    towers = [_finish(each, runtime, device, dtype) for each, dtype in zip(built, kept, strict=True)]
    _trim()
    return towers, facts


def _move(built: Sequence[Built], device: torch.device) -> None:
    for each in built:
        each.encoder.to(device)


def _finish(built: Built, runtime: Runtime, device: torch.device, dtype: torch.dtype) -> Tower:
    spec, encoder = built.spec, built.encoder
    built.borrowed.watch(encoder)
    forward: Encoder | Compiled = encoder
    if runtime.compile:
        forward = Compiled(encoder, spec.name)
    elif (device.type, dtype) == ("cpu", torch.float32):
        forward = fold(encoder, spec.modality)
    projection = built.projection.to(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # before streams that don't wait for this one read the weights
    return Tower(
        spec=spec,
        encoder=encoder,
        forward=forward,
        projection=projection,
        card=built.card,
        dim=built.dim,
        device=device,
        dtype=dtype,
        borrowed=built.borrowed,
    )


def _trim() -> None:
    """Give memory back to the system that loading has freed, where the C library keeps it: glibc's.

    Packing frees the weights in pieces of some MiB, which would stay with the process: half a checkpoint's
    (tests/benchmarks/towers.py).
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)
