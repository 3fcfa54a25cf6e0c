"""Further modalities of a space: their encoders, given by the caller, are checked, and join what is there."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import SpaceMismatchError, SpecError
from ..plugins.registry import registry
from ..plugins.spec import EncoderSpec, require_space_name
from ..projection import Fit, Projection, read_shipped_fit
from .joining import (
    Joining,
    as_frame,
    as_joiner,
    fit_of,
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
    require_space_name(name)
    for modality, (spec, projection) in encoders.items():
        _require_joinable(members, modality, spec, projection)
    kept = {modality: spec for modality, spec in members.specs.items() if modality not in encoders}
    renamed = kept
    if name != members.name:
        renamed = {
            key: as_joiner(spec, name) if spec.joins else as_frame(spec, name) for key, spec in kept.items()
        }
    given = {modality: projection for modality, (_, projection) in encoders.items()}
    projections = {**{key: each for key, each in members.projections.items() if key in kept}, **given}
    absent = {key: error for key, error in members.joining.absent.items() if key not in encoders}
    unproven = {key: into for key, into in members.joining.unproven.items() if key not in encoders}
    made = Members(
        name,
        [*renamed.values(), *(as_joiner(spec, name) for spec, _ in encoders.values())],
        {modality: projection for modality, projection in projections.items() if projection is not None},
        members.runtime,
        members.saved_card(name, without=encoders),
        Joining(absent=absent, unproven=unproven),
        {**dict.fromkeys(key for key in members.wanted if key in kept), **encoders},
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
