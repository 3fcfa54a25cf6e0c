"""Builds encoders and their projections from specs, and checks that they are what the specs declare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from ..card import TowerCard, tower_card
from ..encoder import Base, Encoder, identify
from ..encoder.identity import Digester
from ..errors import EncoderError, IdentityError, WeightsError
from ..errors.causes import quote
from ..inputs.weights import require_numbers
from ..isolation.copying import Borrowed, snapshot, structural_copy
from ..isolation.fence import own_numbers, plain_load
from ..plugins.packages import require_packages
from ..plugins.places import placeless
from ..plugins.spec import EncoderSpec, Identity
from ..plugins.targets import build, culprit_of
from ..projection import IdentityProjection, Projection, load_shipped
from .compiling import name_cache


@dataclass(frozen=True, eq=False, slots=True)
class Built:
    """An encoder as its spec's targets built it: in float32 on the CPU, copied, and looked at."""

    spec: EncoderSpec
    encoder: Encoder
    projection: Projection
    card: TowerCard
    borrowed: Borrowed

    @property
    def dim(self) -> int:
        """The width of its embeddings."""
        return self.spec.dim or self.encoder.width


@plain_load()
def build_tower(spec: EncoderSpec, given: Projection | None = None) -> tuple[Encoder, Projection, TowerCard]:
    """Build an encoder and its projection in float32 on the CPU, with the card of what they are found to be.

    The encoder is a copy that shares the parameters' memory with what the target gave, and nothing else, so
    that whoever has that goes on with it as it was.
    """
    (built,) = build_checked([spec], {} if given is None else {spec.key: given})
    return built.encoder, built.projection, built.card


def build_checked(specs: Sequence[EncoderSpec], projections: Mapping[str, Projection]) -> list[Built]:
    """Build the encoders of specs that name one target, in one call of it, and check each of them.

    Those that are built over another one of the specs follow, each by its own target. A projection that is
    given, by the key of its encoder, takes the place of the spec's own. Networks and parameters that encoders
    share stay shared.
    """
    for spec in specs:
        require_packages(spec)
    keys = {spec.key for spec in specs}
    first = [spec for spec in specs if spec.base not in keys]
    found = dict(zip((spec.key for spec in first), _build_encoders(first), strict=True))
    bases = {spec.key: spec for spec in first}
    for spec in specs:
        if spec.key not in found:
            below = bases[spec.base]
            base = make_base(below, found[below.key], projections.get(below.key))
            found[spec.key] = _build_encoder(spec, over=base)
    encoders = structural_copy(nn.ModuleList(found[spec.key] for spec in specs))
    digester, sound = Digester(), set[int]()
    return [
        _check(spec, encoder, projections.get(spec.key), digester, sound)
        for spec, encoder in zip(specs, encoders, strict=True)
    ]


def make_base(spec: EncoderSpec, encoder: Encoder, given: Projection | None = None) -> Base:
    """Make what another encoder may be built over of an encoder, as its target gave it or copied."""
    projection = _projection(spec, given)
    named = spec.identity.architecture if spec.identity else encoder.architecture or placeless(spec.variant)
    return Base(encoder, projection, spec.dim or projection.dim or encoder.width, named or spec.name)


def _check(
    spec: EncoderSpec, encoder: Any, given: Projection | None, digester: Digester, sound: set[int]
) -> Built:
    """Check an encoder; `sound` has the ids of weights whose numbers were looked at with an earlier one."""
    projection = _projection(spec, given)
    _require_filled(encoder, spec)
    outputs = "many" if encoder.gives_many else "one"
    if outputs != spec.outputs:
        raise EncoderError(
            f"encoder {spec.name!r} has the outputs {outputs!r}, and its spec says {spec.outputs!r}",
            remedy='its author makes it a MultiEncoder with EncoderSpec(outputs="many"), or neither',
            culprit=culprit_of(spec),
        )
    for module in (encoder, projection):
        module.eval().requires_grad_(False)
    if projection.width not in (None, encoder.width):
        raise EncoderError(
            f"encoder {spec.name!r} gives features of width {encoder.width}, and its projection takes "
            f"{projection.width}",
            remedy="fit the projection to this encoder's features",
        )
    require_numbers(encoder, spec.name, sound)
    borrowed = Borrowed(encoder)
    used = projection if given is not None or spec.projection else None
    found = identify(encoder, used, spec.variant, digest_weights=digester)
    if spec.identity is not None and not spec.identity.architecture:  # it was written before there was one
        found = replace(found, architecture="")
    if spec.identity is not None and found != _as_asked(spec.identity, found, spec):
        raise _not_as_declared(spec, asdict(spec.identity), asdict(found))
    return Built(
        spec, encoder, projection, tower_card(spec, found, _widths(spec, encoder, projection)), borrowed
    )


def _as_asked(declared: Identity, found: Identity, spec: EncoderSpec) -> Identity:
    """The identity that a spec declares; the words of an instruction change what is said of preprocessing."""
    return replace(declared, preprocessing=found.preprocessing) if spec.instruction else declared


def _widths(spec: EncoderSpec, encoder: Encoder, projection: Projection) -> tuple[int, ...]:
    """The widths that embeddings may be cut to: by the spec, or the encoder's, whose features they are."""
    found = {*spec.widths, *(encoder.widths if isinstance(projection, IdentityProjection) else ())}
    return tuple(sorted(width for width in found if width < (spec.dim or encoder.width)))


def _require_filled(encoder: Encoder, spec: EncoderSpec) -> None:
    """WeightsError for a network whose weights are only announced."""
    for name, tensor in (*encoder.named_parameters(), *encoder.named_buffers()):
        if is_lazy(tensor) or tensor.is_meta:
            raise WeightsError(
                f"the target of encoder {spec.name!r} gave a network without numbers in {name!r}",
                culprit=f"{spec.target}",
                remedy="fill its weights before it is given: run a lazy layer once, load what is on the meta "
                "device",
            )


def _build_encoders(specs: Sequence[EncoderSpec]) -> list[Encoder]:
    """Build encoders; the error for a member of a family says how to name another place of its weights."""
    first = specs[0]
    try:
        if first.shared:
            return _build_together(specs)
        return [_build_encoder(first)]
    except WeightsError as error:
        if first.variant and first.identity is not None:
            moved = "if the weights lie elsewhere now, load the space from there and give it: "
            error.remedy += f"; {moved}load(folder, space=space), Index.open(folder, space=space)"
        raise


def _build_encoder(spec: EncoderSpec, **options: Any) -> Encoder:
    found = _build(spec, spec.target, **_instruction_for(spec), **options)
    return _require_kind(spec, spec.target, found, Encoder)  # type: ignore[no-any-return]


def _build_together(specs: Sequence[EncoderSpec]) -> list[Encoder]:
    """Call a target that builds for several modalities at once, and see to it that it gives what it should.

    What it gives for other modalities is let go.
    """
    first, wanted = specs[0], tuple(spec.key for spec in specs)
    asked = next((spec for spec in specs if spec.instructed), first)
    found = _build(first, first.target, modalities=wanted, **_instruction_for(asked))
    given: list[Any] = list(found) if isinstance(found, Mapping) else []
    if not set(wanted) <= set(given):
        raise EncoderError(
            f"{first.target} was asked for encoders for {', '.join(wanted)}, and gave "
            f"{quote(given, 200) if isinstance(found, Mapping) else type(found).__name__}",
            culprit=culprit_of(first),
            remedy="a target whose specs say shared=True returns a mapping from each of `modalities` to its "
            "Encoder",
        )
    return [_require_kind(spec, spec.target, found[spec.key], Encoder) for spec in specs]


def _instruction_for(spec: EncoderSpec) -> dict[str, str]:
    """The instruction that a target which takes one is called with; "" is none."""
    return {"instruction": spec.instruction} if spec.instructed else {}


def build_encoder(spec: EncoderSpec) -> Encoder:
    """Call the spec's target alone, and give its encoder as it is, before anything of it is copied."""
    (encoder,) = _build_encoders([spec])
    return encoder


def _projection(spec: EncoderSpec, given: Projection | None) -> Projection:
    if given is not None:
        return snapshot(given)  # moving it to a device is no business of whoever gave it
    if not spec.projection:
        return IdentityProjection()
    if spec.ships_projection:
        return load_shipped(spec)
    declared: Projection = _require_kind(spec, spec.projection, _build(spec, spec.projection), Projection)
    return snapshot(declared)


def _build(spec: EncoderSpec, target: str, **options: Any) -> Any:
    """Import `target` and call it."""
    name_cache()
    with own_numbers():  # modules draw initial weights; the user's generator isn't theirs
        return build(spec, target, **options)


def _require_kind(spec: EncoderSpec, target: str, built: Any, kind: type[Any]) -> Any:
    if not isinstance(built, kind):
        raise EncoderError(
            f"{target} gave {type(built).__name__}",
            culprit=culprit_of(spec),
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
