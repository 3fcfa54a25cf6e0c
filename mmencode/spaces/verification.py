"""Verification of a space: its probes, a few generated items, are encoded again and compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass

import numpy as np

from ..arguments.brief import Brief
from ..card import Probes, SpaceCard
from ..embeddings.array_types import Vectors
from ..embeddings.embeddings import Embeddings
from ..encoder.notices import without_notices
from ..engine.generated import generated_items
from ..errors import IdentityError
from ..plugins.spec import EncoderSpec, Identity

TOLERANCE = 0.1  # degrees; float32 on two machines differs by thousandths, another resize by whole ones
_DIGITS = 7
Encode = Callable[[str, list[object]], Embeddings]


@dataclass(frozen=True, slots=True, repr=False)
class Verification(Brief):
    """The comparison of a space's vectors of the probes with those of a card.

    space, card   the ids of the space that was verified, and of the card
    angles        by modality, the largest angle to the card's vectors, in degrees
    changes       by modality, the parts of the encoder's identity that differ: "weights", "tokenizer" ...
    skipped       modalities of the card that couldn't be compared: their packages aren't installed, or their
                  plugin makes no probes
    tolerance     the largest angle that counts as no change, in degrees
    """

    space: str
    card: str
    angles: Mapping[str, float]
    changes: Mapping[str, tuple[str, ...]]
    skipped: tuple[str, ...] = ()
    tolerance: float = TOLERANCE

    @property
    def same(self) -> bool:
        """Whether all compared modalities are as the card says."""
        return not any(self._differs(modality) for modality in self.angles)

    def _differs(self, modality: str) -> bool:
        within = self.angles[modality] <= self.tolerance
        return not within or bool(self.changes[modality])

    def __str__(self) -> str:
        lines = [f"{self.space} against the card of {self.card}"]
        for modality, angle in self.angles.items():
            verdict = "same"
            if self._differs(modality):
                verdict = "; ".join([f"CHANGED, {self.tolerance:g} is allowed", *self.changes[modality]])
            lines.append(f"  {modality:8} {angle:8.4f} degrees at most: {verdict}")
        lines += [f"  {modality:8} not compared" for modality in self.skipped]
        return "\n".join(lines)


def encode_probes(encode: Encode, specs: Iterable[EncoderSpec], wait: float) -> Probes:
    """Encode the probes of each encoder's modality, and round; one that declares no probes has none.

    A plugin has `wait` seconds to make those of its modality.
    """
    with without_notices():
        rows = {
            spec.key: encode(spec.key, items).vectors
            for spec in specs
            if (items := generated_items(spec.modality, spec.parts, wait))
        }
    return {
        modality: tuple(tuple(round(value, _DIGITS) for value in row.tolist()) for row in vectors)
        for modality, vectors in rows.items()
    }


def verify(
    encode: Encode, space: str, towers: Mapping[EncoderSpec, Identity], card: SpaceCard, wait: float
) -> Verification:
    """Encode the probes of some modalities again, and measure the angles to the card's vectors.

    towers   by their specs, the identities of the encoders here; IdentityError when there are none
    """
    if not towers:
        raise IdentityError(
            f"the card of {card.id} has no vectors to compare with",
            remedy="take the card of a folder that Space.save wrote, with a modality of this space",
        )
    declared = {tower.key: tower.identity for tower in card.towers}
    angles, changes = {}, {}
    for spec, identity in towers.items():
        modality, items = spec.key, generated_items(spec.modality, spec.parts, wait)
        if not items:
            continue
        expected = np.array(card.probes[modality], np.float32)
        with without_notices():
            angles[modality] = largest_angle(encode(modality, items).vectors, expected)
        changes[modality] = _differences(identity, declared[modality])
    skipped = tuple(tower.key for tower in card.towers if tower.key not in angles)
    return Verification(space, card.id, angles, changes, skipped)


def _differences(one: Identity, other: Identity) -> tuple[str, ...]:
    """The names of fields in which two identities differ; older cards don't state the architecture."""
    fields, others = asdict(one), asdict(other)
    if not other.architecture:
        del fields["architecture"]
    return tuple(name for name in fields if fields[name] != others[name])


def largest_angle(vectors: Vectors, expected: Vectors) -> float:
    """The largest angle between rows, in degrees; 180 for different shapes.

    It is computed from the chord, since the cosine of a small angle lacks precision.
    """
    if vectors.shape != expected.shape:
        return 180.0
    chords = np.linalg.norm(vectors.astype(np.float64) - expected, axis=1)
    return float(np.degrees(2 * np.arcsin(np.clip(chords / 2, 0, 1))).max())
