"""Towers: encoders and their projections on a device, ready to compute."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from ..arguments.brief import Brief
from ..card import TowerCard
from ..encoder import Encoder
from ..errors import DeviceError, IdentityError
from ..isolation.copying import Borrowed
from ..isolation.fence import plain_load
from ..plugins.spec import EncoderSpec
from ..projection import Projection
from .backend_names import TORCH
from .backends.computing import compute_by, compute_in_int8
from .backends.proving import Exported
from .backends.quantising import Quantised
from .budget import Budget
from .building import Built, build_checked
from .casting import cast
from .compiling import Compiled
from .folding import fold
from .layers import rest, with_layers
from .memory import trim
from .packing import pack
from .runtime import Runtime

Forward = Encoder | Compiled | Exported | Quantised


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Tower(Brief):
    """One modality of a loaded space on one device; `dim` is the width of its embeddings.

    `forward` takes tensors to features: the encoder itself, its twin with folded convolutions, or compiled or
    computed by a backend where that was asked for. That of a sum has the towers of its `parts`, and one that
    is built over another has that as its `base`.
    """

    spec: EncoderSpec
    encoder: Encoder
    forward: Forward
    projection: Projection
    card: TowerCard
    dim: int
    device: torch.device
    dtype: torch.dtype
    borrowed: Borrowed
    parts: tuple[Tower, ...] = ()
    base: Tower | None = None
    budget: Budget = field(default_factory=Budget)

    def require_as_loaded(self) -> None:
        """Raise IdentityError when the encoder's network is somebody else's, too, and was changed since."""
        for part in (*self.parts, *([self.base] if self.base else [])):
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
    held: Mapping[str, Tower] | None = None,
) -> tuple[list[Tower], dict[str, Facts]]:
    """Load the encoders of specs that name one target, as `load_tower` does, in one call of the target.

    What they share is in memory once, and has one dtype. Those of `dropped` are built with them for the facts
    about them, and then let go. Encoders that are built over another one of the specs get their own targets'
    calls; over one of the towers that are `held` on this device, by key, their specs in `dropped`, they share
    that tower's network, unless they can't bear its dtype. The facts are by key.
    """
    device, given, held = device or runtime.device, projections or {}, held or {}
    built = build_checked([*specs, *dropped], given)
    facts = {each.spec.key: Facts(each.card, each.dim) for each in built}
    bases = {each.spec.key: each.encoder for each in built if each.spec.key in held}
    del built[len(specs) :]
    _move(built, device)
    plain = any(tower.dtype == torch.float32 for tower in held.values())
    dtypes = [torch.float32 for _ in built] if plain else cast(built, runtime, device)
    if None in dtypes:
        built.clear()  # before their weights are read again
        bases.clear()
        below = [spec for spec in dropped if any(each.base == spec.key for each in specs)]
        built += build_checked([*specs, *below], given)[: len(specs)]
        _move(built, device)
    kept = [dtype or torch.float32 for dtype in dtypes]
    elsewhere: dict[str, tuple[Exported | Quantised | None, float]] = {}
    for place, (each, dtype) in enumerate(zip(built, kept, strict=True)):
        each.encoder.to(dtype)
        elsewhere[each.spec.key] = _compute_elsewhere(each, runtime, device)  # of layers as they were
        base = held.get(each.spec.base)
        if each.spec.base in bases and base is not None and base.dtype == dtype:
            resting = rest(each.encoder, bases[each.spec.base], base.encoder)
            built[place] = replace(each, encoder=resting)
    bases.clear()
    if not runtime.compile:
        pack(nn.ModuleList(each.encoder for each in built))
    towers: dict[str, Tower] = {}
    for each, dtype in sorted(zip(built, kept, strict=True), key=lambda pair: bool(pair[0].spec.base)):
        base = towers.get(each.spec.base) or held.get(each.spec.base)
        towers[each.spec.key] = _finish(each, runtime, device, dtype, base, *elsewhere[each.spec.key])
    trim()
    facts |= {key: Facts(tower.card, tower.dim) for key, tower in towers.items()}
    return [towers[spec.key] for spec in specs], facts


def _compute_elsewhere(
    built: Built, runtime: Runtime, device: torch.device
) -> tuple[Exported | Quantised | None, float]:
    """Make the forward pass of an encoder by what isn't torch, where that is asked for; with its fidelity."""
    spec = built.spec
    if spec.precision:
        if device.type != "cpu":
            raise DeviceError(
                f"encoder {spec.name!r} in int8 computes on the CPU, and not on device {str(device)!r}",
                remedy='load the space with device="cpu"',
            )
        return compute_in_int8(built.encoder, spec, built.card, built.projection)
    if runtime.backend != TORCH:
        return compute_by(runtime.backend, built.encoder, spec, built.card), 0.0
    return None, 0.0


def _move(built: Sequence[Built], device: torch.device) -> None:
    for each in built:
        each.encoder.to(device)


def _finish(
    built: Built,
    runtime: Runtime,
    device: torch.device,
    dtype: torch.dtype,
    base: Tower | None,
    elsewhere: Exported | Quantised | None,
    fidelity: float,
) -> Tower:
    spec, encoder = built.spec, built.encoder
    built.borrowed.watch(encoder)
    forward: Forward = elsewhere or encoder
    if elsewhere is not None:
        pass
    elif runtime.compile:
        forward = Compiled(encoder, spec.name)
    elif (device.type, dtype) == ("cpu", torch.float32):
        twin = base.forward if base is not None else None  # which is folded once for both
        over = with_layers(encoder, {base.encoder: twin}) if base and isinstance(twin, Encoder) else encoder
        forward = fold(over, spec.modality)
    projection = built.projection.to(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # before streams that don't wait for this one read the weights
    return Tower(
        spec=spec,
        encoder=encoder,
        forward=forward,
        projection=projection,
        card=replace(built.card, fidelity=fidelity),
        dim=built.dim,
        device=device,
        dtype=dtype,
        borrowed=built.borrowed,
        base=base,
        budget=Budget(1 if spec.precision else sys.maxsize),
    )
