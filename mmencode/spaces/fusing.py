"""Composites that a space declares as the weighted sum of its parts' vectors; they join the space."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from math import isfinite

from ..card import SUM, TowerCard
from ..errors import EncoderError, MmencodeError, UnknownModalityError
from ..plugins.composites import parts_of
from ..plugins.spec import QUERY, EncoderSpec, Identity
from .sides import key_for

_ROUNDING = 1e-5  # what rounding to six digits may take the sum of 16 weights from 1


def fused_spec(space: str, modality: str, weights: Sequence[float], role: str = "") -> EncoderSpec:
    """Declare a composite of a space as the weighted sum of its parts; the weights are brought to a sum of 1.

    Raises ValueError for weights that aren't positive numbers, one for each part.
    """
    given = [float(weight) for weight in weights]
    if len(given) != len(parts_of(modality)) or not all(isfinite(each) and each > 0 for each in given):
        raise ValueError(
            f"the weights of {modality} are {tuple(weights)!r:.100}: give a positive number for each of its "
            f"{len(parts_of(modality))} parts"
        )
    return EncoderSpec(
        name=f"sum/{modality.replace('+', '-')}{role and '-'}{role}",
        modality=modality,
        role=role,
        target="",
        joins=space,
        weights=_share(given),
        description="the weighted sum of its parts' vectors",
    )


def _share(weights: Sequence[float]) -> tuple[float, ...]:
    """Bring weights to a sum of 1, with six digits; those that were brought there stay what they are."""
    total = sum(weights)
    if abs(total - 1) < _ROUNDING:
        return tuple(weights)
    return tuple(float(f"{each / total:.6g}") for each in weights)


def sums_of_queries(specs: Iterable[EncoderSpec], known: Container[str]) -> list[EncoderSpec]:
    """Declare the queries' side of sums that plugins declare, where their parts have one in a space.

    `known` are the keys of the space. A side that is declared stays what it is.
    """
    return [
        replace(spec, name=f"{spec.name}-{QUERY}", role=QUERY)
        for spec in specs
        if spec.weights and not spec.role and f"{spec.modality}:{QUERY}" not in known
        if any(f"{part}:{QUERY}" in known for part in spec.parts)
    ]


def fused_card(spec: EncoderSpec, parts: Sequence[TowerCard]) -> TowerCard:
    """Make the card of such a composite, whose identity is that of its parts and their weights."""
    named = [f"{weight:g} {part}" for part, weight in zip(spec.parts, spec.weights, strict=True)]
    identity = Identity(
        weights=", ".join(f"tower {part.digest}" for part in parts),
        preprocessing="that of each part",
        pooling=f"normalised sum of {' + '.join(named)}, without absent parts",
    )
    report = {"weights": list(spec.weights)}
    return TowerCard(
        modality=spec.modality,
        role=spec.role,
        encoder=SUM,
        identity=identity,
        joined=True,
        report=report,
    )


def part_keys(spec: EncoderSpec, known: Container[str]) -> tuple[str, ...]:
    """The keys of the encoders of a sum's parts: those of queries where it is one, and there are such."""
    return tuple(key_for(part, spec.role, known) for part in spec.parts)


def weights_of(tower: TowerCard) -> tuple[float, ...]:
    """The weights of a composite that is a sum, as its card says; () for all other towers."""
    return tuple(tower.report["weights"]) if tower.encoder == SUM else ()


def settle_fused(
    specs: Mapping[str, EncoderSpec],
) -> tuple[dict[str, EncoderSpec], dict[str, MmencodeError]]:
    """Give each sum the requirements of its parts, and set those aside whose parts aren't there.

    The errors of the latter are by modality.
    """
    found, absent = dict(specs), dict[str, MmencodeError]()
    for modality, spec in specs.items():
        if not spec.weights:
            continue
        try:
            parts = [require_part(specs, spec.modality, part) for part in part_keys(spec, specs)]
        except MmencodeError as error:
            del found[modality]
            absent[modality] = error
            continue
        needed = tuple(dict.fromkeys(line for part in parts for line in part.requires))
        install = next((part.install for part in parts if part.install), "")
        found[modality] = replace(spec, weights=_share(spec.weights), requires=needed, install=install)
    return found, absent


def require_part(specs: Mapping[str, EncoderSpec], modality: str, part: str) -> EncoderSpec:
    """Find the encoder of one part of a sum; UnknownModalityError where there is none with single vectors."""
    if part not in specs:
        raise UnknownModalityError(
            f"{modality} can't be fused: the space has no encoder for {part!r}",
            remedy=f"it has {', '.join(specs)}; `mmencode list` shows other spaces",
        )
    if specs[part].outputs != "one":
        raise EncoderError(
            f"{modality} can't be fused: items of {part!r} have many vectors each, and a sum takes one",
            remedy="fuse in a space of single vectors; `mmencode list` shows them",
        )
    return specs[part]
