"""The members of a space: an encoder and its projection for each modality, loaded when first used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ..card import SpaceCard, tower_card
from ..encoder import known
from ..engine.runtime import Runtime
from ..engine.towers import Tower, load_tower
from ..errors import ClosedError, EncoderError, UnknownModalityError
from ..isolation.copying import snapshot
from ..isolation.guarding import Guard, loads
from ..plugins.spec import EncoderSpec
from ..projection import Projection


class Members:
    """The encoders of one space by modality, each loaded once on every device; safe in several threads."""

    def __init__(
        self,
        name: str,
        specs: Iterable[EncoderSpec],
        projections: Mapping[str, Projection],
        runtime: Runtime,
        card: SpaceCard | None,
    ) -> None:
        self.name, self.runtime = name, runtime
        self.specs = {spec.modality: spec for spec in specs}
        self.projections = {modality: snapshot(given) for modality, given in projections.items()}
        self._led = self.specs | {
            modality: _lead(self.spec(modality), given) for modality, given in self.projections.items()
        }
        self._card = card
        self._towers: dict[str, tuple[Tower, ...]] = {}
        self._closed = False
        self._lock = Guard()

    def spec(self, modality: str) -> EncoderSpec:
        """The declaration of one modality's encoder; UnknownModalityError when there is none."""
        if modality not in self.specs:
            raise UnknownModalityError(
                f"space {self.name!r} has no encoder for {modality!r}",
                remedy=f"it has {', '.join(self.specs)}; `mmencode list` shows other spaces",
            )
        return self.specs[modality]

    def require_outputs(self, modality: str, wanted: str) -> None:
        """Raise EncoderError where a modality's items have many vectors and one is wanted, or the reverse."""
        found = self.spec(modality).outputs
        if found == wanted:
            return
        verbs = {"one": "encode() and stream() give it", "many": "encode_multi() gives them"}
        vectors = "many vectors" if found == "many" else "one vector"
        raise EncoderError(
            f"items of {modality!r} have {vectors} each in space {self.name!r}, and {wanted} for each was "
            "asked for",
            remedy=f"{verbs[found]}; `mmencode list` shows spaces of the other kind",
        )

    def towers(self, modality: str) -> tuple[Tower, ...]:
        """Load the encoder of a modality, once, with a tower for each device."""
        self.spec(modality)  # or the error that there is none
        with self._lock:
            self.require_open()
            if modality not in self._towers:
                self.runtime.after_fork()
                spec, given = self._led[modality], self.projections.get(modality)
                with loads.one(spec.name):
                    self._towers[modality] = tuple(
                        load_tower(spec, self.runtime, device, given) for device in self.runtime.devices
                    )
            return self._towers[modality]

    @property
    def loaded(self) -> tuple[str, ...]:
        """The modalities whose encoders are in memory."""
        return tuple(self._towers)

    def card(self) -> SpaceCard:
        """Make the card of the space, once; encoders whose plugin doesn't declare it are loaded for that."""
        with self._lock:
            if self._card is None:
                self._card = self._make_card()
            return self._card

    def _make_card(self) -> SpaceCard:
        kinds = {spec.outputs for spec in self._led.values()}
        if len(kinds) > 1:
            raise EncoderError(
                f"some encoders of space {self.name!r} give one vector for each item and others many",
                remedy="declare them in two spaces: single vectors aren't comparable with many",
            )
        dims, cards = set(), []
        for modality, spec in self._led.items():
            if spec.identity is not None and spec.dim is not None:
                dims.add(spec.dim)
                cards.append(tower_card(spec, spec.identity))
            else:
                tower = self.towers(modality)[0]
                dims.add(tower.dim)
                cards.append(tower.card)
        if len(dims) != 1:
            raise EncoderError(
                f"the encoders of space {self.name!r} have widths {sorted(dims)}",
                remedy="give all of them one dim, or projections that lead to one",
            )
        return SpaceCard(name=self.name, dim=dims.pop(), towers=tuple(cards))

    def copy(self) -> Members:
        """Copy the members: both have the encoders that are loaded, and load others each for itself."""
        with self._lock:
            other = Members(self.name, self.specs.values(), self.projections, self.runtime, self._card)
            other._towers |= self._towers
            other._closed = self._closed
        return other

    def close(self) -> None:
        """Let go of the encoders, with their memory; nothing can be loaded afterwards."""
        with self._lock:
            self._closed = True
            self._towers.clear()

    def require_open(self) -> None:
        """Raise ClosedError where the space was closed."""
        if self._closed:
            raise ClosedError(f"space {self.name!r} is closed", remedy="load it again")


def _lead(spec: EncoderSpec, projection: Projection) -> EncoderSpec:
    """Make the spec of an encoder with a projection in place of whatever the spec names."""
    identity = spec.identity and replace(spec.identity, projection=known(projection))
    return replace(spec, projection="", identity=identity, dim=projection.dim or spec.dim)
