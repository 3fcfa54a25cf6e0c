"""The identity of an index: what makes a folder one, and the refusal of vectors of another space."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..card import SpaceCard, is_same_space
from ..errors import IdentityError, MmencodeError, SpaceMismatchError, StoreError
from ..errors.causes import message_of
from ..plugins.registry import registry
from ..spaces.folder import CARD
from ..spaces.space import Space
from .editions import FOLDER, current_folder
from .lance import DENIED
from .places import Address, place_of
from .tables import ROWS


def has_index(path: str | os.PathLike[str]) -> bool:
    """Whether a folder has a card and tables, without a look into them."""
    try:
        folder = current_folder(Path(os.fsdecode(path)))
    except StoreError:  # of a damaged record, or of a file that merely has its name
        return os.path.isdir(os.path.join(path, FOLDER))
    return os.path.isfile(folder / CARD) and os.path.isdir(folder / f"{ROWS}.lance")


def require_index(path: Path) -> None:
    """Raise StoreError for a folder that has no index, or one that this user can't read."""
    if has_index(path):
        return
    try:
        os.stat(current_folder(path) / CARD)
    except PermissionError as cause:
        raise StoreError(f"the index at {path} can't be read: {message_of(cause)}", remedy=DENIED) from cause
    except (OSError, ValueError):
        pass
    raise StoreError(
        f"there is no index at {path}", remedy="make one with mmencode.Index.create or `mmencode index add`"
    )


def require_folder(path: str | os.PathLike[str]) -> Path:
    """Find the folder of an index that is to be migrated; StoreError where there is none.

    Also for an index on object storage, which can't be.
    """
    place = place_of(path)
    if isinstance(place, Address):
        raise StoreError(
            f"the index at {place} is on object storage, and only one in a folder moves to another space",
            remedy="make one in the other space: Index.create(address, space), and add the items",
        )
    require_index(place)
    return place


def require_card(card: SpaceCard, other: SpaceCard, doing: str) -> None:
    """Raise SpaceMismatchError, with what differs, unless both cards have one fingerprint."""
    if card.fingerprint != other.fingerprint:
        raise _mismatch(card.id, other.id, doing, differences(card, other))


def require_id(card: SpaceCard, own: str, space: str, doing: str) -> None:
    """Raise SpaceMismatchError for vectors of a space with another id than `own`, the id of the card.

    The error says what differs if the other space is installed, since only then its card is known. `own` is
    passed since an id takes a while to compute.
    """
    if not is_same_space(space, own):
        other = _find_installed(space)
        raise _mismatch(own, space, doing, differences(card, other) if other else [])


def explain(card: SpaceCard, space: Space, modality: str, cause: IdentityError) -> MmencodeError:
    """Make the error for an encoder that, once loaded, isn't the one that the index was made with."""
    with space.exact(checked=False) as exact:
        found = exact.tower(modality).card
    towers = tuple(found if tower.key == modality else tower for tower in card.towers)
    changed = replace(card, towers=towers)
    changes = differences(card, changed)
    return _mismatch(card.id, changed.id, "searched or added", changes) if changes else cause


def differences(card: SpaceCard, other: SpaceCard) -> list[str]:
    """List the fields in which two cards differ, with both values."""
    facts, others = _facts(card), _facts(other)
    return [
        f"{name} is {facts.get(name, '')!r:.80} in the index and {others.get(name, '')!r:.80} there"
        for name in sorted(facts.keys() | others.keys())
        if facts.get(name) != others.get(name)
    ]


def _facts(card: SpaceCard) -> dict[str, Any]:
    found: dict[str, Any] = {"dim": card.dim, "normalisation": card.normalisation, "inputs": card.inputs}
    for tower in card.towers:
        found[f"{tower.key}: encoder"] = tower.encoder
        found |= {f"{tower.key}: {name}": value for name, value in asdict(tower.identity).items()}
    return found


def _find_installed(space: str) -> SpaceCard | None:
    """Find the card with this id among installed spaces whose encoders declare their identities."""
    try:
        found = registry().space(space.rpartition("@")[0])
    except MmencodeError:
        return None
    specs = [spec for spec in found if not spec.joins]
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
