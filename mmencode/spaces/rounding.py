"""Spaces in int8: the same encoders with products in integers, whose vectors are another space's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..card import SpaceCard
from ..errors import SpaceMismatchError
from ..plugins.spec import INT8, EncoderSpec

INTEGERS = "int8"  # the dtype that asks for them


def round_specs(specs: Sequence[EncoderSpec], dtype: str) -> list[EncoderSpec]:
    """Give encoders the precision that a dtype asks for; those of a saved space in int8 keep theirs.

    Raises SpaceMismatchError for another dtype than "auto" of such a space.
    """
    if dtype == INTEGERS:
        return [spec if spec.weights else replace(spec, precision=INT8, card="") for spec in specs]
    rounded = [spec.key for spec in specs if spec.precision]
    if rounded and dtype != "auto":
        raise SpaceMismatchError(
            f"the space was saved in int8, for {', '.join(rounded)}, and dtype={dtype!r} makes another one",
            remedy='leave dtype out, or make it "int8"; for float32, load the space that it was made of',
        )
    return list(specs)


def round_card(card: SpaceCard, specs: Sequence[EncoderSpec]) -> SpaceCard:
    """Give the towers of a saved card the precision of their specs; probes of the others say nothing then."""
    precision = {spec.key: spec.precision for spec in specs}
    changed = {
        tower.key for tower in card.towers if precision.get(tower.key, tower.precision) != tower.precision
    }
    towers = tuple(
        replace(tower, precision=precision[tower.key]) if tower.key in changed else tower
        for tower in card.towers
    )
    probes = {key: rows for key, rows in card.probes.items() if key not in changed}
    return replace(card, towers=towers, probes=probes)
