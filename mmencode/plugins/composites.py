"""Composite modalities: parts joined by `+`, and interleaved items with parts in any number and order."""

from __future__ import annotations

JOINT = "+"
INTERLEAVED = "interleaved"
MOST = 16  # parts that the name of a composite may have


def parts_of(modality: str) -> tuple[str, ...]:
    """Split the name of a composite into its parts, in their order; () for any other modality.

    Those of "interleaved" are in the spec of its encoder. A key, with a role behind a colon, counts as its
    modality.
    """
    name = modality.partition(":")[0]
    return tuple(name.split(JOINT)) if JOINT in name else ()


def is_composite(modality: str) -> bool:
    """Whether an item of this modality has parts of others."""
    return bool(parts_of(modality)) or is_interleaved(modality)


def is_interleaved(modality: str) -> bool:
    """Whether items of this modality, or of this key, have parts in any number and order."""
    return modality.partition(":")[0] == INTERLEAVED


def join_parts(parts: tuple[str, ...]) -> str:
    """Make the name of the composite that has these parts."""
    return JOINT.join(parts)
