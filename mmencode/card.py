"""The identity of a space: everything that a vector of it depends on, and a fingerprint over that."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .errors import SpaceMismatchError
from .spec import Identity

FORMAT = 1
# Raised whenever mmencode.inputs makes other values of the same bytes: vectors depend on that, too.
INPUTS = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class TowerCard:
    """One modality of a space: which encoder it is, and what that encoder's vectors depend on."""

    modality: str
    encoder: str
    identity: Identity


@dataclass(frozen=True, kw_only=True, slots=True)
class SpaceCard:
    """What the vectors of a space depend on.

    The fingerprint covers everything but the space's name: two machines with the same weights and settings
    have the same one; any change of weights, preprocessing, tokenizer, pooling, windows, projection or
    normalisation, or of how mmencode reads items, gives another; dtype, device and batch size don't count.
    """

    name: str
    dim: int
    towers: tuple[TowerCard, ...]
    normalisation: str = "l2, float32"
    inputs: int = INPUTS

    def to_dict(self) -> dict[str, Any]:
        """The card as plain values that JSON can hold."""
        towers = {
            tower.modality: {"encoder": tower.encoder, **asdict(tower.identity)}
            for tower in sorted(self.towers, key=lambda tower: tower.modality)
        }
        return {
            "format": FORMAT,
            "name": self.name,
            "dim": self.dim,
            "normalisation": self.normalisation,
            "inputs": self.inputs,
            "towers": towers,
        }

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits: SHA-256 of the canonical JSON of the card without its name."""
        content = {key: value for key, value in self.to_dict().items() if key != "name"}
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def id(self) -> str:
        """The name and the first 16 digits of the fingerprint; what every vector of the space carries."""
        return f"{self.name}@{self.fingerprint[:16]}"

    def __str__(self) -> str:
        lines = [f"{self.id}  dim {self.dim}, {self.normalisation}"]
        for tower in sorted(self.towers, key=lambda tower: tower.modality):
            lines.append(f"  {tower.modality}: {tower.encoder}")
            lines += [f"    {key:13} {value}" for key, value in asdict(tower.identity).items() if value]
        return "\n".join(lines)


def card_from_dict(content: Mapping[str, Any]) -> SpaceCard:
    """Read what `SpaceCard.to_dict` wrote; ValueError when the format is newer than this mmencode."""
    if content["format"] != FORMAT:
        raise ValueError(f"space card of format {content['format']}; this mmencode reads {FORMAT}")
    towers = tuple(
        TowerCard(modality=modality, encoder=tower["encoder"], identity=Identity(**_without_encoder(tower)))
        for modality, tower in content["towers"].items()
    )
    return SpaceCard(
        name=content["name"],
        dim=content["dim"],
        normalisation=content["normalisation"],
        inputs=content["inputs"],
        towers=towers,
    )


def _without_encoder(tower: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in tower.items() if key != "encoder"}


def require_same_space(first: str, second: str, doing: str) -> None:
    """Raise SpaceMismatchError unless two space ids have one fingerprint; `doing` says what was tried."""
    if first.rpartition("@")[2] == second.rpartition("@")[2]:
        return
    raise SpaceMismatchError(
        f"vectors of two spaces can't be {doing}: {first} and {second}",
        remedy="encode both sides with one space, loaded once: mmencode.load(name).encode(modality, batch); "
        "equal widths or equal names don't make vectors comparable",
    )
