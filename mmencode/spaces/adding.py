"""Further modalities of a space: their encoders, given by the caller, are checked, and join what is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..errors import SpaceMismatchError, SpecError
from ..plugins.composites import parts_of
from ..plugins.registry import registry
from ..plugins.spec import QUERY, EncoderSpec, require_space_name
from ..projection import Fit, Projection, read_shipped_fit
from .fusing import fused_spec, part_keys, require_part
from .joining import (
    Joining,
    as_frame,
    as_joiner,
    fit_of,
    require_encoder,
    require_fit,
    require_frame,
    require_outputs,
    require_room,
    require_width,
)
from .members import Members

Given = tuple[EncoderSpec, Projection | None]


def join_encoders(members: Members, name: str, encoders: Mapping[str, Given]) -> Members:
    """Make the members of the space `name`: those that are there, and encoders that join them.

    Both share the encoders that are loaded. Raises as `Space.join`.
    """
    if name != members.name:  # a family's member may be called by the path of its checkpoint
        require_space_name(name)
    for modality, (spec, projection) in encoders.items():
        _require_joinable(members, modality, spec, projection)
    kept = {modality: spec for modality, spec in members.specs.items() if modality not in encoders}
    renamed = kept
    if name != members.name:
        renamed = {
            key: as_joiner(spec, name) if spec.joins else as_frame(spec, name) for key, spec in kept.items()
        }
    stale = {key for key, spec in kept.items() if spec.weights and {*part_keys(spec, kept)} - kept.keys()}
    given = {modality: projection for modality, (_, projection) in encoders.items()}
    projections = {**{key: each for key, each in members.projections.items() if key in kept}, **given}
    absent = {key: error for key, error in members.joining.absent.items() if key not in encoders}
    unproven = {key: into for key, into in members.joining.unproven.items() if key not in encoders}
    made = Members(
        name,
        [*renamed.values(), *(as_joiner(spec, name) for spec, _ in encoders.values())],
        {modality: projection for modality, projection in projections.items() if projection is not None},
        members.runtime,
        members.saved_card(name, without={*encoders, *stale}),
        Joining(absent=absent, unproven=unproven),
        {**dict.fromkeys(key for key in members.wanted if key in kept), **encoders},
    )
    made.share(members, kept.keys() - stale)
    return made


def fuse_parts(members: Members, modality: str, weights: Sequence[float] | None) -> Members:
    """Make the members of a space that has a composite as the weighted sum of its parts, too.

    Both share the encoders that are loaded. Raises as `Space.fuse`.
    """
    parts = parts_of(modality)
    if not parts:
        raise ValueError(f'{modality!r} has no parts to fuse: name them, joined by +, such as "image+text"')
    held = members.specs.get(modality)
    if held is not None and not held.weights:
        raise SpaceMismatchError(
            f"{held.name!r} takes {modality} as a whole in the space {members.name!r}",
            remedy=f"encode({modality!r}, items) uses it; parts in another order may be fused",
        )
    given = weights or [1.0] * len(parts)
    made_of = [fused_spec(members.name, modality, given, role) for role in ("", QUERY)]
    if not any(f"{part}:{QUERY}" in members.specs for part in parts):
        del made_of[1]
    for spec in made_of:
        for part in part_keys(spec, members.specs):
            require_part(members.specs, modality, part)
            members.spec(part)  # or the error that it was left out
    keys = tuple(spec.key for spec in made_of)
    kept = {key: each for key, each in members.specs.items() if each.modality != modality}
    made = Members(
        members.name,
        [*kept.values(), *made_of],
        members.projections,
        members.runtime,
        members.saved_card(members.name, without=keys),
        replace(members.joining, absent={k: e for k, e in members.joining.absent.items() if k not in keys}),
        (*(key for key in members.wanted if key in kept), *keys),
    )
    made.share(members, kept)
    return made


def look_up(encoder: object, modality: str) -> Given:
    """Find the encoder, and its projection, that a caller gave to join a space with."""
    match encoder:
        case str():
            return registry()[encoder], None
        case EncoderSpec():
            return encoder, None
        case (str() as named, Projection() as projection):
            return registry()[named], projection
        case (EncoderSpec() as spec, Projection() as projection):
            return spec, projection
    raise TypeError(
        f"the encoder for {modality} is {encoder!r:.100}: give its name, its EncoderSpec, one of these with "
        "a Projection as (encoder, projection), or the Space that has it"
    )


def _require_joinable(
    members: Members, modality: str, spec: EncoderSpec, projection: Projection | None
) -> None:
    """Raise as `Space.join` unless an encoder leads into the space of these members, and was measured."""
    if spec.key != modality:
        raise SpecError(
            f"encoder {spec.name!r} is for {spec.key}, not for {modality}",
            remedy=f"give it as {spec.key!r}, or another one as {modality!r}",
        )
    require_encoder(spec)
    require_room(modality, members.name, members.specs)
    frame = members.frame()
    require_outputs(spec, next(own.outputs for own in members.specs.values() if not own.joins))
    fit = _find_fit(spec, projection)
    require_frame(spec.name, fit.into, frame)
    require_fit(spec.name, fit)
    width = spec.dim if projection is None else projection.dim or (None if spec.projection else spec.dim)
    require_width(spec.name, width, frame)


def _find_fit(spec: EncoderSpec, projection: Projection | None) -> Fit:
    if projection is not None and projection.into:
        return fit_of(projection)
    if projection is None and spec.ships_projection:
        return read_shipped_fit(spec)
    raise SpaceMismatchError(
        f"encoder {spec.name!r} doesn't say into which space it leads",
        remedy="give it with a projection, (encoder, projection), that align fitted into this space, "
        "or measured: align(encoder, space, pairs, method=IdentityProjection())",
    )
