"""Joining: which encoders may add a modality to a space, by where they lead, and how well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..card import SpaceCard, TowerCard, fingerprint_in, tower_card
from ..errors import FitError, MmencodeError, SpaceMismatchError, SpecError
from ..errors.causes import describe_error
from ..plugins.spec import EncoderSpec
from ..projection import Fit, Projection, read_shipped_fit
from .recall import judge_report


@dataclass(frozen=True, slots=True)
class Joining:
    """The encoders that join a space, and those that can't.

    specs     the encoders that join it
    absent    the errors of those that don't, by key
    unproven  by key the id of the space that it leads into, where that couldn't be compared yet, since
              the identities of the space's own encoders aren't declared
    """

    specs: tuple[EncoderSpec, ...] = ()
    absent: Mapping[str, MmencodeError] = field(default_factory=dict)
    unproven: Mapping[str, str] = field(default_factory=dict)


def admit(
    joiners: Iterable[EncoderSpec], frame: SpaceCard | None, taken: Iterable[str], outputs: str = "one"
) -> Joining:
    """Admit those declared joiners that lead into the space with the card `frame`, and were measured.

    Their projections are read from their files; none of their code runs, and whatever is wrong with one of
    them becomes its own error. Without a card the comparison with the space is left for later. `taken` are
    the keys that the space has already, and `outputs` what its encoders give for each item.
    """
    specs, absent, unproven, gone = [], {}, {}, set(taken)
    for spec in joiners:
        if spec.key in gone:
            continue
        try:
            if spec.weights:  # its parts are the space's own
                require_outputs(spec, outputs)
                specs.append(spec)
                continue
            fit = read_shipped_fit(spec)
            require_fit(spec.name, fit)
            require_outputs(spec, outputs)
            if frame is None:
                unproven[spec.key] = fit.into
            else:
                require_frame(spec.name, fit.into, frame)
                require_width(spec.name, spec.dim, frame)
            specs.append(spec)
        except MmencodeError as error:
            absent[spec.key] = error
        except Exception as cause:
            absent[spec.key] = SpecError(
                f"encoder {spec.name!r} can't join the space {spec.joins!r}: {describe_error(cause)}",
                remedy="reinstall its plugin, or tell its author",
            )
    return Joining(tuple(specs), absent, unproven)


def fit_of(projection: Projection) -> Fit:
    """Tell where a projection leads, and how well."""
    return Fit(projection.into, projection.report)


def require_fit(encoder: str, fit: Fit) -> None:
    """Raise SpaceMismatchError for a fit that doesn't say where it leads, FitError for one not measured."""
    if not fit.into:
        raise SpaceMismatchError(
            f"the projection of encoder {encoder!r} doesn't say into which space it leads",
            remedy="fit it with mmencode.align, or measure it: align(..., method=projection)",
        )
    verdict = judge_report(fit.report)
    if verdict != "above chance":
        raise FitError(
            f"the projection of encoder {encoder!r} can't join {fit.into}: held-out items were not measured"
            if verdict == "not measured"
            else f"the projection of encoder {encoder!r} can't join {fit.into}: held-out items don't find "
            "their partners better than by chance",
            remedy="measure it on pairs that belong together: mmencode.align(encoder, space, pairs, "
            "method=projection), or fit one to more of them",
        )


def require_frame(encoder: str, into: str, frame: SpaceCard) -> None:
    """Raise SpaceMismatchError unless `into` is the id of this frame, or of one of its towers by itself."""
    alone = (replace(frame, towers=(tower,)) for tower in frame.frame)
    if fingerprint_in(into) not in {fingerprint_in(card.id) for card in (frame, *alone)}:
        raise SpaceMismatchError(
            f"encoder {encoder!r} leads into {into}, and the space to join is {frame.id}",
            remedy="fit or measure it for this space, with mmencode.align; or load the space where it leads",
        )


def require_width(encoder: str, dim: int | None, frame: SpaceCard) -> None:
    """Raise SpaceMismatchError for vectors of another width than the space's; None is not known yet."""
    if dim not in (None, frame.dim):
        raise SpaceMismatchError(
            f"encoder {encoder!r} gives vectors of {dim} numbers, and those of {frame.id} have {frame.dim}",
            remedy="fit its projection into this space, with mmencode.align",
        )


def require_outputs(spec: EncoderSpec, outputs: str) -> None:
    """Raise SpaceMismatchError for one vector for each item where the space has many, and the other way."""
    if spec.outputs != outputs:
        raise SpaceMismatchError(
            f"encoder {spec.name!r} gives {spec.outputs} for each item, and the space {outputs}",
            remedy="join a space whose encoders have the same `outputs`: single vectors aren't comparable "
            "with many",
        )


def require_encoder(spec: EncoderSpec) -> None:
    """Raise SpaceMismatchError for a weighted sum of parts' vectors, which leads nowhere by itself."""
    if spec.weights:
        raise SpaceMismatchError(
            f"{spec.name!r} is no encoder of {spec.modality} but the weighted sum of its parts' vectors in "
            f"the space {spec.joins!r}",
            remedy=f"declare it where its parts are: space.fuse({spec.modality!r}, weights={spec.weights})",
        )


def require_room(modality: str, name: str, frame: Mapping[str, EncoderSpec]) -> None:
    """Raise SpaceMismatchError for the key of one of the space's own encoders."""
    if modality in frame and not frame[modality].joins:
        raise SpaceMismatchError(
            f"{frame[modality].name!r} defines {modality} in the space {name!r}, and no other can join it",
            remedy="make a space of its own with mmencode.compose: its vectors are others, and so is its id",
        )


def as_joiner(spec: EncoderSpec, space: str) -> EncoderSpec:
    """Make the spec of an encoder that joins the space of this name."""
    return replace(spec, joins=space, space="", aliases=(), card="")


def as_frame(spec: EncoderSpec, space: str) -> EncoderSpec:
    """Make the spec of an encoder that defines the space of this name, with others or alone."""
    return replace(spec, joins="", space=space, aliases=(), card="")


def report_of(spec: EncoderSpec, given: Projection | None) -> Mapping[str, object]:
    """The measured report of a joiner's fit."""
    if given is not None:
        return given.report
    return read_shipped_fit(spec).report if spec.ships_projection else {}


def as_joined(tower: TowerCard, report: Mapping[str, object]) -> TowerCard:
    """Make the card of a tower that joined a space, with the report of its fit."""
    return replace(tower, joined=True, report=report)


def card_of_declared(name: str, specs: Sequence[EncoderSpec]) -> SpaceCard | None:
    """Make the card of encoders whose identities are declared; None where one of them isn't."""
    specs = [spec for spec in specs if not spec.role] or specs
    towers = [tower_card(spec, spec.identity) for spec in specs if spec.identity is not None]
    widths = {spec.dim for spec in specs}
    (dim, *others) = widths or {None}
    if len(towers) < len(specs) or dim is None or others:
        return None
    return SpaceCard(name=name, dim=dim, towers=tuple(towers))
