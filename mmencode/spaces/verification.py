"""Whether a space still gives the vectors that it gave: a few generated items, encoded again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass

import numpy as np

from ..card import Probes, SpaceCard
from ..embeddings.array_types import Vectors
from ..embeddings.embeddings import Embeddings
from ..engine.probes import probes
from ..errors import IdentityError
from ..plugins.spec import Identity

TOLERANCE = 0.1  # degrees; float32 on two machines differs by thousandths, another resize by whole ones
_DIGITS = 7
Encode = Callable[[str, list[object]], Embeddings]


@dataclass(frozen=True, slots=True)
class Verification:
    """What encoding a card's probes again gave.

    space, card   the ids of the space that was asked, and of the card
    angles        for each modality the largest angle to the card's vectors, in degrees
    changes       for each of these what isn't as the card says: "weights", "tokenizer" ...
    skipped       modalities of the card that couldn't be compared: their packages aren't installed, or only
                  their plugin knows what items of them are
    tolerance     the largest angle that counts as none, in degrees
    """

    space: str
    card: str
    angles: Mapping[str, float]
    changes: Mapping[str, tuple[str, ...]]
    skipped: tuple[str, ...] = ()
    tolerance: float = TOLERANCE

    @property
    def same(self) -> bool:
        """Whether all that was compared is as the card says."""
        return not any(self._changed(modality) for modality in self.angles)

    def _changed(self, modality: str) -> bool:
        within = self.angles[modality] <= self.tolerance
        return not within or bool(self.changes[modality])

    def __str__(self) -> str:
        lines = [f"{self.space} against the card of {self.card}"]
        for modality, angle in self.angles.items():
            verdict = "same"
            if self._changed(modality):
                verdict = "; ".join([f"CHANGED, {self.tolerance:g} is allowed", *self.changes[modality]])
            lines.append(f"  {modality:8} {angle:8.4f} degrees at most: {verdict}")
        lines += [f"  {modality:8} not compared" for modality in self.skipped]
        return "\n".join(lines)


def probed(encode: Encode, modalities: Iterable[str]) -> Probes:
    """The vectors of each modality's probes; none for one that only a plugin knows."""
    rows = {
        modality: encode(modality, items).vectors for modality in modalities if (items := probes(modality))
    }
    return {
        modality: tuple(tuple(round(value, _DIGITS) for value in row.tolist()) for row in vectors)
        for modality, vectors in rows.items()
    }


def verify(encode: Encode, space: str, found: Mapping[str, Identity], card: SpaceCard) -> Verification:
    """Encode the card's probes of the modalities found and measure the angles.

    IdentityError when there are none of these.
    """
    if not found:
        raise IdentityError(
            f"the card of {card.id} has no vectors to compare with",
            remedy="take the card of a folder that Space.save wrote, of a space with these modalities",
        )
    declared = {tower.modality: tower.identity for tower in card.towers}
    angles, changes = {}, {}
    for modality, identity in found.items():
        expected = np.array(card.probes[modality], np.float32)
        angles[modality] = _largest_angle(encode(modality, probes(modality)).vectors, expected)
        changes[modality] = _differences(identity, declared[modality])
    skipped = tuple(tower.modality for tower in card.towers if tower.modality not in found)
    return Verification(space, card.id, angles, changes, skipped)


def _differences(one: Identity, other: Identity) -> tuple[str, ...]:
    """The fields that differ from another's, of which the first cards don't say the architecture."""
    fields, others = asdict(one), asdict(other)
    if not other.architecture:
        del fields["architecture"]
    return tuple(name for name in fields if fields[name] != others[name])


def _largest_angle(found: Vectors, expected: Vectors) -> float:
    """In degrees; from the chord, since the cosine of a small angle says little. 180 for other shapes."""
    if found.shape != expected.shape:
        return 180.0
    chords = np.linalg.norm(found.astype(np.float64) - expected, axis=1)
    return float(np.degrees(2 * np.arcsin(np.clip(chords / 2, 0, 1))).max())
