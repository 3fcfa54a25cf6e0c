"""The encoders of a space that are loaded under one lock, so that others can be used and loaded meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from ..plugins.spec import EncoderSpec
from .fusing import part_keys


def group_keys(
    specs: Mapping[str, EncoderSpec], own: Collection[str], *, framed: bool
) -> dict[str, frozenset[str]]:
    """Group the keys of a space by what loading one of them may load or look at, by key.

    These are encoders that one target builds together, those that are built over others, and a sum with its
    parts. Where the space isn't `framed`, an encoder that joins it also has all of its `own`, which may have
    to be loaded to learn their identities; these don't have it. No group reaches over one that it holds.
    """
    groups = {key: {key} for key in specs}
    for key, other in _ties(specs):
        joined = groups[key] | groups[other]
        groups |= dict.fromkeys(joined, joined)
    frame: set[str] = set().union(*(groups[key] for key in own if not framed))
    return {key: frozenset(group if group <= {*own} else group | frame) for key, group in groups.items()}


def _ties(specs: Mapping[str, EncoderSpec]) -> Iterator[tuple[str, str]]:
    """The pairs of keys of which one can't be loaded without looking at the other."""
    for key, spec in specs.items():
        if spec.weights:
            yield from ((key, part) for part in part_keys(spec, specs) if part in specs)
        if spec.base in specs:
            yield key, spec.base
        if spec.shared:
            yield from ((key, other.key) for other in specs.values() if _share_target(spec, other))


def _share_target(spec: EncoderSpec, other: EncoderSpec) -> bool:
    return other.shared and (other.target, other.variant) == (spec.target, spec.variant)


def is_alone(specs: Iterable[EncoderSpec]) -> bool:
    """Whether an encoder among these has a target that may not be called while another one is."""
    return not all(spec.threadsafe for spec in specs if not spec.weights)
