"""The members of a space: an encoder and its projection for each key, loaded when first used."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import replace

from ..card import SpaceCard, TowerCard, tower_card
from ..embeddings.rows import join_widths
from ..encoder import Base, known
from ..engine.building import build_tower, make_base
from ..engine.fusing import fuse_towers
from ..engine.runtime import Runtime
from ..engine.towers import Facts, Tower, load_towers
from ..errors import (
    ClosedError,
    EncoderError,
    IdentityError,
    MmencodeError,
    SpaceMismatchError,
    UnknownModalityError,
)
from ..inputs import Limits
from ..isolation.copying import snapshot
from ..isolation.guarding import Claims, loads
from ..plugins.packages import missing_packages
from ..plugins.spec import EncoderSpec
from ..projection import IdentityProjection, Projection
from .ahead import load_at_once
from .claiming import group_keys, is_alone
from .fusing import fused_card, part_keys, settle_fused
from .joining import Joining, as_frame, as_joined, report_of, require_frame, require_width
from .modules import EncoderModule, build_module
from .sides import expand, key_for, unknown_modality
from .together import find_together

_Loaded = tuple[list[tuple[Tower, ...]], dict[str, Facts]]


class Members:
    """The encoders of one space by key, each loaded once on every device; safe in several threads.

    The key of an encoder is its modality, or "text:query" for one of the queries' side. Those that are loaded
    may be used while another one loads; two are loaded at the same time where their targets are `threadsafe`.

    Encoders that one target builds together are loaded together, with those that are built over them; over
    one that is loaded already, they share its network. Those of modalities that aren't `wanted` are never
    kept; they are built only where the space's card can't be known without them.
    Those that join the space need another that defines it: without one, they define a space of their own. So
    do those of queries where documents have none.
    """

    name: str
    runtime: Runtime
    joining: Joining
    specs: dict[str, EncoderSpec]
    wanted: tuple[str, ...]
    projections: dict[str, Projection]

    def __init__(
        self,
        name: str,
        specs: Iterable[EncoderSpec],
        projections: Mapping[str, Projection],
        runtime: Runtime,
        card: SpaceCard | None,
        joining: Joining | None = None,
        wanted: Iterable[str] | None = None,
    ) -> None:
        self.name, self.runtime = name, runtime
        self.joining = Joining() if joining is None else joining
        self.specs, gone = settle_fused({spec.key: spec for spec in specs})
        self.joining = replace(self.joining, absent={**self.joining.absent, **gone})
        if all(spec.joins for spec in self.specs.values() if not spec.weights):
            self.specs = {
                key: spec if spec.weights else as_frame(spec, spec.space_name)
                for key, spec in self.specs.items()
            }
        native = [key for key, spec in self.specs.items() if not spec.joins]
        self._own = [key for key in native if not self.specs[key].role] or native
        self.wanted = tuple(self.specs) if wanted is None else self._require_wanted(wanted)
        self.projections = {key: snapshot(given) for key, given in projections.items()}
        self._led = self.specs | {
            key: _lead(self._find(key), given) for key, given in self.projections.items()
        }
        self._saved = card
        self._card: SpaceCard | None = None
        self._frame = card and replace(card, towers=card.frame)
        self._digests: dict[str, str] = {}
        self._cuts: dict[str, tuple[int, ...]] = {}
        self._towers: dict[str, tuple[Tower, ...]] = {}
        self._facts: dict[str, Facts] = {}
        self._checked: set[str] = set()  # of the towers
        self._closed = False
        self._claims = Claims()
        self._groups = group_keys(self._led, self._own, framed=self._is_framed())

    def _require_wanted(self, wanted: Iterable[str]) -> tuple[str, ...]:
        """Put modalities into the order of the space; raises for none, one too many, and a bare string."""
        if isinstance(wanted, str):
            raise TypeError(f"modalities is {wanted!r}: make it a sequence of them, ({wanted!r},)")
        asked = expand(wanted, tuple(self.specs))
        if not asked:
            raise ValueError("modalities is empty: name at least one, or leave it out for all of them")
        for modality in asked:
            found = self._find(modality)
            asked += part_keys(found, self.specs) if found.weights else ()
        return tuple(modality for modality in self.specs if modality in asked)

    def spec(self, modality: str) -> EncoderSpec:
        """The declaration of one modality's encoder; UnknownModalityError when there is none."""
        spec = self._find(modality)
        if modality not in self.wanted:
            raise UnknownModalityError(
                f"space {self.name!r} was loaded without {modality!r}, for {', '.join(self.wanted)} only",
                remedy=f"load it with modalities={(*self.wanted, modality)!r}, or without them for all",
            )
        return spec

    def _find(self, modality: str) -> EncoderSpec:
        if modality not in self.specs:
            if modality in self.joining.absent:
                raise copy(self.joining.absent[modality])  # since each raise adds frames to an error
            raise unknown_modality(self.name, modality, self.specs)
        return self.specs[modality]

    def key(self, modality: str, role: str = "") -> str:
        """The key of the encoder for items of a modality in a role; as `key_for`."""
        return key_for(modality, role, {**self.specs, **self.joining.absent})

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
        self.require_open()
        if modality in self._checked and (found := self._towers.get(modality)):
            return found  # which waits for no other that loads
        with self._claim(modality):
            self.require_open()
            if modality not in self._checked:
                self.prove(modality)
                if modality not in self._towers:
                    self._load(modality)
                self._require_width(modality)
                self._require_as_saved(modality)
                self._checked.add(modality)
            return self._towers[modality]

    def preload(self, keys: Sequence[str]) -> None:
        """Load encoders in this order; those whose targets are `threadsafe`, at the same time before."""
        self.require_open()
        self.runtime.after_fork()
        specs = [self._led[key] for key in keys if key in self.wanted and self._is_loaded_alone(key)]
        if len(specs) > 1 and self.runtime.cores > 1:
            load_at_once(specs, self.towers, self.runtime.cores)
        for key in keys:
            self.towers(key)

    def _claim(self, key: str) -> AbstractContextManager[None]:
        """Hold an encoder with all that loading it may touch, while no thread loads what bears no other."""
        group = self._groups[key]
        return self._claims.take(group, alone=is_alone(self._led[each] for each in group))

    def _is_framed(self) -> bool:
        """Whether the card of the encoders that define the space is known without loading any."""
        return self._frame is not None or all(_facts_of(self._led[key]) for key in self._own)

    def _is_loaded_alone(self, key: str) -> bool:
        """Whether an encoder isn't loaded yet, and no other with it, by a target that is safe in a thread."""
        return self._led[key].threadsafe and len(self._groups[key]) == 1 and key not in self._towers

    def prove(self, modality: str) -> None:
        """Raise SpaceMismatchError for an encoder that joined the space unproven, and leads elsewhere."""
        if modality in self.joining.unproven:
            require_frame(self._find(modality).name, self.joining.unproven[modality], self.frame())

    def _is_proven(self, modality: str) -> bool:
        """Whether an encoder leads into this space, as far as that was left to be compared."""
        try:
            self.prove(modality)
        except SpaceMismatchError:
            return False
        return True

    def _require_width(self, modality: str) -> None:
        """Raise SpaceMismatchError, and let it go, for an encoder that joined and has another width."""
        spec, tower = self._led[modality], self._towers[modality][0]
        if modality not in self._own and tower.dim not in self._widths():
            try:
                require_width(spec.name, tower.dim, self.frame())
            except SpaceMismatchError:
                del self._towers[modality]
                raise

    def _require_as_saved(self, key: str) -> None:
        """Raise IdentityError, and let it go, for another encoder than was saved with this instruction."""
        known, found = self._saved and self._saved.tower(key), self._towers[key][0].card
        if known and known.instruction == found.instruction != "" and known.digest != found.digest:
            del self._towers[key]
            raise IdentityError(
                f"encoder {found.name!r} isn't the one that the space {self.name!r} was saved with: "
                f"{known.identity.preprocessing!r} became {found.identity.preprocessing!r}",
                remedy="install the plugin's version of that time, or give the instruction once more: "
                "load(folder, instruction=...)",
            )

    def _widths(self) -> set[int | None]:
        """The widths that the encoders which define the space declare."""
        return {self._led[key].dim for key in self._own} - {None}

    @property
    def loaded(self) -> tuple[str, ...]:
        """The modalities whose encoders are in memory."""
        return tuple(key for key in self.specs if key in self._towers)

    def card(self) -> SpaceCard:
        """Make the card of the space, once; encoders whose plugin doesn't declare it are loaded for that."""
        if self._card is None:
            self._card = self._make_card()
        return self._card

    def frame(self) -> SpaceCard:
        """Make the card of the encoders that define the space, once; those that join it aren't loaded."""
        if self._frame is None:
            self._frame = self._make_frame()
        return self._frame

    def tower_card(self, modality: str) -> TowerCard:
        """Make the card of one modality's encoder, which is loaded unless its plugin declares it."""
        if self.specs[modality].weights:
            spec = self.specs[modality]
            return fused_card(spec, [self.tower_card(key) for key in part_keys(spec, self.specs)])
        known = self._saved.tower(modality) if self._saved else None
        if known is not None and known.instruction == self.specs[modality].instruction:
            return known
        found = self._find_facts(modality).card
        if not self.specs[modality].joins:
            return found
        return as_joined(found, report_of(self.specs[modality], self.projections.get(modality)))

    def digest(self, modality: str) -> str:
        """The digest of one modality's tower, computed once; as `tower_card`."""
        if modality not in self._digests:
            self._digests[modality] = self.tower_card(modality).digest
        return self._digests[modality]

    def widths(self, key: str) -> tuple[int, ...]:
        """The widths that one encoder's vectors may be cut to, looked up once; it is loaded for that."""
        if key not in self._cuts:
            spec, found = self.specs[key], self.towers(key)[0].card.widths
            if spec.weights:
                found = join_widths([self.widths(part) for part in part_keys(spec, self.specs)])
            self._cuts[key] = found
        return self._cuts[key]

    def _make_card(self) -> SpaceCard:
        card = self._saved or self.frame()
        held = {
            tower.key: self.tower_card(tower.key) if tower.key in self.specs else tower
            for tower in card.towers
        }
        others = [each for each in self.specs if each not in held and self._is_proven(each)]
        return replace(card, towers=(*held.values(), *map(self.tower_card, others)))

    def _make_frame(self) -> SpaceCard:
        kinds = {spec.outputs for spec in self._led.values() if not spec.joins}
        if len(kinds) > 1:
            raise EncoderError(
                f"some encoders of space {self.name!r} give one vector for each item and others many",
                remedy="declare them in two spaces: single vectors aren't comparable with many",
            )
        towers = tuple(map(self.tower_card, self._own))
        dims = {self._find_facts(key).dim for key in self._own}
        if len(dims) != 1:
            raise EncoderError(
                f"the encoders of space {self.name!r} have widths {sorted(dims)}",
                remedy="give all of them one dim, or projections that lead to one",
            )
        return SpaceCard(name=self.name, dim=dims.pop(), towers=towers)

    def saved_card(self, name: str, *, without: Container[str] = ()) -> SpaceCard | None:
        """The card that the space was saved with, under a name, and without some modalities that joined."""
        if self._saved is None:
            return None
        towers = tuple(tower for tower in self._saved.towers if tower.key not in without)
        probes = {key: rows for key, rows in self._saved.probes.items() if key not in without}
        return replace(self._saved, name=name, towers=towers, probes=probes)

    def share(self, other: Members, modalities: Iterable[str]) -> None:
        """Take over the encoders of some modalities that other members have loaded."""
        towers, facts = other._towers.copy(), other._facts.copy()  # which others may be adding to
        self._towers |= {key: towers[key] for key in modalities if key in towers}
        self._facts |= {key: facts[key] for key in modalities if key in facts}

    def _find_facts(self, modality: str) -> Facts:
        """Find the facts about an encoder as they are declared, or load it to find them out."""
        spec = self._led[modality]
        if (said := _facts_of(spec)) is not None:
            fidelity = self._facts[modality].card.fidelity if modality in self._facts else 0.0
            return replace(said, card=replace(said.card, fidelity=fidelity))
        if modality not in self._facts:
            with self._claim(modality):
                self.require_open()
                if modality not in self._facts:
                    self._load(modality)
        return self._facts[modality]

    def _load(self, modality: str) -> None:
        """Load an encoder with all that its target builds together; alone where these can't be loaded.

        So what is wrong with one hurts no other; whoever asks for it gets its error.
        """
        self.runtime.after_fork()
        if self._led[modality].weights:
            return self._fuse(self._led[modality])
        base = self._base(self._led[modality])
        together = self._together(modality, base)
        least = [*([base] if base else []), self._led[modality]]
        with loads.one(self._led[modality].name):
            try:
                return self._load_all(together)
            except MmencodeError:
                if len(together) == len(least):
                    raise
            self._load_all(least)

    def _base(self, spec: EncoderSpec, *, ask: bool = True) -> EncoderSpec | None:
        """The spec of the encoder that another is built over; None where the space hasn't just that one.

        To tell by its digest, it is loaded unless its identity is known; None then, too, without `ask`.
        """
        base = self._led.get(spec.base)
        if base is None or base.base or base.weights or missing_packages(base):
            return None
        wanted = spec.over.partition("@")[2]
        known = ask or not wanted or self._is_known(base.key)
        return base if known and wanted in ("", self.digest(base.key) if wanted else "") else None

    def _is_known(self, key: str) -> bool:
        """Whether the digest of an encoder is known without loading it."""
        saved = self._saved is not None and self._saved.tower(key) is not None
        declared = self._led[key].identity is not None and self._led[key].dim is not None
        return key in self._digests or key in self._facts or saved or declared

    def _fuse(self, spec: EncoderSpec) -> None:
        """Make the towers of a sum, on each device, of those of its parts."""
        parts = zip(*(self.towers(key) for key in part_keys(spec, self.specs)), strict=True)
        card = self.tower_card(spec.key)
        self._towers[spec.key] = tuple(fuse_towers(spec, card, towers) for towers in parts)

    def _together(self, modality: str, base: EncoderSpec | None) -> list[EncoderSpec]:
        """The specs that are loaded with this modality's, as far as they are needed."""
        asked = self._led[modality]
        if base and base.key in self._towers:
            return [base, asked]
        first = (base, asked) if base else (asked,)
        useful = [spec for spec in self._led.values() if spec in first or self._is_of_use(spec)]
        over = [spec for spec in useful if spec.base and self._base(spec, ask=False)]
        return find_together(asked, first[0], useful, over)

    def _is_of_use(self, spec: EncoderSpec) -> bool:
        """Whether an encoder is yet to be loaded, can be, and is needed."""
        needed = spec.key in self.wanted or self._must_find_out(spec)
        return spec.key not in self._towers and needed and not missing_packages(spec)

    def _must_find_out(self, spec: EncoderSpec) -> bool:
        """Whether the space's card can't be made without building this encoder."""
        known = self._frame is not None or spec.key not in self._own or spec.key in self._facts
        return not known and (spec.identity is None or spec.dim is None)

    def _load_all(self, specs: list[EncoderSpec]) -> None:
        there = {spec.key: self._towers[spec.key] for spec in specs if spec.key in self._towers}
        wanted = [spec for spec in specs if spec.key in self.wanted and spec.key not in there]
        dropped = [spec for spec in specs if spec not in wanted]
        towers, facts = self._make(wanted, dropped, there)
        self._facts |= facts
        self._towers |= {each[0].spec.key: each for each in towers}

    def _make(
        self,
        wanted: list[EncoderSpec],
        dropped: list[EncoderSpec],
        there: Mapping[str, tuple[Tower, ...]],
    ) -> _Loaded:
        """Load encoders on every device; changes nothing here."""
        found: dict[str, Facts] = {}
        loaded: list[list[Tower]] = []
        for place, device in enumerate(self.runtime.devices if wanted else self.runtime.devices[:1]):
            held = {key: towers[place] for key, towers in there.items()}
            made, facts = load_towers(wanted, self.runtime, device, self.projections, dropped, held)
            found |= facts
            loaded.append(made)
            # the first device's have told what there is to know, and others are still built over them
            dropped = [spec for spec in dropped if any(each.base == spec.key for each in wanted)]
        return list(zip(*loaded, strict=True)), found

    def base(self, key: str) -> Base:
        """Build an encoder anew, as its target gives it, for another one to be built over."""
        spec, given = self._led[self.spec(key).key], self.projections.get(key)
        self.require_open()
        encoder, projection, _ = build_tower(spec, given)
        return make_base(spec, encoder, projection)

    def build_module(self, key: str, limits: Limits) -> EncoderModule:
        """Build an encoder anew as a network of the caller's own, with the projection that it has here."""
        spec = self._led[self.spec(key).key]
        return build_module(spec, self.projections.get(key), limits)

    def copy(self) -> Members:
        """Copy the members: both have the encoders that are loaded, and load others each for itself."""
        other = Members(
            self.name,
            self.specs.values(),
            self.projections,
            self.runtime,
            self._saved,
            self.joining,
            self.wanted,
        )
        other._card, other._frame = self._card, self._frame
        other._closed = self._closed  # before the towers, which closing lets go of
        other._facts |= self._facts
        other._towers |= self._towers
        return other

    def close(self) -> None:
        """Let go of the encoders, with their memory; nothing can be loaded afterwards."""
        self._closed = True
        with self._claims.take(frozenset(self._led), alone=True):  # what is loading now would come later
            self._towers.clear()
            self._checked.clear()

    def require_open(self) -> None:
        """Raise ClosedError where the space was closed."""
        if self._closed:
            raise ClosedError(f"space {self.name!r} is closed", remedy="load it again")


def _facts_of(spec: EncoderSpec) -> Facts | None:
    """The facts that a spec declares; None without them, and where an instruction changes them."""
    if spec.identity is None or spec.dim is None or spec.instruction:
        return None
    return Facts(tower_card(spec, spec.identity), spec.dim)


def _lead(spec: EncoderSpec, projection: Projection) -> EncoderSpec:
    """Make the spec of an encoder with a projection in place of whatever the spec names."""
    identity = spec.identity and replace(spec.identity, projection=known(projection))
    kept = spec.widths if isinstance(projection, IdentityProjection) and not spec.projection else ()
    dim = projection.dim or spec.dim
    return replace(spec, projection="", identity=identity, dim=dim, widths=kept)
