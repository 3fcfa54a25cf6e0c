"""Loading of spaces by their names or folders, and the shared ones that `mmencode.encode` uses."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from ..card import SpaceCard, TowerCard, is_same_space
from ..embeddings.embeddings import Embeddings
from ..encoder import Base
from ..engine.call import OnFailure
from ..engine.runtime import Auto, Runtime
from ..errors import IdentityError, MmencodeError, SpaceMismatchError, TrustError, UnknownNameError
from ..inputs import Limits
from ..isolation.guarding import Guard
from ..plugins.offering import keep_offered
from ..plugins.places import is_local
from ..plugins.registry import registry
from ..plugins.spec import EncoderSpec, Identity
from .folder import CARD, Saved, read_folder
from .fusing import fused_spec, sums_of_queries, weights_of
from .joining import Joining, admit, as_frame, as_joiner, card_of_declared
from .rounding import INTEGERS, round_card, round_specs
from .sides import Role, instruct
from .space import Space
from .travelling import Way

Trust = Literal["names"]


def load(
    name: str | os.PathLike[str] | None = None,
    *,
    space: str | os.PathLike[str] | Space | None = None,
    device: str | Auto | Sequence[str] = "auto",
    dtype: str | Auto = "auto",
    batch_size: int | Auto = "auto",
    workers: int | Auto = "auto",
    limits: Limits | None = None,
    fast: bool = False,
    compile: bool = False,
    backend: str = "torch",
    trust: Trust | None = None,
    modalities: Sequence[str] | None = None,
    instruction: str = "",
    id: str | None = None,
) -> Space:
    """Load a space by its name or alias, from the folder of a saved one, or the default space.

    Encoders are built when first used. A folder is what `Space.save` wrote; a string names one only where no
    installed space has that name. The folder says where its encoders' weights lie; if they lie elsewhere now,
    pass a `space`, or its name, whose encoders have the same weights.

    The card in a folder chooses encoders. Where it names a member of a family, such as a checkpoint on a hub,
    its words decide what is fetched: pass trust="names" if you trust whoever made the folder. Local
    checkpoints need no trust.

    With `modalities`, only encoders for these are kept, and the space is the same one. Where neither plugin
    nor saved folder declares the identity of the others, they are built once to find it out, and let go.

    An `instruction` goes into the prompt of queries, where a model has a place for one; vectors of documents
    and the id stay what they are.

    An `id` is that of the space which is expected, as `Space.id` gave it where vectors were made: another
    fingerprint raises SpaceMismatchError, whatever the space is called.

    With `fast`, JPEGs with many more pixels than an encoder looks at are decoded at a smaller scale: vectors
    keep within a cosine of 0.9995 of the exact ones. `device`, `compile` and `backend` are Runtime's; other
    dtypes than "int8" are, too.

    With dtype="int8", transformers compute products in integers by onnxruntime, on the CPU. Their vectors are
    another space's, with an id of its own; a UserWarning and the card say how near they are to float32's. A
    space that was saved so is loaded so.

    Raises UnknownNameError with the nearest names, NoDefaultSpaceError, NameClashError, DeviceError; for a
    folder WeightsError or IdentityError when it isn't whole, or not what it was, SpaceMismatchError when no
    encoder of the space given is one of its families, and TrustError for other members of families without
    trust, before anything is fetched; UnknownModalityError for modalities that the space hasn't; ValueError
    for a space beside another than a folder; InstructionError for an instruction that no encoder takes.
    """
    if trust not in (None, "names"):
        raise ValueError(f'trust is {trust!r}: make it "names", or leave it out')
    settings = {"batch_size": batch_size, "workers": workers, "compile": compile, "backend": backend}
    runtime = _make_runtime(device, dtype, **settings)
    loaded = _load(
        name,
        space,
        trust,
        instruction=instruction,
        dtype=dtype,
        runtime=runtime,
        limits=limits,
        fast=fast,
        modalities=modalities,
    )
    if id is not None and not is_same_space(loaded.id, id):
        loaded.close()
        raise SpaceMismatchError(
            f"space {loaded.name!r} is {loaded.id} here, and {id!r:.200} is expected: vectors of the two "
            "can't be compared",
            remedy="install the plugins, weights and packages that the other vectors were made with, or make "
            "these again with this space",
        )
    return loaded


def load_gaining(
    folder: str | os.PathLike[str],
    *,
    device: str | Auto = "auto",
    dtype: str | Auto = "auto",
    backend: str = "torch",
    limits: Limits | None = None,
    trust: Trust | None = None,
    modalities: Sequence[str] | None = None,
    instruction: str = "",
) -> Space:
    """Load a saved space with the modalities that installed plugins add to it; raises as `load`."""
    runtime = _make_runtime(device, dtype, backend=backend)
    return _load(
        folder,
        None,
        trust,
        gaining=True,
        instruction=instruction,
        dtype=dtype,
        runtime=runtime,
        limits=limits,
        fast=False,
        modalities=modalities,
    )


def load_base(name: str | os.PathLike[str], modality: str, *, trust: Trust | None = None) -> Base:
    """Load the encoder of one modality of a space, for another encoder to be built over; raises as `load`.

    It is as its target builds it: in float32 on the CPU, and nobody else's.
    """
    with load(name, device="cpu", dtype="float32", trust=trust, modalities=(modality,)) as space:
        return space._members.base(modality)


def _make_runtime(device: str | Auto | Sequence[str], dtype: str | Auto, **settings: Any) -> Runtime:
    """Make the runtime of a space, which for one in int8 is a CPU's."""
    if dtype != INTEGERS:
        return Runtime(device, dtype, **settings)
    return Runtime("cpu" if device == "auto" else device, "float32", **settings)


def _load(
    name: str | os.PathLike[str] | None,
    moved: str | os.PathLike[str] | Space | None = None,
    trust: Trust | None = None,
    gaining: bool = False,
    instruction: str = "",
    dtype: str = "auto",
    *,
    runtime: Runtime,
    limits: Limits | None,
    fast: bool,
    modalities: Sequence[str] | None,
) -> Space:
    specs, saved, joining = _find(name, moved)
    specs = tuple(round_specs(specs, dtype))
    if saved is not None:
        rounded = round_card(saved.card, specs)
        if gaining and rounded.id != saved.card.id:
            raise SpaceMismatchError(
                f"the vectors of an index are those of {saved.card.id}, and in int8 they would be another "
                "space's",
                remedy='leave dtype out; for an index in int8, Index.create(path, load(name, dtype="int8"))',
            )
        saved = replace(saved, card=rounded)
    if saved is not None and trust is None:
        _require_declared(specs, moved, os.path.join(os.fsdecode(name or ""), CARD))
    if saved is None or gaining:
        joining = _gain(specs, saved, joining)
    way = None  # a space whose weights lie elsewhere travels by its specs, which say where
    if moved is None:
        place = Path(os.path.abspath(os.fsdecode(name or ""))) if saved else specs[0].space_name
        way = Way(_load, (place, None, trust, gaining, instruction, dtype))
    members = instruct([*specs, *joining.specs], instruction)
    return Space(
        specs[0].space_name,
        members,
        projections=saved.projections if saved else None,
        runtime=runtime,
        limits=limits,
        fast=fast,
        card=None if saved is None else _as_asked(saved.card, members),
        way=way,
        joining=joining,
        modalities=modalities,
    )


def _as_asked(card: SpaceCard, specs: Sequence[EncoderSpec]) -> SpaceCard:
    """A saved card without the probes of those encoders that another instruction was given to since."""
    now = {spec.key: spec.instruction for spec in specs}
    changed = {tower.key for tower in card.askers if now.get(tower.key, "") != tower.instruction}
    return replace(card, probes={key: rows for key, rows in card.probes.items() if key not in changed})


def _gain(specs: Sequence[EncoderSpec], saved: Saved | None, found: Joining) -> Joining:
    """Find the encoders of installed plugins that join a space, and why others can't."""
    name = specs[0].space_name
    frame = card_of_declared(name, specs) if saved is None else replace(saved.card, towers=saved.card.frame)
    lost = found.absent.keys() if saved else ()  # what a checkpoint hasn't, a plugin may well add
    taken = {spec.key for spec in specs} | set(lost)
    gained = admit(registry().joiners(name), frame, taken, specs[0].outputs)
    absent = {**registry().absent(name), **gained.absent, **found.absent}
    known = {spec.key for spec in (*specs, *gained.specs)}
    asked = sums_of_queries(gained.specs, known | set(lost))
    return replace(gained, specs=(*gained.specs, *asked), absent=absent)


def _find(
    name: str | os.PathLike[str] | None, moved: str | os.PathLike[str] | Space | None = None
) -> tuple[tuple[EncoderSpec, ...], Saved | None, Joining]:
    """Find the encoders of a space by its name or folder, and the content of the folder, if it has one.

    Those of plugins that join a space by its name are left out; the Joining has the errors of those in the
    folder that can't be used here.
    """
    if name is None or isinstance(name, str):
        name = registry().default_space() if name is None else name
        try:
            found = registry().space(name)
            if moved is not None:
                raise ValueError(f"space says where the weights of a saved folder lie, and {name!r} is none")
            own, absent = keep_offered([spec for spec in found if not spec.joins])
            return own, None, Joining(absent=absent)
        except UnknownNameError:
            if not os.path.isdir(name):
                raise
            if not os.path.isfile(os.path.join(name, CARD)):
                raise UnknownNameError(
                    f"no space is called {name!r}, and the folder of that name has no {CARD}",
                    remedy="give a folder that Space.save wrote; `mmencode list` shows what is installed",
                ) from None
    saved = read_folder(name)
    if moved is not None:
        saved = replace(saved, card=_relocate(saved.card, moved))
    specs = [_as_saved(saved, tower) for tower in saved.card.frame]
    absent = {}
    for tower in saved.card.towers:
        if tower in saved.card.frame:
            continue
        try:
            specs.append(_as_saved(saved, tower))
        except MmencodeError as error:  # the others go on without it
            absent[tower.key] = error
    lost = absent.keys() & saved.projections.keys()
    if lost:
        kept = {key: each for key, each in saved.projections.items() if key not in lost}
        saved = replace(saved, projections=kept)
    return tuple(specs), saved, Joining(absent=absent)


def _require_declared(
    specs: Sequence[EncoderSpec], given: str | os.PathLike[str] | Space | None, card: str
) -> None:
    """Raise TrustError for members of families that a card names, and the caller doesn't.

    Absolute paths are let through, since a local checkpoint is read with bounds and runs nothing.
    """
    own = {spec.name for spec in _specs_of(given)} if given is not None and not _is_folder(given) else set()
    named = {
        spec.key: spec.name
        for spec in specs
        if spec.variant and spec.name not in own and not is_local(spec.variant)
    }
    if named:
        listed = ", ".join(f"{name!r} for {modality}" for modality, name in named.items())
        raise TrustError(
            f"the card of a saved space names encoders that would be fetched: {listed:.500}",
            culprit=card,
            remedy='if you trust whoever made it, say so: load(folder, trust="names"), '
            'Index.open(path, trust="names"), or --trust on the command line',
        )


def _is_folder(space: str | os.PathLike[str] | Space) -> bool:
    """Whether a space is given by the folder of a saved one, whose card chooses the encoders."""
    return not isinstance(space, Space) and _find(space)[1] is not None


def _specs_of(space: str | os.PathLike[str] | Space) -> Sequence[EncoderSpec]:
    return tuple(space.specs.values()) if isinstance(space, Space) else _find(space)[0]


def _relocate(card: SpaceCard, to: str | os.PathLike[str] | Space) -> SpaceCard:
    """Replace the places of a card's encoders by those of another space's encoders of the same families."""
    specs = _specs_of(to)
    places = {(spec.key, spec.name.removesuffix(spec.variant) + "*"): spec.variant for spec in specs}
    towers = tuple(
        replace(tower, place=places.get((tower.key, tower.encoder), tower.place)) for tower in card.towers
    )
    if not any((tower.key, tower.encoder) in places for tower in card.towers):
        raise SpaceMismatchError(
            f"no encoder of {to.name if isinstance(to, Space) else os.fspath(to)!r} is of a family that the "
            f"saved space {card.name!r} has: {', '.join(tower.encoder for tower in card.towers)}",
            remedy="give the space of the same checkpoints where they lie now",
        )
    return replace(card, towers=towers)


def _as_saved(saved: Saved, tower: TowerCard) -> EncoderSpec:
    """The encoder's spec as a member of a saved space; loading it checks that it is the one of the card."""
    card = saved.card
    if weights := weights_of(tower):
        return fused_spec(card.name, tower.modality, weights, tower.role)
    try:
        spec = registry()[tower.name]
    except UnknownNameError as unknown:
        plugin = saved.plugins.get(tower.name, "the plugin that does")
        there = any(found.distribution == plugin for found in registry().plugins)
        raise UnknownNameError(
            f"the saved space {card.name!r} needs the encoder {tower.name!r} for {tower.key}, and no "
            "plugin declares it",
            culprit=registry().about(tower.name, plugin),
            remedy=f"`mmencode plugins` shows the state of {plugin}" if there else f"pip install {plugin}",
        ) from unknown
    if spec.is_family:
        raise UnknownNameError(
            f"the saved space {card.name!r} doesn't say where the weights for {tower.key} lie, which "
            f"are of the family {tower.encoder}",
            remedy="load the space from where they lie, and give it: load(folder, space=space)",
        )
    if spec.key != tower.key:
        raise IdentityError(
            f"the saved space {card.name!r} has the encoder {tower.name!r} for {tower.key!r}, and its plugin "
            f"declares it for {spec.key!r}",
            culprit=registry().about(tower.name),
            remedy="save the space again, and make its indexes again: documents have another id now",
        )
    placed = as_joiner(spec, card.name) if tower.joined else as_frame(spec, card.name)
    over = tower.over or spec.over
    found = replace(
        placed,
        identity=tower.identity,
        instruction=tower.instruction,
        over=over,
        precision=tower.precision,
    )
    if tower.key not in saved.projections:
        return replace(found, dim=card.dim)
    own = spec.identity or Identity()  # the card's projection and dim are those of what comes behind
    return replace(found, identity=replace(tower.identity, projection=own.projection))


class Shared:
    """The spaces that `encode` uses, each loaded once, whatever number of threads ask for it."""

    def __init__(self) -> None:
        self._guard = Guard()
        self._load = functools.cache(load)

    def __call__(self, name: str) -> Space:
        """The space of that name."""
        with self._guard:
            return self._load(name)

    def cache_clear(self) -> None:
        """Forget all spaces that `encode` has loaded."""
        self._load.cache_clear()


shared: Shared = Shared()


def encode(
    modality: str,
    batch: Iterable[Any],
    *,
    space: str | Space | None = None,
    role: Role = "",
    on_error: OnFailure = "raise",
    progress: bool = False,
) -> Embeddings:
    """Turn a batch of raw items into vectors of a space, by default the space called `default`.

    Raises NoDefaultSpaceError, with the choices, when no space is named and none is the default.
    """
    if not isinstance(space, Space):
        space = shared(registry().default_space() if space is None else space)
    return space.encode(modality, batch, role=role, on_error=on_error, progress=progress)
