"""A shared embedding space, loaded: its encoders by modality, on one runtime."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import closing, contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np

from . import engine
from .card import SpaceCard, require_same_space, tower_card
from .embeddings import Embeddings, Matches, Vectors, search
from .encoder import known
from .engine import Advance, Job, OnError
from .errors import ClosedError, EncoderError, InputError, UnknownModalityError, UnknownNameError
from .files import require_new
from .folders import Saved, read_card, shipped_card, write_folder
from .inputs import Limits
from .inputs.batches import as_items, check_on_error, modality_of, require_many
from .packages import missing_packages
from .parts import chunks, counted, joined, merged
from .projection import Projection
from .registry import registry
from .runtime import Runtime
from .spec import TEXT, EncoderSpec, Scoring
from .tokens import Tokens
from .towers import Tower, load_tower
from .verification import Verification, probed, verify
from .zeroshot import Bank, Classifier, Duplicates, Source, described


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
        self._bank = Bank()
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
        items = as_items(modality, batch)
        with (
            self._job(modality, items, on_error, progress, len(items)) as job,
            closing(engine.run(job)) as parts,
        ):
            return self._embeddings(modality, merged(parts, len(items), job.tower.dim))

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
        require_many(modality, items)
        check_on_error(on_error)
        self._tower(modality)

    def _stream(
        self, modality: str, items: Iterable[Any], chunk: int, on_error: OnError, progress: bool
    ) -> Iterator[Embeddings]:
        total = len(items) if isinstance(items, Sized) else None
        with (
            self._job(modality, items, on_error, progress, total, chunk) as job,
            closing(engine.run(job)) as parts,
        ):
            for held in chunks(parts, chunk):
                yield self._embeddings(modality, merged(held, counted(held), job.tower.dim))

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
            for held in chunks(parts, chunk):
                yield merged(held, counted(held), job.tower.encoder.width)

    def encode_tokens(
        self, modality: str, batch: Sequence[Any], *, on_error: OnError = "raise", progress: bool = False
    ) -> Tokens:
        """Turn each item into its contextual outputs: a vector for each token, patch or frame.

        Raises EncoderError where the encoder has none; otherwise as `encode`.
        """
        items = as_items(modality, batch)
        with self._job(modality, items, on_error, progress, len(items)) as job:
            parts = list(engine.run_tokens(job))
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
        places: dict[str, list[int]] = {}
        for place, pair in enumerate(pairs):
            places.setdefault(modality_of(pair, place), []).append(place)
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
        return self._tower(modality).encoder.scoring if modality in self.specs else None

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
            card = (not self.card.probes and shipped_card(self.specs.values())) or self.card
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
        self._bank.clear()

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
        check_on_error(on_error)
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
                towers.append(tower_card(spec, spec.identity))
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
    from .progress import bar

    with bar(title, total) as advance:
        yield advance
