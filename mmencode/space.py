"""A shared embedding space, loaded: its encoders by modality, on one runtime."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set, Sized
from contextlib import closing, contextmanager
from typing import Any

import numpy as np

from . import engine
from .card import SpaceCard, TowerCard, require_same_space
from .embeddings import Embeddings, Matches, Positions, Vectors, search
from .engine import Advance, Job, OnError
from .errors import ClosedError, EncoderError, InputError, UnknownModalityError
from .inputs import Limits
from .inputs.source import describe, is_source
from .packages import missing_packages
from .registry import registry
from .runtime import Auto, Runtime
from .spec import EncoderSpec, Scoring
from .tokens import Tokens
from .towers import Tower, load_tower
from .zeroshot import Classifier


class Space:
    """A shared embedding space; only vectors of one space are comparable.

    Encoders are loaded when their modality is first used. One space may be used from several threads at
    once. `with` closes it at the end.
    """

    def __init__(
        self,
        name: str,
        specs: Iterable[EncoderSpec],
        *,
        runtime: Runtime | None = None,
        limits: Limits | None = None,
        fast: bool = False,
    ) -> None:
        self.name = name
        self.specs = {spec.modality: spec for spec in specs}
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
            return self._gather(modality, parts, len(items), job.tower.dim)

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
        if chunk < 1:
            raise ValueError(f"chunk is {chunk!r}: make it a positive int")
        _require_many(modality, items)
        _check_on_error(on_error)
        self._tower(modality)
        return self._stream(modality, items, chunk, on_error, progress)

    def _stream(
        self, modality: str, items: Iterable[Any], chunk: int, on_error: OnError, progress: bool
    ) -> Iterator[Embeddings]:
        total = len(items) if isinstance(items, Sized) else None
        with (
            self._job(modality, items, on_error, progress, total, chunk) as job,
            closing(engine.run(job)) as parts,
        ):
            for held in _chunks(parts, chunk):
                count = sum(part.count for part in held)
                yield self._gather(modality, held, count, job.tower.dim)

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

    def _gather(
        self, modality: str, parts: Iterable[engine.Part[Vectors]], count: int, dim: int
    ) -> Embeddings:
        """The rows of all parts, which come of at most `count` items, in one array allocated once."""
        vectors, filled = np.empty((count, dim), np.float32), 0
        positions: list[Positions] = []
        errors: list[InputError] = []
        for part in parts:
            vectors[filled : filled + len(part.rows)] = part.rows
            filled += len(part.rows)
            positions.append(part.positions)
            errors += part.errors
        return Embeddings(
            vectors[:filled],
            space=self.id,
            modality=modality,
            positions=_joined(positions),
            errors=errors,
        )

    def _tower(self, modality: str) -> Tower:
        """The loaded tower of a modality, on the first device."""
        return self._replicas(modality)[0]

    def _replicas(self, modality: str) -> tuple[Tower, ...]:
        """The loaded towers of a modality, one for each device; the lock makes them load once."""
        if modality not in self.specs:
            raise UnknownModalityError(
                f"space {self.name!r} has no encoder for {modality!r}",
                remedy=f"it has {', '.join(self.specs)}; `mmencode list` shows other spaces",
            )
        with self._lock:
            if self._closed:
                raise ClosedError(f"space {self.name!r} is closed", remedy="load it again")
            if modality not in self._towers:
                self._towers[modality] = tuple(
                    load_tower(self.specs[modality], self.runtime, device) for device in self.runtime.devices
                )
            return self._towers[modality]

    def _make_card(self) -> SpaceCard:
        dims, towers = set(), []
        for modality, spec in self.specs.items():
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
                remedy="their plugin gives all of them one dim",
            )
        return SpaceCard(name=self.name, dim=dims.pop(), towers=tuple(towers))


def load(
    name: str | None = None,
    *,
    device: str | Auto | Sequence[str] = "auto",
    dtype: str | Auto = "auto",
    batch_size: int | Auto = "auto",
    workers: int | Auto = "auto",
    limits: Limits | None = None,
    fast: bool = False,
    compile: bool = False,
) -> Space:
    """Make ready the space of that name or alias, or the default one; encoders are built when first used.

    With `fast`, JPEGs with many more pixels than an encoder looks at are decoded at a smaller scale: vectors
    keep within a cosine of 0.9995 of the exact ones. `device` and `compile` are Runtime's.

    Raises UnknownNameError with the nearest names, NoDefaultSpaceError, NameClashError, DeviceError.
    """
    specs = registry().space(registry().default_space() if name is None else name)
    runtime = Runtime(device, dtype, batch_size=batch_size, workers=workers, compile=compile)
    return Space(specs[0].space_name, specs, runtime=runtime, limits=limits, fast=fast)


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
