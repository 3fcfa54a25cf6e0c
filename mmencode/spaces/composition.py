"""Composition of one space from encoders of any packages, each native to it or projected into it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..card import fingerprint_in
from ..engine.runtime import Runtime
from ..errors import EncoderError, SpaceMismatchError, SpecError, UnknownNameError
from ..inputs import Limits
from ..plugins.registry import registry
from ..plugins.spec import EncoderSpec, require_space_name
from ..projection import IdentityProjection, Projection, Truncation, read_shipped_fit
from .joining import as_frame, as_joiner, require_encoder, require_fit
from .space import Space

EncoderLike = str | EncoderSpec | tuple[str | EncoderSpec, Projection] | Space


@dataclass(frozen=True, slots=True)
class _Route:
    """The route of one modality into the space: an encoder, and a projection if it needs one.

    home   the space that has this encoder and projection already: a loaded one, or the name of a declared one
    """

    spec: EncoderSpec
    projection: Projection | None = None
    home: Space | str | None = None

    def place(self, name: str) -> EncoderSpec:
        """Make the spec of the encoder in the space of this name, which it joins if it joined another."""
        return as_joiner(self.spec, name) if self.spec.joins else as_frame(self.spec, name)

    def find_ids(self) -> tuple[str, ...]:
        """The ids, one or more, of the space that the route leads into; finding them may load encoders."""
        if isinstance(self.home, Space):
            return (self.home.id,)
        if self.projection is None and self.spec.joins:
            return (read_shipped_fit(self.spec).into,)
        return _find_native_ids(self.spec) if self.projection is None else (self.projection.into,)


def compose(
    name: str,
    encoders: Mapping[str, EncoderLike],
    *,
    frame: Space | None = None,
    runtime: Runtime | None = None,
    limits: Limits | None = None,
    fast: bool = False,
) -> Space:
    """Make one named space of an encoder for each modality.

    An encoder that is native to the space is given by its name or spec; one that a projection leads there,
    as `(name, projection)`; one of a loaded space, as that Space. All must lead into one space; a projection
    names its space by `into`. A single encoder may stay without one: its features, whole or truncated, make
    a space of their own. Declared widths are compared at once, others when the encoder is loaded.

    All encoders define the new space, but for those that join a space which is given: they join the new one.
    With a `frame`, a loaded space, that one goes on to define it: its vectors stay comparable with the new
    ones, and the encoders join it, as by `Space.join`.

    Raises UnknownNameError; SpecError when an encoder is of another modality; SpaceMismatchError when the
    encoders don't lead into one space, or a projection doesn't say where it leads; EncoderError when the
    widths differ.
    """
    require_space_name(name)
    if not encoders:
        raise ValueError(f"space {name!r} has no encoders: give one for each modality")
    if frame is not None:
        if (runtime, limits, fast) != (None, None, False):
            raise ValueError("runtime, limits and fast are those of the frame: give them when it is loaded")
        return frame.join(encoders, name=name)
    routes = {modality: _check_route(modality, encoder) for modality, encoder in encoders.items()}
    _require_one_space(routes)
    _require_one_width(name, routes)
    return Space(
        name,
        [route.place(name) for route in routes.values()],
        projections={
            modality: route.projection for modality, route in routes.items() if route.projection is not None
        },
        runtime=runtime,
        limits=limits,
        fast=fast,
    )


def _check_route(modality: str, encoder: EncoderLike) -> _Route:
    route = _make_route(modality, encoder)
    if route.spec.key != modality:
        raise SpecError(
            f"encoder {route.spec.name!r} is for {route.spec.key}, not for {modality}",
            remedy=f"give it as {route.spec.key!r}, or another one as {modality!r}",
        )
    return route


def _make_route(modality: str, encoder: EncoderLike) -> _Route:
    match encoder:
        case Space() as space:
            space.prove(modality)
            return _Route(space.spec(modality), space.projections.get(modality), space)
        case str() | EncoderSpec():
            return _route_native(_look_up(encoder))
        case (str() | EncoderSpec() as named, Projection() as projection):
            spec = _look_up(named)
            _require_fit(spec, projection)
            return _Route(spec, projection)
    raise TypeError(
        f"the encoder for {modality} is {encoder!r:.100}: give its name, its EncoderSpec, one of these with "
        "a Projection as (encoder, projection), or the Space that has it"
    )


def _route_native(spec: EncoderSpec) -> _Route:
    """Make the route of an encoder in the space that it declares, or joins, as was measured."""
    require_encoder(spec)
    if spec.joins:
        require_fit(spec.name, read_shipped_fit(spec))
        return _Route(spec)
    return _Route(spec, home=spec.space_name if spec in _find_declared_space(spec) else None)


def _look_up(encoder: str | EncoderSpec) -> EncoderSpec:
    return registry()[encoder] if isinstance(encoder, str) else encoder


def _require_fit(spec: EncoderSpec, projection: Projection) -> None:
    """Raise EncoderError when the declared widths of an encoder and its projection differ."""
    width = None if spec.projection else spec.dim  # with a projection of its own, dim isn't the features'
    if None not in (width, projection.width) and width != projection.width:
        raise EncoderError(
            f"encoder {spec.name!r} gives features of width {width}, and its projection takes "
            f"{projection.width}",
            remedy="fit the projection to this encoder's features",
        )


def _find_declared_space(spec: EncoderSpec) -> tuple[EncoderSpec, ...]:
    """Look up the encoders of the spec's space in the registry; none when the registry lacks the spec."""
    try:
        found = registry().space(spec.space_name)
    except UnknownNameError:
        return ()
    return tuple(each for each in found if not each.joins) if spec in found else ()


def _find_native_ids(spec: EncoderSpec) -> tuple[str, ...]:
    """The ids of an encoder's own space: with all its encoders, and with this one alone."""
    specs = _find_declared_space(spec) or (spec,)
    with Space(spec.space_name, specs, runtime=Runtime("cpu", "float32")) as whole:
        card = whole.card
    if spec.role:
        return (card.id,)
    alone = replace(card, towers=tuple(tower for tower in card.towers if tower.key == spec.key))
    return card.id, alone.id


def _require_one_space(routes: Mapping[str, _Route]) -> None:
    homes = {route.home for route in routes.values()}
    for route in routes.values():
        _require_fitted(route, alone=len(routes) == 1)
    if len(routes) == 1 or (len(homes) == 1 and None not in homes):
        return
    ids = {modality: route.find_ids() for modality, route in routes.items()}
    prints = [set(map(fingerprint_in, each)) for each in ids.values()]
    if set.intersection(*prints):
        return
    places = "; ".join(
        f"{modality}: {route.spec.name} into {ids[modality][0]}" for modality, route in routes.items()
    )
    raise SpaceMismatchError(
        f"these encoders don't lead into one space: {places}",
        remedy="fit a projection for those that lead elsewhere, with mmencode.align or LabelAnchored",
    )


def _require_fitted(route: _Route, *, alone: bool) -> None:
    """Raise SpaceMismatchError for a projection without a space; alone, features themselves make a space."""
    if route.projection is None or route.projection.into or isinstance(route.home, Space):
        return
    if alone and isinstance(route.projection, IdentityProjection | Truncation):
        return
    raise SpaceMismatchError(
        f"the projection of encoder {route.spec.name!r} doesn't say into which space it leads",
        remedy="fit it with mmencode.align, or give LabelAnchored the Embeddings of its labels; "
        "a projection of your own sets `into` to the id of the space that it was fitted to",
    )


def _require_one_width(name: str, routes: Mapping[str, _Route]) -> None:
    dims = {
        modality: (route.projection and route.projection.dim) or route.spec.dim
        for modality, route in routes.items()
    }
    if len(set(dims.values()) - {None}) > 1:
        raise EncoderError(
            f"the encoders of space {name!r} have widths "
            + ", ".join(f"{modality}: {dim or 'unknown'}" for modality, dim in dims.items()),
            remedy="fit the projections again, into the space as it is now",
        )
