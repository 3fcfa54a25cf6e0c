"""Which folder is an index, and whose vectors it holds: its card, and the refusal of any other space's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..card import SpaceCard, is_same_space
from ..engine.runtime import Auto
from ..errors import (
    EncoderError,
    IdentityError,
    MmencodeError,
    SpaceMismatchError,
    StoreError,
    UnknownNameError,
    WeightsError,
)
from ..errors.causes import message_of
from ..inputs import Limits
from ..plugins.registry import registry
from ..spaces.folder import CARD, Saved, shipped_card, write_folder
from ..spaces.loading import Trust, load
from ..spaces.space import Space
from .lance import DENIED
from .store import ROWS


def has_index(path: str | os.PathLike[str]) -> bool:
    """Whether a folder has a card and tables, without a look into them."""
    return os.path.isfile(os.path.join(path, CARD)) and os.path.isdir(os.path.join(path, f"{ROWS}.lance"))


def require_index(path: Path) -> None:
    """StoreError for a folder that has no index, or one that this user can't see."""
    if has_index(path):
        return
    try:
        os.stat(path / CARD)
    except PermissionError as cause:
        raise StoreError(f"the index at {path} can't be read: {message_of(cause)}", remedy=DENIED) from cause
    except (OSError, ValueError):
        pass
    raise StoreError(
        f"there is no index at {path}", remedy="make one with mmencode.Index.create or `mmencode index add`"
    )


def write_card(space: Space, folder: Path) -> None:
    """Make the folder of the space, from which `load_space` makes it again where that is possible.

    That takes encoders that plugins declare, and projections that can be saved. The card has the vectors to
    verify that the space's own folder or its plugin has; a composed space's are encoded.
    """
    card = space.card
    if space.projections and not card.probes:
        try:
            return space.save(folder)
        except (UnknownNameError, EncoderError):  # it can't be shared: then who opens the index gives it
            return write_folder(folder, Saved(card, {}, {}))
    shipped = None if card.probes else shipped_card(space.specs.values())
    if shipped is not None and shipped.fingerprint == card.fingerprint:
        card = replace(card, probes=shipped.probes)
    write_folder(folder, Saved(card, _plugins(space), space.projections))


def _plugins(space: Space) -> Mapping[str, str]:
    """The distributions of the encoders that one declares."""
    found = {}
    for spec in space.specs.values():
        with suppress(UnknownNameError):
            found[spec.name] = registry().distribution(spec.name)
    return found


def load_space(
    folder: Path, *, device: str | Auto, dtype: str | Auto, limits: Limits | None, trust: Trust | None = None
) -> Space:
    """The space of an index's folder; raises as `load`."""
    try:
        return load(folder, device=device, dtype=dtype, limits=limits, trust=trust)
    except (UnknownNameError, WeightsError) as error:
        error.remedy += "; or give the space itself: Index.open(path, space=space)"
        raise


def require_card(card: SpaceCard, other: SpaceCard, doing: str) -> None:
    """SpaceMismatchError, with what differs, unless both are of one fingerprint."""
    if card.fingerprint != other.fingerprint:
        raise _mismatch(card.id, other.id, doing, differences(card, other))


def require_id(card: SpaceCard, own: str, space: str, doing: str) -> None:
    """The same for vectors, which have but the id; what differs is said where that space is installed.

    `own` is the card's id, which takes a while to compute.
    """
    if not is_same_space(space, own):
        other = _installed(space)
        raise _mismatch(own, space, doing, differences(card, other) if other else [])


def explained(card: SpaceCard, space: Space, modality: str, cause: IdentityError) -> MmencodeError:
    """What to raise when an encoder, once loaded, isn't the one that the index was made with."""
    with space._exact(checked=False) as exact:
        found = exact.tower(modality).card
    towers = tuple(found if tower.modality == modality else tower for tower in card.towers)
    changed = replace(card, towers=towers)
    changes = differences(card, changed)
    return _mismatch(card.id, changed.id, "searched or added", changes) if changes else cause


def differences(card: SpaceCard, other: SpaceCard) -> list[str]:
    """What differs in words, a field at a time."""
    facts, others = _facts(card), _facts(other)
    return [
        f"{name} is {facts.get(name, '')!r:.80} in the index and {others.get(name, '')!r:.80} there"
        for name in sorted(facts.keys() | others.keys())
        if facts.get(name) != others.get(name)
    ]


def _facts(card: SpaceCard) -> dict[str, Any]:
    found: dict[str, Any] = {"dim": card.dim, "normalisation": card.normalisation, "inputs": card.inputs}
    for tower in card.towers:
        found[f"{tower.modality}: encoder"] = tower.encoder
        found |= {f"{tower.modality}: {name}": value for name, value in asdict(tower.identity).items()}
    return found


def _installed(space: str) -> SpaceCard | None:
    """The card of that id, if it is that of an installed space whose encoders declare their identities."""
    try:
        specs = registry().space(space.rpartition("@")[0])
    except MmencodeError:
        return None
    if any(spec.identity is None or spec.dim is None for spec in specs):
        return None
    card = Space(specs[0].space_name, specs).card
    return card if is_same_space(card.id, space) else None


def _mismatch(index: str, other: str, doing: str, changes: list[str]) -> SpaceMismatchError:
    what = f": {'; '.join(changes)}" if changes else ""
    return SpaceMismatchError(
        f"the index holds vectors of {index}, and vectors of {other} can't be {doing} in it{what}",
        remedy="encode with the index's own space, Index.open(path).space, or make another index for these",
    )
