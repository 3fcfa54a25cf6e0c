"""A shared embedding space, loaded: its encoders by modality, on one runtime."""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set, Sized
from contextlib import closing, contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np

from . import engine
from .card import SpaceCard, TowerCard, require_same_space
from .embeddings import Embeddings, Matches, Positions, Vectors, search
from .encoder import known
from .engine import Advance, Job, OnError
from .errors import ClosedError, EncoderError, InputError, UnknownModalityError, UnknownNameError
from .folders import CARD, Saved, read_card, read_folder, require_new, write_folder
from .inputs import Limits
from .inputs.source import describe, is_source
from .packages import missing_packages
from .projection import Projection
from .registry import registry
from .runtime import Auto, Runtime
from .spec import EncoderSpec, Identity, Scoring
from .tokens import Tokens
from .towers import Tower, load_tower
from .verification import Verification, probed, verify
from .zeroshot import Classifier


class Space:
    """A shared embedding space; only vectors of one space are comparable.

    Encoders are loaded when their modality is first used. One space may be used from several threads at
    once. `with` closes it at the end. `projections`, by modality, take the place of those that the specs
    name; they are copied.
    """

    def __init__(
        self,
        name: str,
        specs: Iterable[EncoderSpec],
        *,
        projections: Mapping[str, Projection] | None = None,
        runtime: Runtime | None = None,
        limits: Limits | None = None,
        fast: bool = False,
    ) -> None:
        self.name = name
        self.specs = {spec.modality: spec for spec in specs}
        self.projections = {modality: deepcopy(given) for modality, given in (projections or {}).items()}
        self._members = self.specs | {
            modality: _led(self.spec(modality), given) for modality, given in self.projections.items()
        }
        self.runtime = Runtime() if runtime is None else runtime
        self.limits = Limits() if limits is None else limits
        self.fast = fast
        self._towers: dict[str, tuple[Tower, ...]] = {}
        self._card: SpaceCard | None = None
        self._id: str | None = None
        self._closed = False
        self._lock = threading.RLock()

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities whose packages are installed; `encode` says what another one lacks."""
        return tuple(modality for modality, spec in self.specs.items() if not missing_packages(spec))

    @property
    def dim(self) -> int:
        """The width of every vector of this space."""
        return self.card.dim

    @property
    def id(self) -> str:
        """The name and fingerprint that every vector of this space carries."""
        if self._id is None:
            self._id = self.card.id
        return self._id

    @property
    def card(self) -> SpaceCard:
        """What the vectors depend on; encoders whose plugin doesn't declare it are loaded to find out."""
        with self._lock:
            if self._card is None:
                self._card = self._make_card()
            return self._card

    def encode(
        self, modality: str, batch: Sequence[Any], *, on_error: OnError = "raise", progress: bool = False
    ) -> Embeddings:
        """Turn a batch of raw items of one modality into vectors of this space, in order.

        With on_error="raise" the first item that can't be encoded raises InputError with its index and
        source. With "skip" it is left out: `positions` say which items the rows are, `errors` why the
        others aren't there. An empty batch gives no rows.
        """
        items = _as_items(modality, batch)
        with (
            self._job(modality, items, on_error, progress, len(items)) as job,
            closing(engine.run(job)) as parts,
        ):
            return self._embeddings(modality, _merged(parts, len(items), job.tower.dim))

    def stream(
        self,
        modality: str,
        items: Iterable[Any],
        *,
        chunk: int = 1024,
        on_error: OnError = "raise",
        progress: bool = False,
    ) -> Iterator[Embeddings]:
        """Turn an iterable of any length into Embeddings of `chunk` items each, in order, as they are done.

        `positions` and the indices of errors count from the start of the iterable. Only a bounded number of
        items is held at a time. What the iterable itself raises is raised after all items before it.
        """
        self._check_stream(modality, items, chunk, on_error)
        return self._stream(modality, items, chunk, on_error, progress)

    def _check_stream(self, modality: str, items: Iterable[Any], chunk: int, on_error: str) -> None:
        """Say what is wrong when the call is made rather than when its first result is asked for."""
        if chunk < 1:
            raise ValueError(f"chunk is {chunk!r}: make it a positive int")
        _require_many(modality, items)
        _check_on_error(on_error)
        self._tower(modality)

    def _stream(
        self, modality: str, items: Iterable[Any], chunk: int, on_error: OnError, progress: bool
    ) -> Iterator[Embeddings]:
        total = len(items) if isinstance(items, Sized) else None
        with (
            self._job(modality, items, on_error, progress, total, chunk) as job,
            closing(engine.run(job)) as parts,
        ):
            for held in _chunks(parts, chunk):
                yield self._embeddings(modality, _merged(held, _count(held), job.tower.dim))

    def features(
        self,
        modality: str,
        items: Iterable[Any],
        *,
        chunk: int = 1024,
        on_error: OnError = "raise",
        progress: bool = False,
    ) -> Iterator[engine.Part[Vectors]]:
        """What the encoder itself gives, `[k, width]`, neither projected nor normalised: to fit projections.

        A part for each `chunk` items, as in `stream`: `rows`, their `positions`, and the `errors` of the
        other items.
        """
        self._check_stream(modality, items, chunk, on_error)
        return self._features(modality, items, chunk, on_error, progress)

    def _features(
        self, modality: str, items: Iterable[Any], chunk: int, on_error: OnError, progress: bool
    ) -> Iterator[engine.Part[Vectors]]:
        total = len(items) if isinstance(items, Sized) else None
        with (
            self._job(modality, items, on_error, progress, total, chunk) as job,
            closing(engine.run_features(job)) as parts,
        ):
            for held in _chunks(parts, chunk):
                yield _merged(held, _count(held), job.tower.encoder.width)

    def encode_tokens(
        self, modality: str, batch: Sequence[Any], *, on_error: OnError = "raise", progress: bool = False
    ) -> Tokens:
        """Turn each item into its contextual outputs: a vector for each token, patch or frame.

        Raises EncoderError where the encoder has none; otherwise as `encode`.
        """
        items = _as_items(modality, batch)
        with self._job(modality, items, on_error, progress, len(items)) as job:
            parts = list(engine.run_tokens(job))
        return Tokens(
            values=[row for part in parts for row in part.rows],
            encoder=job.tower.spec.name,
            modality=modality,
            grid=job.tower.encoder.grid,
            positions=_joined(part.positions for part in parts),
            errors=tuple(error for part in parts for error in part.errors),
        )

    def encode_mixed(
        self, pairs: Sequence[tuple[str, Any]], *, on_error: OnError = "raise", progress: bool = False
    ) -> Embeddings:
        """Encode `(modality, item)` pairs of any modalities, in order; the result's modality is "mixed"."""
        _check_on_error(on_error)
        places: dict[str, list[int]] = {}
        for place, pair in enumerate(pairs):
            places.setdefault(_modality_of(pair, place), []).append(place)
        vectors = np.empty((len(pairs), self.dim), np.float32)
        kept = np.zeros(len(pairs), bool)
        errors: list[InputError] = []
        for modality, indices in places.items():
            items = [pairs[index][1] for index in indices]
            part = self.encode(modality, items, on_error="skip", progress=progress)
            rows = np.asarray(indices)[part.positions]
            vectors[rows] = part.vectors
            kept[rows] = True
            errors += [error.at(indices[error.index or 0]) for error in part.errors]
        errors.sort(key=lambda error: error.index or 0)
        if errors and on_error == "raise":
            raise errors[0]
        return Embeddings(
            vectors[kept], space=self.id, modality="mixed", positions=np.flatnonzero(kept), errors=errors
        )

    def classifier(self, labels: Sequence[str], templates: Sequence[str] | None = None) -> Classifier:
        """A zero-shot classifier over `labels`; each template has "{label}" in it.

        Without templates, each modality's own prompt is used: "a photo of a {label}" for images, say.
        """
        prompts = {modality: spec.prompt for modality, spec in self.specs.items()}
        return Classifier(self.encode, labels, templates=templates, prompts=prompts, scoring=self.scoring)

    def scoring(self, modality: str) -> Scoring | None:
        """How cosines of this modality with texts become probabilities; None where nothing says so."""
        return self._tower(modality).encoder.scoring if modality in self.specs else None

    def search(self, queries: Embeddings, corpus: Embeddings, k: int = 10) -> Matches:
        """The `k` rows of the corpus most similar to each query; both must be of this space."""
        matches = search(queries, corpus, k)
        require_same_space(self.id, corpus.space, "searched")
        return matches

    def verify(self, card: SpaceCard | str | os.PathLike[str] | None = None) -> Verification:
        """Encode the generated items again whose vectors a saved card holds, and measure the angles.

        So a change of a library's resize, say, shows, which no name and no digest does. By default the card
        is that of the folder which the space was loaded from; it may be the path of a card or its folder. All
        is done on the CPU, in float32, whatever plugins declare. Raises IdentityError when the card has no
        vectors of any modality that this space has here.
        """
        if card is None:
            card = self.card
        elif not isinstance(card, SpaceCard):
            card = read_card(card)
        with self._exact(checked=False) as exact:
            common = [modality for modality in exact.modalities if modality in card.probes]
            found = {modality: exact._tower(modality).card.identity for modality in common}
            return verify(exact.encode, self.id, found, card)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write a folder that `load` takes: the card, with vectors to verify, and the projections given.

        Weights stay where the encoders' own packages have them; loading checks that they are the same. The
        folder appears whole or not at all. Raises FileExistsError when it is there, UnknownNameError for an
        encoder that no plugin declares, EncoderError for a projection that can't be saved.
        """
        require_new(folder)
        plugins = {spec.name: _declared_by(spec) for spec in self.specs.values()}
        with self._exact() as exact:
            card = replace(exact.card, probes=probed(exact.encode, exact.modalities))
        write_folder(folder, Saved(card, plugins, self.projections))

    def _exact(self, *, checked: bool = True) -> Space:
        """The same space on the CPU, in float32; unchecked, with encoders that needn't be as declared."""
        self._require_open()
        specs = [
            spec if checked or missing_packages(spec) else replace(spec, identity=None)
            for spec in self.specs.values()
        ]
        return Space(self.name, specs, projections=self.projections, runtime=Runtime("cpu", "float32"))

    def spec(self, modality: str) -> EncoderSpec:
        """The declaration of one modality's encoder; UnknownModalityError when there is none."""
        if modality not in self.specs:
            raise UnknownModalityError(
                f"space {self.name!r} has no encoder for {modality!r}",
                remedy=f"it has {', '.join(self.specs)}; `mmencode list` shows other spaces",
            )
        return self.specs[modality]

    def close(self) -> None:
        """Let the encoders go, with their memory; using the space afterwards raises ClosedError."""
        with self._lock:
            self._closed = True
            self._towers.clear()

    def __enter__(self) -> Space:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Space {self.name!r}: {', '.join(self.specs)}; {self.runtime!r}>"

    @contextmanager
    def _job(
        self,
        modality: str,
        items: Iterable[Any],
        on_error: OnError,
        progress: bool,
        total: int | None,
        chunk: int = sys.maxsize,
    ) -> Iterator[Job]:
        """What the engine is to do, with a progress bar for as long as it does it."""
        _check_on_error(on_error)
        self.runtime.after_fork()
        towers = self._replicas(modality)
        with _progress(progress, f"encode {modality}", total) as advance:
            yield Job(towers, items, self.runtime, self.limits, on_error, advance, chunk, self.fast)

    def _embeddings(self, modality: str, part: engine.Part[Vectors]) -> Embeddings:
        return Embeddings(
            part.rows, space=self.id, modality=modality, positions=part.positions, errors=part.errors
        )

    def _tower(self, modality: str) -> Tower:
        """The loaded tower of a modality, on the first device."""
        return self._replicas(modality)[0]

    def _replicas(self, modality: str) -> tuple[Tower, ...]:
        """The loaded towers of a modality, one for each device; the lock makes them load once."""
        self.spec(modality)  # or the error that there is none
        with self._lock:
            self._require_open()
            if modality not in self._towers:
                spec, given = self._members[modality], self.projections.get(modality)
                self._towers[modality] = tuple(
                    load_tower(spec, self.runtime, device, given) for device in self.runtime.devices
                )
            return self._towers[modality]

    def _require_open(self) -> None:
        if self._closed:
            raise ClosedError(f"space {self.name!r} is closed", remedy="load it again")

    def _make_card(self) -> SpaceCard:
        dims, towers = set(), []
        for modality, spec in self._members.items():
            if spec.identity is not None and spec.dim is not None:
                dims.add(spec.dim)
                towers.append(TowerCard(modality=modality, encoder=spec.name, identity=spec.identity))
            else:
                tower = self._tower(modality)
                dims.add(tower.dim)
                towers.append(tower.card)
        if len(dims) != 1:
            raise EncoderError(
                f"the encoders of space {self.name!r} have widths {sorted(dims)}",
                remedy="give all of them one dim, or projections that lead to one",
            )
        return SpaceCard(name=self.name, dim=dims.pop(), towers=tuple(towers))


def load(
    name: str | os.PathLike[str] | None = None,
    *,
    device: str | Auto | Sequence[str] = "auto",
    dtype: str | Auto = "auto",
    batch_size: int | Auto = "auto",
    workers: int | Auto = "auto",
    limits: Limits | None = None,
    fast: bool = False,
    compile: bool = False,
) -> Space:
    """Make ready the space of that name or alias, of that folder, or the default one.

    Encoders are built when first used. A folder is what `Space.save` wrote; a string names one only where no
    installed space is called that.

    With `fast`, JPEGs with many more pixels than an encoder looks at are decoded at a smaller scale: vectors
    keep within a cosine of 0.9995 of the exact ones. `device` and `compile` are Runtime's.

    Raises UnknownNameError with the nearest names, NoDefaultSpaceError, NameClashError, DeviceError; for a
    folder WeightsError or IdentityError when it isn't whole, or not what it was.
    """
    specs, saved = _found(name)
    space = Space(
        specs[0].space_name,
        specs,
        projections=saved.projections if saved else None,
        runtime=Runtime(device, dtype, batch_size=batch_size, workers=workers, compile=compile),
        limits=limits,
        fast=fast,
    )
    space._card = saved.card if saved else None  # which has vectors to verify, and the same fingerprint
    return space


def _found(name: str | os.PathLike[str] | None) -> tuple[tuple[EncoderSpec, ...], Saved | None]:
    """The encoders of a space, and what its folder holds if it has one."""
    if name is None or isinstance(name, str):
        name = registry().default_space() if name is None else name
        try:
            return registry().space(name), None
        except UnknownNameError:
            if not os.path.isdir(name):
                raise
            if not os.path.isfile(os.path.join(name, CARD)):
                raise UnknownNameError(
                    f"no space is called {name!r}, and the folder of that name has no {CARD}",
                    remedy="give a folder that Space.save wrote; `mmencode list` shows what is installed",
                ) from None
    saved = read_folder(name)
    return tuple(_as_saved(saved, tower) for tower in saved.card.towers), saved


def _as_saved(saved: Saved, tower: TowerCard) -> EncoderSpec:
    """The encoder's spec as a member of a saved space; loading it checks that it is the one of the card."""
    card = saved.card
    try:
        spec = registry()[tower.encoder]
    except UnknownNameError as unknown:
        raise UnknownNameError(
            f"the saved space {card.name!r} needs the encoder {tower.encoder!r} for {tower.modality}, and no "
            "plugin declares it",
            culprit=unknown.culprit,
            remedy=f"pip install {saved.plugins.get(tower.encoder, 'the plugin that does')}",
        ) from unknown
    found = replace(spec, space=card.name, aliases=(), identity=tower.identity)
    if tower.modality not in saved.projections:
        return replace(found, dim=card.dim)
    own = spec.identity or Identity()  # the card's projection and dim are those of what comes behind
    return replace(found, identity=replace(tower.identity, projection=own.projection))


def _declared_by(spec: EncoderSpec) -> str:
    """The distribution that declares an encoder of a space to be saved."""
    try:
        return registry().distribution(spec.name)
    except UnknownNameError as unknown:
        raise UnknownNameError(
            f"no plugin declares the encoder {spec.name!r}, so that nobody could load the saved space",
            culprit=unknown.culprit,
            remedy="declare it in a plugin, which `mmencode new-plugin` begins",
        ) from unknown


def _led(spec: EncoderSpec, projection: Projection) -> EncoderSpec:
    """The spec of an encoder with a projection in place of whatever the spec names."""
    identity = spec.identity and replace(spec.identity, projection=known(projection))
    return replace(spec, projection="", identity=identity, dim=projection.dim or spec.dim)


@functools.cache
def shared(name: str) -> Space:
    """The space that `encode` uses for a name, loaded once; `shared.cache_clear()` forgets all of them."""
    return load(name)


def encode(
    modality: str,
    batch: Sequence[Any],
    *,
    space: str | Space | None = None,
    on_error: OnError = "raise",
    progress: bool = False,
) -> Embeddings:
    """Turn a batch of raw items into vectors of a space, by default the space called `default`.

    Raises NoDefaultSpaceError, with the choices, when no space is named and none is the default.
    """
    if not isinstance(space, Space):
        space = shared(registry().default_space() if space is None else space)
    return space.encode(modality, batch, on_error=on_error, progress=progress)


def _check_on_error(on_error: str) -> None:
    if on_error not in ("raise", "skip"):
        raise ValueError(f'on_error is {on_error!r}: make it "raise" or "skip"')


def _as_items(modality: str, batch: Any) -> Sequence[Any]:
    """The batch as a sequence."""
    _require_many(modality, batch)
    return batch if isinstance(batch, Sequence) or _is_array(batch) else list(batch)


def _require_many(modality: str, batch: Any) -> None:
    """TypeError for what is one item rather than many of them."""
    single = is_source(batch) or isinstance(batch, (Mapping, Set)) or not isinstance(batch, Iterable)
    if single or (_is_array(batch) and modality in ("image", "audio") and batch.ndim < 4):
        raise TypeError(
            f"the batch is one {type(batch).__name__}, not a sequence of items: "
            f"encode({modality!r}, [item]) encodes a single one"
        )


def _is_array(batch: Any) -> bool:
    return isinstance(getattr(batch, "ndim", None), int)


def _chunks(parts: Iterator[engine.Part[Vectors]], chunk: int) -> Iterator[list[engine.Part[Vectors]]]:
    """The parts of `chunk` items at a time; those at the end may be of fewer."""
    held: list[engine.Part[Vectors]] = []
    failure: Exception | None = None
    try:
        for part in parts:
            held.append(part)
            if sum(part.count for part in held) == chunk:
                yield held
                held = []
    except Exception as cause:
        failure = cause
    if held:
        yield held
    if failure is not None:
        raise failure


def _count(parts: Iterable[engine.Part[Vectors]]) -> int:
    return sum(part.count for part in parts)


def _merged(parts: Iterable[engine.Part[Vectors]], count: int, width: int) -> engine.Part[Vectors]:
    """Parts that come of `count` items as one, whose rows `[k, width]` are in one array allocated once."""
    rows, filled = np.empty((count, width), np.float32), 0
    positions: list[Positions] = []
    errors: list[InputError] = []
    for part in parts:
        rows[filled : filled + len(part.rows)] = part.rows
        filled += len(part.rows)
        positions.append(part.positions)
        errors += part.errors
    return engine.Part(count, rows[:filled], _joined(positions), errors)


def _joined(positions: Iterable[Positions]) -> Positions:
    return np.concatenate([np.empty(0, np.int64), *positions])


def _modality_of(pair: Any, place: int) -> str:
    if isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str):
        return pair[0]
    raise InputError(
        "it is no (modality, item) pair",
        source=describe(pair),
        remedy='pass tuples such as ("text", "a dog")',
        index=place,
    )


@contextmanager
def _progress(shown: bool, title: str, total: int | None) -> Iterator[Advance]:
    """A progress bar on a terminal's standard error, and nothing anywhere else."""
    if not shown:
        yield lambda done, failed: None
        return
    from .progress import bar

    with bar(title, total) as advance:
        yield advance
