"""A shared embedding space, loaded: its encoders by modality, on one runtime."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from .._atomic import require_new
from ..card import SpaceCard, require_same_space, tower_card
from ..embeddings.array_types import Vectors
from ..embeddings.embeddings import Embeddings
from ..embeddings.search import Matches, search
from ..embeddings.tokens import Tokens
from ..encoder import known
from ..engine import engine
from ..engine.engine import Advance, Job, OnError
from ..engine.parts import chunks, counted, joined, merged
from ..engine.runtime import Auto, Runtime
from ..engine.threads import Stragglers
from ..engine.towers import Tower, load_tower
from ..errors import ClosedError, EncoderError, InputError, UnknownModalityError, UnknownNameError
from ..inputs import Limits
from ..inputs.batches import as_batch, as_drawn, as_pairs, check_on_error, modality_of, require_many
from ..isolation.copying import snapshot
from ..isolation.guarding import Guard, loads
from ..plugins.packages import missing_packages
from ..plugins.registry import registry
from ..plugins.spec import TEXT, EncoderSpec, Scoring
from ..projection import Projection
from ..zeroshot import Bank, Classifier, Duplicates, Source, described
from .folder import Saved, read_card, read_shipped_card, write_folder
from .travelling import Way, pack
from .verification import Verification, encode_probes, verify

_CHUNK = 1024  # items of a part of a stream


class Space:
    """A shared embedding space; only vectors of one space are comparable.

    Encoders are loaded when their modality is first used. One space may be used from several threads at
    once. `with` closes it at the end. `projections`, by modality, take the place of those that the specs
    name; they are copied.

    Pickled, it is loaded anew where it arrives: by the name or the folder that it was loaded by, or else from
    its specs and projections. It must have the same fingerprint there, or IdentityError says so. A copy in
    this process shares the encoders that are loaded.
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
        self.projections = {modality: snapshot(given) for modality, given in (projections or {}).items()}
        self._members = self.specs | {
            modality: _led(self.spec(modality), given) for modality, given in self.projections.items()
        }
        self.runtime = Runtime() if runtime is None else runtime
        self.limits = Limits() if limits is None else limits
        self.fast = fast
        self._towers: dict[str, tuple[Tower, ...]] = {}
        self._bank = Bank()
        self._card: SpaceCard | None = None
        self._id: str | None = None
        self._closed = False
        self._lock = Guard()
        self._way: Way | None = None  # by which it was loaded
        self._stragglers = Stragglers()

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
        items = as_batch(modality, batch)
        total = len(items) if isinstance(items, Sized) else None
        with self._job(modality, items, on_error, progress, total) as job, closing(engine.run(job)) as parts:
            held = parts if total is not None else list(parts)
            count = total if total is not None else counted(held)
            return self._embeddings(job, modality, merged(held, count, job.tower.dim))

    def stream(
        self,
        modality: str,
        items: Iterable[Any],
        *,
        chunk: int | Auto = "auto",
        on_error: OnError = "raise",
        progress: bool = False,
    ) -> Iterator[Embeddings]:
        """Turn an iterable of any length into Embeddings of `chunk` items each, in order, as they are done.

        "auto" is 1024, and fewer where the iterable takes more than a tenth of a second over them. One
        without a length is asked for what is behind a chunk only when that is delivered, so that results
        can feed it: with chunk=1, each of them.

        `positions` and the indices of errors count from the start of the iterable. Only a bounded number of
        items is held at a time. What the iterable itself raises is raised after all items before it.
        """
        self._check_stream(modality, items, chunk, on_error)
        return self._stream(modality, items, chunk, on_error, progress)

    def _check_stream(self, modality: str, items: Iterable[Any], chunk: int | Auto, on_error: str) -> None:
        """Say what is wrong when the call is made rather than when its first result is asked for."""
        if chunk != "auto" and not chunk >= 1:
            raise ValueError(f'chunk is {chunk!r}: make it a positive int or "auto"')
        require_many(modality, items)
        check_on_error(on_error)
        self.tower(modality)

    def _stream(
        self, modality: str, items: Iterable[Any], chunk: int | Auto, on_error: OnError, progress: bool
    ) -> Iterator[Embeddings]:
        total = len(items) if isinstance(items, Sized) else None
        with (
            self._job(modality, items, on_error, progress, total, chunk) as job,
            closing(engine.run(job)) as parts,
        ):
            for held in chunks(parts):
                yield self._embeddings(job, modality, merged(held, counted(held), job.tower.dim))

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
            for held in chunks(parts):
                part = merged(held, counted(held), job.tower.encoder.width)
                _require_as_loaded(job)
                yield part

    def encode_tokens(
        self, modality: str, batch: Sequence[Any], *, on_error: OnError = "raise", progress: bool = False
    ) -> Tokens:
        """Turn each item into its contextual outputs: a vector for each token, patch or frame.

        Raises EncoderError where the encoder has none; otherwise as `encode`.
        """
        items = as_batch(modality, batch)
        total = len(items) if isinstance(items, Sized) else None
        with self._job(modality, items, on_error, progress, total) as job:
            parts = list(engine.run_tokens(job))
            _require_as_loaded(job)
        return Tokens(
            values=[row for part in parts for row in part.rows],
            encoder=job.tower.spec.name,
            modality=modality,
            grid=job.tower.encoder.grid,
            positions=joined(part.positions for part in parts),
            errors=tuple(error for part in parts for error in part.errors),
        )

    def encode_mixed(
        self, pairs: Sequence[tuple[str, Any]], *, on_error: OnError = "raise", progress: bool = False
    ) -> Embeddings:
        """Encode `(modality, item)` pairs of any modalities, in order; the result's modality is "mixed"."""
        check_on_error(on_error)
        pairs = as_pairs(pairs)
        places: dict[str, list[int]] = {}
        for place, pair in enumerate(pairs):
            places.setdefault(modality_of(pair, place), []).append(place)
        vectors = np.empty((len(pairs), self.dim), np.float32)
        kept = np.zeros(len(pairs), bool)
        errors: list[InputError] = []
        for modality, indices in places.items():
            items: Any = (
                pairs[index][1] for index in indices
            )  # one by one, as a data set may use them again
            if type(pairs) in (list, tuple):
                items = list(items)
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

    def classifier(
        self,
        labels: Sequence[str] | Mapping[str, Sequence[Any]],
        templates: str | Sequence[str] | None = None,
        *,
        by: str = TEXT,
        synonyms: Mapping[str, Sequence[str]] | None = None,
        null: Sequence[Any] = (),
        multi_label: bool = False,
        duplicates: Duplicates = "refuse",
    ) -> Classifier:
        """A zero-shot classifier over `labels`, whose descriptions are encoded once for all classifiers.

        labels       names, or a mapping from each name to whole prompts, or to items of the modality `by`
        templates    texts with "{label}" in them, or the name of a set: "openai", "simple" or "sounds".
                     By default each modality has its own prompt: "a photo of a {label}" for images, say
        synonyms     other names of some labels, which go into every template, too
        null         prompts or items of nothing in particular: what is nearer to them is none of the labels
        multi_label  judge each label by itself, so that an item may have several or none
        duplicates   "keep" takes labels that are the same, which published lists have: the first comes first

        Raises LabelError where these make no classifier, and where labels are one vector when they are used;
        UnknownNameError for an unknown set of templates; TypeError for what has no order, and for tables.
        """
        found = described(labels, templates, by=by, synonyms=synonyms, null=null, duplicates=duplicates)
        prompts = {modality: spec.prompt for modality, spec in self.specs.items()}
        source = Source(self.encode, prompts, self.scoring, self._bank)
        return Classifier(source, found, multi_label=multi_label)

    def scoring(self, modality: str) -> Scoring | None:
        """How cosines of this modality with texts become probabilities; None where nothing says so."""
        return self.tower(modality).encoder.scoring if modality in self.specs else None

    def search(self, queries: Embeddings, corpus: Embeddings, k: int = 10) -> Matches:
        """The `k` rows of the corpus most similar to each query; both must be of this space."""
        matches = search(queries, corpus, k)
        require_same_space(self.id, corpus.space, "searched")
        return matches

    def verify(self, card: SpaceCard | str | os.PathLike[str] | None = None) -> Verification:
        """Encode the generated items again whose vectors a saved card holds, and measure the angles.

        So a change of a library's resize, say, shows, which no name and no digest does. By default the card
        is that of the folder which the space was loaded from, or the one that its plugin ships; it may be the
        path of a card or its folder. All is done on the CPU, in float32, whatever plugins declare. Raises
        IdentityError when the card has no vectors of any modality that this space has here.
        """
        if card is None:
            card = (not self.card.probes and read_shipped_card(self.specs.values())) or self.card
        elif not isinstance(card, SpaceCard):
            card = read_card(card)
        with self._exact(checked=False) as exact:
            common = [modality for modality in exact.modalities if modality in card.probes]
            found = {modality: exact.tower(modality).card.identity for modality in common}
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
            card = replace(exact.card, probes=encode_probes(exact.encode, exact.modalities))
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
        """Let the encoders go, with their memory; using the space afterwards raises ClosedError.

        Threads that still work on items which were given up are told to stop, and do where they run Python.
        """
        with self._lock:
            self._closed = True
            self._towers.clear()
        self._bank.clear()
        self._stragglers.stop()

    def __reduce__(self) -> tuple[Any, ...]:
        self._require_open()
        way = self._way or Way(Space, (self.name, tuple(self.specs.values())), pack(self.projections))
        return Way.go, (way, self.id, {"runtime": self.runtime, "limits": self.limits, "fast": self.fast})

    def __copy__(self) -> Space:
        other = Space(
            self.name,
            self.specs.values(),
            projections=self.projections,
            runtime=self.runtime,
            limits=self.limits,
            fast=self.fast,
        )
        with self._lock:
            other._towers, other._closed = dict(self._towers), self._closed
            other._card, other._id, other._way = self._card, self._id, self._way
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> Space:
        return self.__copy__()

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
        chunk: int | Auto = sys.maxsize,
    ) -> Iterator[Job]:
        """What the engine is to do, with a progress bar for as long as it does it."""
        check_on_error(on_error)
        self.runtime.after_fork()
        towers = self._replicas(modality)
        with _progress(progress, f"encode {modality}", total) as advance:
            yield Job(
                towers,
                as_drawn(items),
                self.runtime,
                self.limits,
                on_error,
                advance,
                chunk=_CHUNK if chunk == "auto" else chunk,
                fast=self.fast,
                live=chunk == "auto",
                stragglers=self._stragglers,
            )

    def _embeddings(self, job: Job, modality: str, part: engine.Part[Vectors]) -> Embeddings:
        _require_as_loaded(job)
        return Embeddings(
            part.rows, space=self.id, modality=modality, positions=part.positions, errors=part.errors
        )

    def tower(self, modality: str) -> Tower:
        """The tower of a modality: its encoder, projection and card, loaded now if they weren't yet.

        Of several devices the first one's. Nothing of it may be changed: every vector goes through it. Raises
        UnknownModalityError, ClosedError, and whatever loading raises.
        """
        return self._replicas(modality)[0]

    def _replicas(self, modality: str) -> tuple[Tower, ...]:
        """The loaded towers of a modality, one for each device; the lock makes them load once."""
        self.spec(modality)  # or the error that there is none
        with self._lock:
            self._require_open()
            if modality not in self._towers:
                self.runtime.after_fork()
                spec, given = self._members[modality], self.projections.get(modality)
                with loads.one(spec.name):
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
                towers.append(tower_card(spec, spec.identity))
            else:
                tower = self.tower(modality)
                dims.add(tower.dim)
                towers.append(tower.card)
        if len(dims) != 1:
            raise EncoderError(
                f"the encoders of space {self.name!r} have widths {sorted(dims)}",
                remedy="give all of them one dim, or projections that lead to one",
            )
        return SpaceCard(name=self.name, dim=dims.pop(), towers=tuple(towers))


def _require_as_loaded(job: Job) -> None:
    """Raise IdentityError for vectors that some other network gave than the one of the card."""
    for tower in job.towers:
        tower.require_as_loaded()


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


@contextmanager
def _progress(shown: bool, title: str, total: int | None) -> Iterator[Advance]:
    """A progress bar on a terminal's standard error, and nothing anywhere else."""
    if not shown:
        yield lambda done, failed: None
        return
    from ..engine.progress import bar

    with bar(title, total) as advance:
        yield advance
