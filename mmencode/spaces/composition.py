"""One space of encoders from any packages, each of which lives there or has a projection fitted to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..card import fingerprint_in
from ..engine.runtime import Runtime
from ..errors import EncoderError, SpaceMismatchError, SpecError, UnknownNameError
from ..inputs import Limits
from ..plugins.registry import registry
from ..plugins.spec import EncoderSpec, require_space_name
from ..projection import IdentityProjection, Projection, Truncation
from .space import Space

Part = str | EncoderSpec | tuple[str | EncoderSpec, Projection] | Space


@dataclass(frozen=True, slots=True)
class _Way:
    """How one modality reaches the space: an encoder, a projection if it has one, and where both lead.

    `home` is the space that has the encoder as it is: one that was given, or the name of a declared one.
    """

    spec: EncoderSpec
    projection: Projection | None = None
    home: Space | str | None = None

    def leads(self) -> tuple[str, ...]:
        """Ids of spaces, any of which says where the vectors are; to know them, encoders may be loaded."""
        if isinstance(self.home, Space):
            return (self.home.id,)
        return _native(self.spec) if self.projection is None else (self.projection.into,)


def compose(
    name: str,
    encoders: Mapping[str, Part],
    *,
    runtime: Runtime | None = None,
    limits: Limits | None = None,
    fast: bool = False,
) -> Space:
    """Make one named space of an encoder for each modality.

    An encoder is given by its name, or its spec, where it lives in the space by itself, as
    `(name, projection)` where a projection leads it there, or as the space that has it. All must lead into
    one space, which a projection says by `into`; the features of one encoder, whole or cut, make their own.
    Widths that are declared are compared at once, others when the encoder is loaded.

    Raises UnknownNameError; SpecError when an encoder is of another modality; SpaceMismatchError when they
    don't lead into one space, or nobody says where one leads; EncoderError when the widths differ.
    """
    require_space_name(name)
    if not encoders:
        raise ValueError(f"space {name!r} has no encoders: give one for each modality")
    ways = {modality: _way(modality, part) for modality, part in encoders.items()}
    _require_one_space(ways)
    _require_one_width(name, ways)
    return Space(
        name,
        [replace(way.spec, space=name, aliases=(), card="") for way in ways.values()],
        projections={
            modality: way.projection for modality, way in ways.items() if way.projection is not None
        },
        runtime=runtime,
        limits=limits,
        fast=fast,
    )


def _way(modality: str, part: Part) -> _Way:
    way = _as_way(modality, part)
    if way.spec.modality != modality:
        raise SpecError(
            f"encoder {way.spec.name!r} is for {way.spec.modality}, not for {modality}",
            remedy=f"give it as {way.spec.modality!r}, or another one as {modality!r}",
        )
    return way


def _as_way(modality: str, part: Part) -> _Way:
    match part:
        case Space():
            return _Way(part.spec(modality), part.projections.get(modality), part)
        case str() | EncoderSpec():
            spec = _spec(part)
            return _Way(spec, home=spec.space_name if spec in _declared(spec) else None)
        case (str() | EncoderSpec() as encoder, Projection() as projection):
            spec = _spec(encoder)
            _require_fit(spec, projection)
            return _Way(spec, projection)
    raise TypeError(
        f"the encoder for {modality} is {part!r:.100}: give its name, its EncoderSpec, one of these with a "
        "Projection as (encoder, projection), or the Space that has it"
    )


def _spec(encoder: str | EncoderSpec) -> EncoderSpec:
    return registry()[encoder] if isinstance(encoder, str) else encoder


def _require_fit(spec: EncoderSpec, projection: Projection) -> None:
    """What can be said of an encoder and its projection before the encoder is loaded."""
    width = None if spec.projection else spec.dim  # with a projection of its own, dim isn't the features'
    if None not in (width, projection.width) and width != projection.width:
        raise EncoderError(
            f"encoder {spec.name!r} gives features of width {width}, and its projection takes "
            f"{projection.width}",
            remedy="fit the projection to this encoder's features",
        )


def _declared(spec: EncoderSpec) -> tuple[EncoderSpec, ...]:
    """All encoders that plugins declare for the spec's space; none for a spec that they don't declare."""
    try:
        found = registry().space(spec.space_name)
    except UnknownNameError:
        return ()
    return found if spec in found else ()


def _native(spec: EncoderSpec) -> tuple[str, ...]:
    """Ids under which an encoder's own vectors are known: of its whole space, and of it alone."""
    specs = _declared(spec) or (spec,)
    with Space(spec.space_name, specs, runtime=Runtime("cpu", "float32")) as whole:
        card = whole.card
    alone = replace(card, towers=tuple(tower for tower in card.towers if tower.modality == spec.modality))
    return card.id, alone.id


def _require_one_space(ways: Mapping[str, _Way]) -> None:
    homes = {way.home for way in ways.values()}
    for way in ways.values():
        _require_fitted(way, alone=len(ways) == 1)
    if len(ways) == 1 or (len(homes) == 1 and None not in homes):
        return
    leads = {modality: way.leads() for modality, way in ways.items()}
    prints = [set(map(fingerprint_in, ids)) for ids in leads.values()]
    if set.intersection(*prints):
        return
    places = "; ".join(
        f"{modality}: {way.spec.name} into {leads[modality][0]}" for modality, way in ways.items()
    )
    raise SpaceMismatchError(
        f"these encoders don't lead into one space: {places}",
        remedy="fit a projection for those that lead elsewhere, with mmencode.align or LabelAnchored",
    )


def _require_fitted(way: _Way, *, alone: bool) -> None:
    """SpaceMismatchError for a projection that leads nowhere; alone, features as they are make a space."""
    if way.projection is None or way.projection.into or isinstance(way.home, Space):
        return
    if alone and isinstance(way.projection, IdentityProjection | Truncation):
        return
    raise SpaceMismatchError(
        f"nobody says into which space the projection of encoder {way.spec.name!r} leads",
        remedy="fit it with mmencode.align, or give LabelAnchored the Embeddings of its labels; "
        "a projection of your own sets `into` to the id of the space that it was fitted to",
    )


def _require_one_width(name: str, ways: Mapping[str, _Way]) -> None:
    dims = {
        modality: (way.projection and way.projection.dim) or way.spec.dim for modality, way in ways.items()
    }
    if len(set(dims.values()) - {None}) > 1:
        raise EncoderError(
            f"the encoders of space {name!r} have widths "
            + ", ".join(f"{modality}: {dim or 'unknown'}" for modality, dim in dims.items()),
            remedy="fit the projections again, into the space as it is now",
        )
