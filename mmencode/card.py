"""The identity of a space: everything that a vector of it depends on, and a fingerprint over that."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from math import isfinite
from typing import Any, TypeVar

from .errors import SpaceMismatchError
from .plugins.places import with_absolute_path
from .plugins.spec import EncoderSpec, Identity

FORMAT = 1
# Raised whenever mmencode.inputs makes other values of the same bytes: vectors depend on that, too.
INPUTS = 1
NORMALISATION = "l2, float32"
Probes = Mapping[str, tuple[tuple[float, ...], ...]]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class TowerCard:
    """One modality of a space: which encoder it is, and what that encoder's vectors depend on.

    The identity of a family's member says its architecture, and `encoder` is the name of the family alone,
    `timm/*`; the rest of the member's name, a path perhaps, is the `place` of its weights. Vectors don't
    depend on that, so it isn't part of the fingerprint. Otherwise `encoder` is the whole name.
    """

    modality: str
    encoder: str
    identity: Identity
    place: str = ""

    @property
    def name(self) -> str:
        """The name by which the encoder is loaded."""
        return self.encoder.removesuffix("*") + self.place if self.place else self.encoder


def tower_card(spec: EncoderSpec, identity: Identity) -> TowerCard:
    """The card of an encoder that was found, or declared, to have that identity."""
    if not (spec.variant and identity.architecture):
        return TowerCard(modality=spec.modality, encoder=spec.name, identity=identity)
    family = spec.name.removesuffix(spec.variant) + "*"
    return TowerCard(
        modality=spec.modality, encoder=family, identity=identity, place=with_absolute_path(spec.variant)
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class SpaceCard:
    """What the vectors of a space depend on.

    The fingerprint covers everything but the space's name: two machines with the same weights and settings
    have the same one, wherever the weights lie; any change of architecture, weights, preprocessing,
    tokenizer, pooling, windows, projection or normalisation, or of how mmencode reads items, gives another;
    dtype, device and batch size don't count, and no more do `probes`: the vectors of a few generated items
    of each modality, for `Space.verify`.
    """

    name: str
    dim: int
    towers: tuple[TowerCard, ...]
    normalisation: str = NORMALISATION
    inputs: int = INPUTS
    probes: Probes = field(default_factory=dict, hash=False)

    def to_dict(self) -> dict[str, Any]:
        """The card as plain values that JSON can hold; `places` only where there are any."""
        towers = sorted(self.towers, key=lambda tower: tower.modality)
        places = {tower.modality: tower.place for tower in towers if tower.place}
        return {
            "format": FORMAT,
            "name": self.name,
            "dim": self.dim,
            "normalisation": self.normalisation,
            "inputs": self.inputs,
            "towers": {tower.modality: _facts(tower) for tower in towers},
            **({"places": places} if places else {}),
            "probes": {
                modality: [list(row) for row in rows] for modality, rows in sorted(self.probes.items())
            },
        }

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits: the hashed card without its name, places and probes."""
        unhashed = ("name", "places", "probes")
        return json_digest({key: value for key, value in self.to_dict().items() if key not in unhashed})

    @property
    def id(self) -> str:
        """The name and the first 16 digits of the fingerprint; what every vector of the space carries."""
        return f"{self.name}@{self.fingerprint[:16]}"

    def __str__(self) -> str:
        lines = [f"{self.id}  dim {self.dim}, {self.normalisation}"]
        for tower in sorted(self.towers, key=lambda tower: tower.modality):
            lines.append(f"  {tower.modality}: {tower.name}")
            lines += [f"    {key:13} {value}" for key, value in asdict(tower.identity).items() if value]
        return "\n".join(lines)


def _facts(tower: TowerCard) -> dict[str, str]:
    """What the vectors of a tower depend on; an architecture only where it is said, as in the first cards."""
    facts = {"encoder": tower.encoder, **asdict(tower.identity)}
    if not tower.identity.architecture:
        del facts["architecture"]
    return facts


def json_digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of plain values as canonical JSON: sorted keys, no spaces, ASCII."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def card_from_dict(content: Mapping[str, Any]) -> SpaceCard:
    """Read what `SpaceCard.to_dict` wrote; ValueError, with the reason, for anything else.

    Fields that it doesn't know are passed over at the top, where none that vectors depend on is ever added
    without another format, and refused in towers.
    """
    if content.get("format") != FORMAT:
        raise ValueError(f"space card of format {content.get('format')!r}; this mmencode reads {FORMAT}")
    towers = _field(content, "towers", dict)
    places = _places(content.get("places", {}), towers)
    card = SpaceCard(
        name=_field(content, "name", str),
        dim=_field(content, "dim", int),
        normalisation=_field(content, "normalisation", str),
        inputs=_field(content, "inputs", int),
        towers=tuple(_tower(name, facts, places.get(name, "")) for name, facts in towers.items()),
        probes={
            modality: tuple(tuple(row) for row in _rows(modality, rows))
            for modality, rows in _field(content, "probes", dict).items()
        },
    )
    _require_whole(card)
    return card


def _field(content: Mapping[str, Any], name: str, kind: type[T]) -> T:
    value = content.get(name)
    if type(value) is not kind:
        raise ValueError(f"{name!r} is {value!r:.100}, and should be of type {kind.__name__}")
    return value


def _tower(modality: str, content: Any, place: str) -> TowerCard:
    names = ("encoder", *(part.name for part in fields(Identity)))
    given = {"architecture": "", **content} if type(content) is dict else {}
    if not modality.isidentifier() or given.keys() != set(names):
        raise ValueError(f"the tower {modality!r} doesn't have just the fields {', '.join(names)}")
    encoder, *identity = [_field(given, name, str) for name in names]
    if place and not (encoder.endswith("/*") and given["architecture"]):
        raise ValueError(
            f"the encoder {encoder!r} of {modality} is no family, and has a place, {place!r:.100}"
        )
    return TowerCard(
        modality=modality,
        encoder=encoder,
        identity=Identity(**dict(zip(names[1:], identity, strict=True))),
        place=place,
    )


def _places(content: Any, towers: Mapping[str, Any]) -> dict[str, str]:
    if type(content) is not dict or not all(type(place) is str and place for place in content.values()):
        raise ValueError(f"'places' is {content!r:.100}, and should say where weights lie, by modality")
    if unknown := content.keys() - towers.keys():
        raise ValueError(f"it has places of {', '.join(sorted(unknown))}, and no such tower")
    return content


def _rows(modality: str, rows: Any) -> list[list[float]]:
    for row in rows if type(rows) is list and rows else [None]:
        if type(row) is not list or not all(type(value) is float and isfinite(value) for value in row):
            raise ValueError(f"the probes of {modality!r} aren't rows of finite numbers")
    found: list[list[float]] = rows
    return found


def _require_whole(card: SpaceCard) -> None:
    """ValueError for a card without towers, without a width, and for probes that don't fit them."""
    if not card.towers or card.dim < 1:
        raise ValueError(f"it has {len(card.towers)} towers of width {card.dim}")
    if unknown := card.probes.keys() - {tower.modality for tower in card.towers}:
        raise ValueError(f"it has probes of {', '.join(sorted(unknown))}, and no such tower")
    widths = {len(row) for rows in card.probes.values() for row in rows}
    if widths - {card.dim}:
        raise ValueError(f"it has probes of widths {sorted(widths)}, and vectors of width {card.dim}")


def fingerprint_in(id: str) -> str:
    """The digits of a fingerprint in a space's id, which decide whether vectors may be compared."""
    return id.rpartition("@")[2]


def is_same_space(first: str, second: str) -> bool:
    """Whether vectors with these ids of spaces may be compared, whatever the spaces are called."""
    return fingerprint_in(first) == fingerprint_in(second)


def require_same_space(first: str, second: str, doing: str) -> None:
    """Raise SpaceMismatchError unless two space ids have one fingerprint; `doing` says what was tried."""
    if is_same_space(first, second):
        return
    raise SpaceMismatchError(
        f"vectors of two spaces can't be {doing}: {first} and {second}",
        remedy="encode both sides with one space, loaded once: mmencode.load(name).encode(modality, batch); "
        "equal widths or equal names don't make vectors comparable",
    )
