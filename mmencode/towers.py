"""From a spec to a loaded tower: an encoder and its projection, checked against what was declared."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

import torch

from .card import TowerCard
from .encoder import Encoder, identify
from .errors import EncoderError, IdentityError
from .packages import require_packages
from .projection import IdentityProjection, Projection
from .runtime import Runtime
from .spec import EncoderSpec


@dataclass(frozen=True, eq=False, slots=True)
class Tower:
    """One modality of a loaded space; `dim` is the width of its embeddings."""

    spec: EncoderSpec
    encoder: Encoder
    projection: Projection
    card: TowerCard
    dim: int


def load_tower(spec: EncoderSpec, runtime: Runtime) -> Tower:
    """Build, check and move one encoder; the projection stays float32.

    Raises MissingPackageError, WeightsError, EncoderError when the target gives something else than an
    Encoder, IdentityError when it isn't what the spec declares.
    """
    require_packages(spec)
    with torch.random.fork_rng(devices=[]):  # modules draw initial weights; the user's generator isn't theirs
        encoder = _build(spec, spec.target, Encoder)
        projection = _build(spec, spec.projection, Projection) if spec.projection else IdentityProjection()
    for module in (encoder, projection):
        module.eval().requires_grad_(False)
    found = identify(encoder, projection if spec.projection else None)
    if spec.identity is not None and found != spec.identity:
        raise _not_as_declared(spec, asdict(spec.identity), asdict(found))
    return Tower(
        spec=spec,
        encoder=encoder.to(runtime.device, runtime.dtype),
        projection=projection.to(runtime.device),
        card=TowerCard(modality=spec.modality, encoder=spec.name, identity=found),
        dim=spec.dim or encoder.width,
    )


def _build(spec: EncoderSpec, target: str, kind: type[Any]) -> Any:
    """Import `target` and call it; a family's also gets the rest of the name."""
    module, _, function = target.partition(":")
    built: Any = import_module(module)
    for part in function.split("."):
        built = getattr(built, part)
    built = built(spec.variant) if spec.variant else built()
    if not isinstance(built, kind):
        raise EncoderError(
            f"{target} gave {type(built).__name__}",
            culprit=f"the declaration of encoder {spec.name!r}",
            remedy=f"make it return a mmencode.{kind.__name__}",
        )
    return built


def _not_as_declared(spec: EncoderSpec, declared: dict[str, str], found: dict[str, str]) -> IdentityError:
    differences = [
        f"{field}: declared {declared[field]!r}, found {found[field]!r}"
        for field in declared
        if declared[field] != found[field]
    ]
    return IdentityError(
        f"encoder {spec.name!r} is not what its plugin declares: {'; '.join(differences)}",
        remedy="reinstall the plugin and its weights; its author updates EncoderSpec.identity from "
        "mmencode.encoder.identify(encoder, projection)",
    )
