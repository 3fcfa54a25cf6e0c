"""The identity of a space: everything that a vector of it depends on, and a fingerprint over that."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from math import inf, isfinite
from typing import Any, TypeVar

from .arguments.brief import Brief
from .errors import SpaceMismatchError
from .plugins.composites import JOINT
from .plugins.places import with_absolute_path
from .plugins.spec import QUERY, EncoderSpec, Identity

FORMAT = 1
# Increased whenever mmencode.inputs decodes the same bytes to other values, since vectors depend on them.
INPUTS = 1
NORMALISATION = "l2, float32"
SUM = "weighted sum"  # in place of an encoder's name, which has no spaces
Probes = Mapping[str, tuple[tuple[float, ...], ...]]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class TowerCard(Brief):
    """The encoder of one modality of a space, and everything that its vectors depend on.

    For a member of a family, `encoder` is the family's name, `timm/*`, since the architecture is part of the
    identity, and `place` is the rest of the member's name, which may be a path to weights. Vectors don't
    depend on the place, so it isn't part of the fingerprint. For any other encoder, `encoder` is the whole
    name.

    Its vectors may be cut to one of the `widths`, which no number depends on either. Nor does one depend on
    `over`, as in EncoderSpec, which says whose network it shares.

    One with a `role` is the queries' side of its modality, beside that of the documents or alone; the
    `instruction` is the caller's, and goes into the prompt of its items. The `precision` is "" for vectors
    within rounding of float32's; `fidelity` is the least cosine to these of others, on generated items, and 0
    where it wasn't measured.

    A tower that is `joined` doesn't define the space but was led into it; `report` says how well, as the fit
    measured it. That of a composite which is the weighted sum of its parts' vectors has the `weights`.
    """

    modality: str
    encoder: str
    identity: Identity
    place: str = ""
    role: str = ""
    instruction: str = ""
    precision: str = ""
    fidelity: float = 0.0
    widths: tuple[int, ...] = ()
    over: str = ""
    joined: bool = False
    report: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def digest(self) -> str:
        """Sixteen digits over all that the tower's vectors depend on, as an id has over those of a space."""
        return json_digest({"modality": self.key, **_facts(self)})[:16]

    @property
    def key(self) -> str:
        """The key of the tower in its space: the modality, and after a colon the role where it has one."""
        return f"{self.modality}:{self.role}" if self.role else self.modality

    @property
    def name(self) -> str:
        """The name by which the encoder is loaded."""
        return self.encoder.removesuffix("*") + self.place if self.place else self.encoder


def tower_card(spec: EncoderSpec, identity: Identity, widths: Sequence[int] | None = None) -> TowerCard:
    """Make the card of an encoder from its spec and its identity, computed or declared.

    `widths` that were found in place of those that the spec declares are given.
    """
    encoder, place = spec.name, ""
    if spec.variant and identity.architecture:
        encoder, place = spec.name.removesuffix(spec.variant) + "*", with_absolute_path(spec.variant)
    return TowerCard(
        modality=spec.modality,
        encoder=encoder,
        identity=identity,
        place=place,
        role=spec.role,
        instruction=spec.instruction,
        precision=spec.precision,
        widths=spec.widths if widths is None else tuple(widths),
        over=spec.over,
    )


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class SpaceCard(Brief):
    """The identity of a space: everything that its vectors depend on.

    The towers of its `frame` define it, `joiners` were led into it since, and `askers` encode queries where
    the documents of a modality have another tower. The fingerprint is over the frame, so that ids stay and
    old vectors go on being comparable when a modality joins, or queries get another instruction.

    Two machines with the same weights and settings compute the same fingerprint, wherever the weights lie.
    Any change of architecture, weights, preprocessing, tokenizer, pooling, windows, projection or
    normalisation, or of how mmencode decodes items, gives another. The space's name, dtype, device and batch
    size don't count, and neither do `probes`, the vectors of a few generated items of each modality, with
    which `Space.verify` compares.
    """

    name: str
    dim: int
    towers: tuple[TowerCard, ...]
    normalisation: str = NORMALISATION
    inputs: int = INPUTS
    probes: Probes = field(default_factory=dict, hash=False)

    @property
    def frame(self) -> tuple[TowerCard, ...]:
        """The towers that define the space: those of queries only where documents have none."""
        own = tuple(tower for tower in self.towers if not tower.joined)
        return tuple(tower for tower in own if not tower.role) or own

    @property
    def joiners(self) -> tuple[TowerCard, ...]:
        """The towers that joined the space."""
        return tuple(tower for tower in self.towers if tower.joined)

    @property
    def askers(self) -> tuple[TowerCard, ...]:
        """The towers of the queries' side, where the documents of their modality have another."""
        return tuple(tower for tower in self.towers if tower.role)

    def tower(self, key: str) -> TowerCard | None:
        """The tower of a modality, or of a key such as "text:query"; None where the space has none."""
        return next((tower for tower in self.towers if tower.key == key), None)

    def to_dict(self) -> dict[str, Any]:
        """The card as plain values for JSON; a field of some towers only where there are such."""
        towers = sorted(self.towers, key=lambda tower: tower.key)
        joined = {
            tower.key: {**_facts(tower), "report": dict(tower.report)} for tower in towers if tower.joined
        }
        frame = {tower.key: _facts(tower) for tower in sorted(self.frame, key=lambda tower: tower.key)}
        queries = {
            tower.key: _facts(tower) for tower in towers if not tower.joined and tower.key not in frame
        }
        places = {tower.key: tower.place for tower in towers if tower.place}
        widths = {tower.key: list(tower.widths) for tower in towers if tower.widths}
        over = {tower.key: tower.over for tower in towers if tower.over}
        fidelity = {tower.key: tower.fidelity for tower in towers if tower.fidelity}
        return {
            "format": FORMAT,
            "name": self.name,
            "dim": self.dim,
            "normalisation": self.normalisation,
            "inputs": self.inputs,
            "towers": frame,
            **({"queries": queries} if queries else {}),
            **({"joined": joined} if joined else {}),
            **({"places": places} if places else {}),
            **({"widths": widths} if widths else {}),
            **({"over": over} if over else {}),
            **({"fidelity": fidelity} if fidelity else {}),
            "probes": {
                modality: [list(row) for row in rows] for modality, rows in sorted(self.probes.items())
            },
        }

    @property
    def fingerprint(self) -> str:
        """The digest of the card's frame and settings, without name, places and probes, in 64 digits."""
        unhashed = ("name", "queries", "joined", "places", "widths", "over", "fidelity", "probes")
        return json_digest({key: value for key, value in self.to_dict().items() if key not in unhashed})

    @property
    def id(self) -> str:
        """The name and the first 16 digits of the fingerprint; what every vector of the space carries."""
        return f"{self.name}@{self.fingerprint[:16]}"

    def __str__(self) -> str:
        lines = [f"{self.id}  dim {self.dim}, {self.normalisation}"]
        for tower in sorted(self.towers, key=lambda tower: tower.key):
            side = ", of queries" if tower.role else ""
            lines.append(f"  {tower.key}: {tower.name}{side}{', which joined' if tower.joined else ''}")
            if tower.widths:
                lines.append(f"    {'widths':13} {', '.join(map(str, tower.widths))}")
            if tower.instruction:
                lines.append(f"    {'instruction':13} {tower.instruction}")
            if tower.precision:
                lines.append(f"    {'precision':13} {tower.precision}")
            if tower.fidelity:
                lines.append(f"    {'fidelity':13} cosines of {tower.fidelity:.4f} at least to float32's")
            lines += [f"    {'measured':13} {said}" for said in _describe_report(tower.report)]
            lines += [f"    {key:13} {value}" for key, value in asdict(tower.identity).items() if value]
        return "\n".join(lines)


def _facts(tower: TowerCard) -> dict[str, str]:
    """The fields of a tower that its vectors depend on, without an empty architecture, as in old cards."""
    facts = {"encoder": tower.encoder, **asdict(tower.identity)}
    if tower.instruction:
        facts["instruction"] = tower.instruction
    if tower.precision:
        facts["precision"] = tower.precision
    if not tower.identity.architecture:
        del facts["architecture"]
    return facts


def json_digest(content: Mapping[str, Any]) -> str:
    """The SHA-256 of plain values as canonical JSON: sorted keys, no spaces, ASCII."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def card_from_dict(content: Mapping[str, Any]) -> SpaceCard:
    """Read what `SpaceCard.to_dict` wrote; ValueError, with the reason, for anything else.

    Unknown fields are ignored at the top level, where a field that vectors depend on is never added without
    another format number, and refused in towers.
    """
    if content.get("format") != FORMAT:
        raise ValueError(f"space card of format {content.get('format')!r}; this mmencode reads {FORMAT}")
    towers = _read_field(content, "towers", dict)
    queries = _read_others("queries", content.get("queries", {}), towers)
    joined = _read_others("joined", content.get("joined", {}), {**towers, **queries})
    places = _read_places(content.get("places", {}), {**towers, **queries, **joined})
    widths = _read_widths(content.get("widths", {}), {**towers, **queries, **joined})
    over = _read_over(content.get("over", {}), {**towers, **queries, **joined})
    fidelity = _read_fidelity(content.get("fidelity", {}), {**towers, **queries, **joined})
    card = SpaceCard(
        name=_read_field(content, "name", str),
        dim=_read_field(content, "dim", int),
        normalisation=_read_field(content, "normalisation", str),
        inputs=_read_field(content, "inputs", int),
        towers=tuple(
            replace(
                tower,
                widths=widths.get(tower.key, ()),
                over=over.get(tower.key, ""),
                fidelity=fidelity.get(tower.key, 0.0),
            )
            for tower in (
                *(
                    _read_tower(name, facts, places.get(name, ""))
                    for name, facts in (towers | queries).items()
                ),
                *(_read_joiner(name, facts, places.get(name, "")) for name, facts in joined.items()),
            )
        ),
        probes={
            modality: tuple(tuple(row) for row in _read_probes(modality, rows))
            for modality, rows in _read_field(content, "probes", dict).items()
        },
    )
    _require_whole(card)
    return card


def _read_field(content: Mapping[str, Any], name: str, kind: type[T]) -> T:
    value = content.get(name)
    if type(value) is not kind:
        raise ValueError(f"{name!r} is {value!r:.100}, and should be of type {kind.__name__}")
    return value


def _read_tower(key: str, content: Any, place: str) -> TowerCard:
    names = ("encoder", *(part.name for part in fields(Identity)))
    given = {"architecture": "", **content} if type(content) is dict else {}
    modality, colon, role = key.partition(":")
    words = all(map(str.isidentifier, modality.split(JOINT)))
    sound = words and role == (QUERY if colon else "")
    asked = {"instruction": given.pop("instruction")} if role and "instruction" in given else {}
    rounded = {"precision": given.pop("precision")} if "precision" in given else {}
    if not sound or given.keys() != set(names):
        raise ValueError(f"the tower {key!r} doesn't have just the fields {', '.join(names)}")
    encoder, *identity = [_read_field(given, name, str) for name in names]
    if place and not (encoder.endswith("/*") and given["architecture"]):
        raise ValueError(f"the encoder {encoder!r} of {key} is no family, and has a place, {place!r:.100}")
    return TowerCard(
        modality=modality,
        encoder=encoder,
        identity=Identity(**dict(zip(names[1:], identity, strict=True))),
        place=place,
        role=role,
        instruction=_read_field(asked, "instruction", str) if asked else "",
        precision=_read_field(rounded, "precision", str) if rounded else "",
    )


def _read_others(name: str, content: Any, towers: Mapping[str, Any]) -> dict[str, Any]:
    if type(content) is not dict or content.keys() & towers.keys():
        raise ValueError(f"{name!r} is {content!r:.100}, and should have towers of other modalities")
    if name == "queries" and not all(key.endswith(f":{QUERY}") for key in content):
        raise ValueError(f"'queries' has {', '.join(content):.100}, and should have queries' towers only")
    return content


def _read_joiner(key: str, content: Any, place: str) -> TowerCard:
    facts = dict(content) if type(content) is dict else {}
    report = facts.pop("report", None)
    if type(report) is not dict:
        raise ValueError(f"the tower {key!r} joined, and has the report {report!r:.100}")
    if facts.get("encoder") == SUM:
        _require_weights(key, report.get("weights"))
    return replace(_read_tower(key, facts, place), joined=True, report=report)


def _require_weights(modality: str, weights: Any) -> None:
    """Raise ValueError unless a sum has a positive weight for each of its parts."""
    numbers = type(weights) is list and all(type(each) is float and 0 < each < inf for each in weights)
    if not numbers or JOINT not in modality or len(weights) != modality.count(JOINT) + 1:
        raise ValueError(f"the tower {modality!r} is a sum, and has the weights {weights!r:.100}")


def _describe_report(report: Mapping[str, Any]) -> Iterator[str]:
    """Describe the recall that a report holds, in each direction; nothing for one of another kind."""
    for side in ("forward", "backward"):
        found = report.get(side)
        shares = found if isinstance(found, Mapping) else {}
        at, chance = (shares.get(name) for name in ("at", "chance"))
        first = [each.get("1") if isinstance(each, Mapping) else None for each in (at, chance)]
        if all(isinstance(share, float) for share in first):
            yield f"{side}: recall@1 {first[0]:.1%}, {first[1]:.1%} by chance"


def _read_places(content: Any, towers: Mapping[str, Any]) -> dict[str, str]:
    if type(content) is not dict or not all(type(place) is str and place for place in content.values()):
        raise ValueError(f"'places' is {content!r:.100}, and should say where weights lie, by modality")
    if unknown := content.keys() - towers.keys():
        raise ValueError(f"it has places of {', '.join(sorted(unknown))}, and no such tower")
    return content


def _read_widths(content: Any, towers: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    lists = content.values() if type(content) is dict and content.keys() <= towers.keys() else [None]
    for found in lists:
        if type(found) is not list or not all(type(width) is int and width > 0 for width in found):
            raise ValueError(f"'widths' is {content!r:.100}, and should say widths of vectors, by modality")
    return {key: tuple(found) for key, found in content.items()}


def _read_over(content: Any, towers: Mapping[str, Any]) -> dict[str, str]:
    named = type(content) is dict and content.keys() <= towers.keys()
    if not named or not all(type(over) is str for over in content.values()):
        raise ValueError(
            f"'over' is {content!r:.100}, and should say what towers are built over, by modality"
        )
    found: dict[str, str] = content
    return found


def _read_fidelity(content: Any, towers: Mapping[str, Any]) -> dict[str, float]:
    values = content.values() if type(content) is dict and content.keys() <= towers.keys() else [None]
    if not all(type(value) is float and 0 < value <= 1.001 for value in values):
        raise ValueError(f"'fidelity' is {content!r:.100}, and should have cosines, by modality")
    return dict(content)


def _read_probes(modality: str, rows: Any) -> list[list[float]]:
    for row in rows if type(rows) is list and rows else [None]:
        if type(row) is not list or not all(type(value) is float and isfinite(value) for value in row):
            raise ValueError(f"the probes of {modality!r} aren't rows of finite numbers")
    found: list[list[float]] = rows
    return found


def _require_whole(card: SpaceCard) -> None:
    """Raise ValueError for a card without towers or width, or with probes that don't fit these."""
    if not card.frame or card.dim < 1:
        raise ValueError(f"it has {len(card.frame)} towers of width {card.dim}")
    if unknown := card.probes.keys() - {tower.key for tower in card.towers}:
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
