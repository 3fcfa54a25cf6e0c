"""Encoders that join a space: which of them add their modality to it, and which are left out, and why.

The towers that define a space, its frame, come from one distribution. Others add a modality that the frame
lacks. To join claims no name, so an encoder that may not join can still be loaded by its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from ..errors import MmencodeError, NameClashError, SpecError
from .spec import EncoderSpec

MIXED = "mixed"  # the modality of Embeddings whose rows are of several


class Joiner(NamedTuple):
    """An encoder that joins a space, with the distribution that declares it."""

    distribution: str
    spec: EncoderSpec


class LeftOut(NamedTuple):
    """An encoder that doesn't join the space that its plugin says, and the reason as an error."""

    distribution: str
    spec: EncoderSpec
    error: MmencodeError


class Joined(NamedTuple):
    """The encoders that join each space, by the space's name, and those that are left out."""

    specs: Mapping[str, tuple[EncoderSpec, ...]]
    left_out: tuple[LeftOut, ...]


def settle_joiners(joiners: Iterable[Joiner], frame_of: Callable[[str], Sequence[Joiner]]) -> Joined:
    """Decide who joins each space: nobody with a modality of the frame, and one encoder for each other.

    `frame_of` gives the encoders that define the space of a name; none where it isn't installed. Where two
    distributions bring one modality, that of the frame goes before another, and two others are left out both.
    """
    wanted: dict[str, list[Joiner]] = defaultdict(list)
    for joiner in joiners:
        wanted[joiner.spec.joins].append(joiner)
    kept: dict[str, tuple[EncoderSpec, ...]] = {}
    left_out: list[LeftOut] = []
    for name, candidates in wanted.items():
        frame = frame_of(name)
        claims: dict[str, list[Joiner]] = defaultdict(list)
        for joiner in candidates:
            error = _find_fault(joiner, frame)
            if error is None:
                claims[joiner.spec.key].append(joiner)
            else:
                left_out.append(LeftOut(*joiner, error))
        chosen = [_choose(rivals, frame, left_out) for rivals in claims.values()]
        kept[name] = tuple(joiner.spec for joiner in chosen if joiner is not None)
    return Joined(kept, tuple(left_out))


def _find_fault(joiner: Joiner, frame: Sequence[Joiner]) -> MmencodeError | None:
    """The error for an encoder whose declaration doesn't let it join a space; None where it does."""
    distribution, spec = joiner
    prefix = f"encoder {spec.name!r} of {distribution} doesn't join the space {spec.joins!r}"
    if frame and frame[0].spec.space_name != spec.joins:
        return SpecError(
            f"{prefix}: that is an alias, which may mean another space one day",
            culprit=distribution,
            remedy=f"its author names the space itself, joins={frame[0].spec.space_name!r}",
        )
    own = next((each for each in frame if each.spec.key == spec.key), None)
    if own is not None:
        return NameClashError(
            f"{prefix}: {own.spec.name!r} of {own.distribution} defines {spec.key} there",
            culprit=distribution,
            remedy="its author should make it a space of its own, by leaving `joins` out; whoever joins "
            "brings a modality that the space lacks",
        )
    if spec.modality == MIXED:
        return SpecError(
            f"{prefix}: rows of several modalities are called {MIXED!r} there",
            culprit=distribution,
            remedy="its author should choose another word for the modality",
        )
    if not spec.weights and (spec.identity is None or not spec.ships_projection):
        lacking = "an identity" if spec.identity is None else "a projection in a file"
        return SpecError(
            f"{prefix}: it doesn't declare {lacking}",
            culprit=distribution,
            remedy="its author declares what mmencode.encoder.identify gives, and ships what align gave and "
            'save_projection wrote, projection="package:file.safetensors"',
        )
    if any(each.spec.outputs != spec.outputs for each in frame):
        number = "many vectors" if spec.outputs == "many" else "one vector"
        return SpecError(
            f"{prefix}: it gives each item {number}, and the space doesn't",
            culprit=distribution,
            remedy="its author joins a space whose encoders have the same `outputs`",
        )
    widths = {each.spec.dim for each in frame} - {None}
    if widths and not spec.weights and spec.dim not in widths:
        return SpecError(
            f"{prefix}: its vectors have {spec.dim} numbers, and those of the space {widths.pop()}",
            culprit=distribution,
            remedy="its author declares the dim of the space, where its projection leads",
        )
    return None


def _choose(rivals: list[Joiner], frame: Sequence[Joiner], left_out: list[LeftOut]) -> Joiner | None:
    """Choose the one encoder that adds a modality to a space; None where several have the same right."""
    owners = {each.distribution for each in frame}
    best = [joiner for joiner in rivals if joiner.distribution in owners] or rivals
    if len(best) == 1:
        error = _clash([*best, *rivals])
        left_out += [LeftOut(*joiner, error) for joiner in rivals if joiner is not best[0]]
        return best[0]
    error = _clash(best)
    left_out += [LeftOut(*joiner, error) for joiner in rivals]
    return None


def _clash(rivals: Sequence[Joiner]) -> NameClashError:
    """The error for several encoders that bring one modality to one space."""
    from packaging.utils import canonicalize_name  # imported here, since `import mmencode` needs neither

    from .barring import VARIABLE

    named = sorted({f"{joiner.spec.name!r} of {joiner.distribution}" for joiner in rivals})
    distributions = sorted({joiner.distribution for joiner in rivals})
    spec, bar = min(rivals, key=lambda joiner: joiner.spec.name).spec, canonicalize_name(distributions[-1])
    chosen = f"join({{{spec.key!r}: {spec.name!r}}})"
    if spec.weights:
        chosen = f"fuse({spec.modality!r}, weights={spec.weights})"
    return NameClashError(
        f"{spec.key} of the space {spec.joins!r} comes from {' and '.join(named)}",
        culprit=" and ".join(distributions),
        remedy=f"choose one: space.{chosen}; or bar the other, {VARIABLE}=-{bar} for one",
    )
