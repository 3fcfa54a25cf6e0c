"""A shared embedding space, loaded: its encoders by modality, on one runtime."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from .._atomic import require_new
from ..arguments.brief import table_in_markdown
from ..card import SpaceCard, TowerCard, require_same_space
from ..embeddings.array_types import Vectors
from ..embeddings.embeddings import Embeddings
from ..embeddings.multi import MultiEmbeddings, MultiQuantised
from ..embeddings.search import Matches, search
from ..embeddings.token_pooling import id_before_pooling
from ..embeddings.tokens import Tokens
from ..engine import engine
from ..engine.call import OnError, OnFailure, Part
from ..engine.lane import EmbeddingLane, FeatureLane, MultiLane, TokenLane
from ..engine.parts import Collector, join_positions
from ..engine.runtime import Auto, Runtime
from ..engine.threads import Stragglers
from ..engine.towers import Tower
from ..errors import EncoderError
from ..inputs import Limits
from ..inputs.batches import as_batch
from ..plugins.packages import missing_packages
from ..plugins.spec import TEXT, EncoderSpec, Scoring, modality_of_key
from ..projection import Projection
from ..zeroshot import Bank, Classifier, Duplicates, describe_labels
from .adding import fuse_parts, join_encoders, look_up
from .calls import Calls, split_blank
from .folder import Saved, distribution_of, read_card, read_shipped_card, write_folder
from .joining import Joining
from .late import MultiCollector, products_device
from .members import Members
from .mixing import encode_mixed
from .modules import EncoderModule
from .pipeline import Pipeline
from .sides import Role
from .travelling import Journey, Way, pack
from .verification import Verification, encode_probes, verify


class Space:
    """A shared embedding space; only vectors of one space are comparable.

    Encoders are loaded when their modality is first used. One space may be used from several threads at
    once. `with` closes it at the end. `projections`, by key, take the place of those that the specs
    name; they are copied. A space that was saved has its `card`, and `way` says how it is loaded elsewhere.
    Of `modalities` that are given only these have encoders; the space is the same one.

    The key of an encoder is its modality, and "text:query" that of the queries' side where documents have
    another. What takes a modality takes a key as well; a `role`, "query" or "document", chooses the side, and
    where there is only one isn't needed.

    Encoders whose spec says what it `joins` add a modality to the space that the others define: its id stays
    what it was. `card.frame` and `card.joiners` list both. `joining` has the errors of those that can't.

    Pickled, it is loaded anew where it arrives: by the name or the folder that it was loaded by, or else from
    its specs and projections. It must have the same fingerprint there, or IdentityError says so. A copy in
    this process shares the encoders that are loaded.
    """

    runtime: Runtime
    limits: Limits

    def __init__(
        self,
        name: str,
        specs: Iterable[EncoderSpec],
        *,
        projections: Mapping[str, Projection] | None = None,
        runtime: Runtime | None = None,
        limits: Limits | None = None,
        fast: bool = False,
        card: SpaceCard | None = None,
        way: Way | None = None,
        joining: Joining | None = None,
        modalities: Iterable[str] | None = None,
    ) -> None:
        self.name = name
        self.runtime = Runtime() if runtime is None else runtime
        self.limits = Limits() if limits is None else limits
        self.fast = fast
        self._members = Members(name, specs, projections or {}, self.runtime, card, joining, modalities)
        self._way = way
        self._id: str | None = None
        self._bank = Bank()
        self._stragglers = Stragglers()

    @property
    def specs(self) -> Mapping[str, EncoderSpec]:
        """The declaration of each encoder of the space, by key, whether it was asked for or not."""
        return self._members.specs

    @property
    def projections(self) -> Mapping[str, Projection]:
        """The projections, by key, that were given in place of those that the specs name."""
        return self._members.projections

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities asked for whose packages are installed; `encode` says what another one lacks."""
        return tuple(dict.fromkeys(map(modality_of_key, self.keys)))

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the encoders asked for whose packages are installed, as `modalities` with all sides."""
        loaded = self._members.loaded  # whose packages needn't be looked for, which takes milliseconds
        return tuple(
            key for key in self._members.wanted if key in loaded or not missing_packages(self.specs[key])
        )

    @property
    def dim(self) -> int:
        """The width of every vector of this space."""
        return self._members.frame().dim

    @property
    def id(self) -> str:
        """The name and fingerprint that every vector of this space carries."""
        if self._id is None:
            self._id = self._members.frame().id
        return self._id

    @property
    def card(self) -> SpaceCard:
        """The identity of the space: all that vectors depend on.

        Encoders whose plugin doesn't declare their identity are loaded to find it out.
        """
        return self._members.card()

    def encode(
        self,
        modality: str,
        batch: Iterable[Any],
        *,
        role: Role = "",
        on_error: OnFailure = "raise",
        progress: bool = False,
    ) -> Embeddings:
        """Turn a batch of raw items of one modality into vectors of this space, in order.

        As documents, or with role="query" as queries where the modality has another encoder for these.

        With on_error="raise" the first item that can't be encoded raises InputError with its index and
        source. With "skip" it is left out: `positions` say which items the rows are, `errors` why the
        others aren't there. With "blank" it has a row of NaN, as `Embeddings.with_blanks` gives it, so that
        rows and items have the same places. An empty batch gives no rows. Raises EncoderError where items
        have many vectors.
        """
        key = self._members.key(modality, role)
        failing, blank = split_blank(on_error)
        self._members.require_outputs(key, "one")
        with (
            self._calls.begin(key, as_batch(modality, batch), failing, progress) as call,
            closing(engine.run(call, EmbeddingLane)) as parts,
        ):
            collector = Collector(call.tower.dim, call.total)
            for part in parts:
                collector.add(part)
            call.require_as_loaded()
            found = self._embeddings(key, collector.whole())
        return found.with_blanks() if blank else found

    def stream(
        self,
        modality: str,
        items: Iterable[Any],
        *,
        role: Role = "",
        chunk: int | Auto = "auto",
        on_error: OnFailure = "raise",
        progress: bool = False,
    ) -> Iterator[Embeddings]:
        """Turn an iterable of any length into Embeddings of `chunk` items each, in order, as they are done.

        "auto" is 1024, and fewer where the iterable takes more than a tenth of a second over them. One
        without a length is asked for what is behind a chunk only when that is delivered, so that results
        can feed it: with chunk=1, each of them.

        `positions` and the indices of errors count from the start of the iterable. Only a bounded number of
        items is held at a time. What the iterable itself raises is raised after all items before it.
        """
        key = self._members.key(modality, role)
        failing, blank = split_blank(on_error)
        self._calls.require_stream(key, items, chunk, failing)
        parts = self._calls.deliver(EmbeddingLane, key, items, chunk, failing, progress)
        found = (self._embeddings(key, part) for part in parts)
        return (part.with_blanks() for part in found) if blank else found

    def features(
        self,
        modality: str,
        items: Iterable[Any],
        *,
        role: Role = "",
        chunk: int = 1024,
        on_error: OnError = "raise",
        progress: bool = False,
    ) -> Iterator[Part[Vectors]]:
        """Turn items into the encoder's own features, `[k, width]`, neither projected nor normalised.

        Projections are fitted to them.

        A part for each `chunk` items, as in `stream`: `rows`, their `positions`, and the `errors` of the
        other items.
        """
        key = self._members.key(modality, role)
        self._calls.require_stream(key, items, chunk, on_error)
        return self._calls.deliver(FeatureLane, key, items, chunk, on_error, progress)

    def encode_tokens(
        self,
        modality: str,
        batch: Iterable[Any],
        *,
        role: Role = "",
        on_error: OnError = "raise",
        progress: bool = False,
    ) -> Tokens:
        """Turn each item into its contextual outputs: a vector for each token, patch or frame.

        Raises EncoderError where the encoder has none; otherwise as `encode`.
        """
        key = self._members.key(modality, role)
        with self._calls.begin(key, as_batch(modality, batch), on_error, progress) as call:
            parts = list(engine.run(call, TokenLane))
            call.require_as_loaded()
        return Tokens(
            values=[row for part in parts for row in part.rows],
            encoder=call.tower.spec.name,
            modality=modality_of_key(key),
            grid=call.tower.encoder.grid,
            positions=join_positions(part.positions for part in parts),
            errors=tuple(error for part in parts for error in part.errors),
        )

    def encode_multi(
        self,
        modality: str,
        batch: Iterable[Any],
        *,
        role: Role = "",
        pool: int = 1,
        protected: int = 0,
        on_error: OnFailure = "raise",
        progress: bool = False,
    ) -> MultiEmbeddings:
        """Turn each item into many vectors of this space, those of all its positions that count, in order.

        `pool` merges those of each item to that part of their number, as `MultiEmbeddings.pool` does, while
        the next items are computed. Raises EncoderError where items have a single vector; otherwise as
        `encode`.
        """
        key = self._members.key(modality, role)
        failing, blank = split_blank(on_error)
        self._members.require_outputs(key, "many")
        with (
            self._calls.begin(key, as_batch(modality, batch), failing, progress) as call,
            closing(engine.run(call, MultiLane)) as parts,
        ):
            found = self._multi(key, call.tower.dim, pool, protected).collect(parts)
            call.require_as_loaded()
        return found.with_blanks() if blank else found

    def stream_multi(
        self,
        modality: str,
        items: Iterable[Any],
        *,
        role: Role = "",
        pool: int = 1,
        protected: int = 0,
        chunk: int | Auto = "auto",
        on_error: OnFailure = "raise",
        progress: bool = False,
    ) -> Iterator[MultiEmbeddings]:
        """Turn an iterable of any length into MultiEmbeddings of `chunk` items each, as they are done.

        "auto" is 128; `pool` and `protected` are as in `encode_multi`, and all else as in `stream`.
        """
        key = self._members.key(modality, role)
        failing, blank = split_blank(on_error)
        self._calls.require_stream(key, items, chunk, failing, "many")
        collector = self._multi(key, self.tower(key).dim, pool, protected)
        found = self._calls.deliver_multi(collector, key, items, chunk, failing, progress)
        return (part.with_blanks() for part in found) if blank else found

    def encode_mixed(
        self,
        pairs: Iterable[tuple[str, Any]],
        *,
        role: Role = "",
        on_error: OnFailure = "raise",
        progress: bool = False,
    ) -> Embeddings:
        """Encode `(modality, item)` pairs of any modalities, in order; the result's modality is "mixed"."""
        failing, blank = split_blank(on_error)
        found = encode_mixed(self, pairs, role, failing, progress)
        return found.with_blanks() if blank else found

    def join(
        self,
        encoders: Mapping[str, str | EncoderSpec | tuple[str | EncoderSpec, Projection] | Space],
        *,
        name: str | None = None,
    ) -> Space:
        """Make this space with further modalities, whose encoders were led into it and measured.

        An encoder is given as for `compose`: with the projection that `align` fitted into this space, or
        measured; as the name of one whose plugin declares that it joins this space; or as a space that has
        it. The id stays, but for the `name`, and so vectors, indexes and classifiers of this space go on. An
        encoder that joined before is replaced by one of its modality; an Index refuses to mix the two.

        Raises SpaceMismatchError for a modality that the space defines, another width, and a projection that
        leads elsewhere; FitError for one that wasn't measured, or finds nothing better than by chance.
        """
        self._members.require_open()
        given = {
            modality: (encoder.spec(modality), encoder.projections.get(modality))
            if isinstance(encoder, Space)
            else look_up(encoder, modality)
            for modality, encoder in encoders.items()
        }
        other = self.__copy__()
        other.name, other._way, other._id = name or self.name, None, None
        other._members = join_encoders(self._members, other.name, given)
        return other

    def fuse(self, modality: str, weights: Sequence[float] | None = None) -> Space:
        """Make this space with a composite modality that is the weighted sum of its parts' vectors.

        The parts are modalities of the space, joined by +: with "image+text", an item is a tuple of both, and
        None for one that is absent, which is left out. Each part's unit vector counts by its weight, equally
        by default, and the sum is normalised. The id stays, since nothing else changes; the card lists the
        composite and its weights among those that joined.

        Raises UnknownModalityError for a part that the space hasn't, SpaceMismatchError for a composite that
        an encoder of the space takes as a whole, EncoderError where items have many vectors, and ValueError
        for weights that aren't positive or not one for each part.
        """
        self._members.require_open()
        other = self.__copy__()
        other._way = None
        other._members = fuse_parts(self._members, modality, weights)
        return other

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

        Raises LabelError where these make no classifier, and where labels have one vector when they are used;
        EncoderError where items have many vectors each;
        UnknownNameError for an unknown set of templates; TypeError for what has no order, and for tables.
        """
        if any(spec.outputs == "many" for spec in self.specs.values()):
            raise EncoderError(
                f"a classifier compares single vectors, and items of space {self.name!r} have many",
                remedy="score labels by mmencode.similarity(space.encode_multi('text', labels), "
                "space.encode_multi(modality, items)), each row divided by its label's number of vectors",
            )
        found = describe_labels(labels, templates, by=by, synonyms=synonyms, null=null, duplicates=duplicates)
        return Classifier(self, self._bank, found, multi_label=multi_label)

    def scoring(self, modality: str) -> Scoring | None:
        """The conversion of a modality's cosines with texts into probabilities; None where there is none."""
        return self.tower(modality).encoder.scoring if modality in self.specs else None

    def search(
        self,
        queries: Embeddings | MultiEmbeddings,
        corpus: Embeddings | MultiEmbeddings | MultiQuantised,
        k: int = 10,
    ) -> Matches:
        """The `k` rows or items of the corpus most similar to each query; both must be of this space."""
        matches = search(queries, corpus, k, device=products_device(self.runtime))
        require_same_space(self.id, id_before_pooling(corpus.space), "searched")
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
        with self.exact(checked=False) as exact:
            common = [key for key in exact.keys if key in card.probes and self._is_asked_alike(key, card)]
            towers = [exact.tower(key) for key in common]
            found = {tower.spec: tower.card.identity for tower in towers}
            return verify(exact._encode_singly, self.id, found, card, self.limits.wait)

    def _is_asked_alike(self, key: str, card: SpaceCard) -> bool:
        """Whether an encoder has the same instruction as in a card, if it has one."""
        tower = card.tower(key)
        return tower is None or tower.instruction == self.specs[key].instruction

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write a folder that `load` takes: the card, with vectors to verify, and the projections given.

        Weights stay where the encoders' own packages have them; loading checks that they are the same. The
        folder appears whole or not at all. Raises FileExistsError when it is there, UnknownNameError for an
        encoder that no plugin declares, EncoderError for a projection that can't be saved.
        """
        require_new(folder)
        plugins = {spec.name: distribution_of(spec) for spec in self.specs.values() if not spec.weights}
        with self.exact() as exact:
            own = [exact.spec(key) for key in exact.keys if not self.is_gained(key)]
            probes = encode_probes(exact._encode_singly, own, self.limits.wait)
            card = replace(exact.card, probes=probes)
        write_folder(folder, Saved(card, plugins, self.projections))

    def is_gained(self, modality: str) -> bool:
        """Whether a plugin added this modality to the space of another by its declaration."""
        return bool(self.specs[modality].joins) and modality not in self.projections

    def exact(self, *, checked: bool = True) -> Space:
        """Make the same space on the CPU, in float32, where all machines agree to thousandths of a degree.

        Unchecked, its encoders needn't be as their plugins declare them.
        """
        self._members.require_open()
        specs = [
            spec if checked or missing_packages(spec) else replace(spec, identity=None)
            for spec in self.specs.values()
        ]
        return Space(
            self.name,
            specs,
            projections=self.projections,
            runtime=Runtime("cpu", "float32"),
            modalities=self._members.wanted,
            joining=self._members.joining,
        )

    def spec(self, modality: str) -> EncoderSpec:
        """The declaration of one modality's encoder; UnknownModalityError when there is none."""
        return self._members.spec(modality)

    def key(self, modality: str, role: Role = "") -> str:
        """The key of the encoder for items of a modality in a role: "text:query" where queries have another.

        Whether there is such an encoder `spec` says. ValueError for a role that isn't one.
        """
        return self._members.key(modality, role)

    def tower_card(self, modality: str) -> TowerCard:
        """The identity of one modality's encoder, which is loaded unless its plugin declares it."""
        self._members.spec(modality)
        return self._members.tower_card(modality)

    def prove(self, modality: str) -> None:
        """Raise SpaceMismatchError for a modality that a plugin adds, and that leads into another space.

        Where the space's own encoders don't declare their identities, only loading them shows that.
        """
        self._members.prove(modality)

    def tower(self, modality: str) -> Tower:
        """The tower of a modality: its encoder, projection and card, loaded now if they weren't yet.

        Of several devices the first one's. Nothing of it may be changed: every vector goes through it. Raises
        UnknownModalityError, ClosedError, and whatever loading raises.
        """
        return self._members.towers(modality)[0]

    def encoder(self, modality: str, role: Role = "") -> EncoderModule:
        """Build the encoder of a modality anew, as a network of the caller's own: for loaders and training.

        It is a `torch.nn.Module` from raw items to unit vectors `[b, dim]`, in float32 on the CPU, with
        weights that the space doesn't share. Raises UnknownModalityError, EncoderError for the sum of several
        parts, and whatever loading raises.
        """
        self._members.require_open()
        key = self._members.key(modality, role)
        return self._members.build_module(key, self.limits)

    def preload(self, *keys: str) -> None:
        """Load encoders now rather than when first used: those of these keys, or else of all in `keys`.

        Those whose plugins declare a `threadsafe` target are loaded at the same time. Raises as `encode`, for
        the first of the keys whose encoder can't be loaded.
        """
        self._members.preload(keys or self.keys)

    def warm(self, *keys: str) -> None:
        """Load encoders as `preload` does, and have each encode its modality's probes once.

        So the first items of a caller take no longer than all others. Raises as `preload`, and EncoderError
        for an encoder that fails on items which are known to be good.
        """
        self.preload(*keys)
        for key in keys or self.keys:
            self.pipeline(key).warm()

    def pipeline(self, modality: str, *, role: Role = "") -> Pipeline:
        """Take `encode` apart: a Pipeline prepares a modality's items one by one, and embeds them together.

        That is for whoever gathers batches from several callers, as a server does. The encoder is loaded for
        it. Raises as `encode` does before it draws an item.
        """
        key = self._members.key(modality, role)
        return Pipeline(self._members, key, self._calls.open(key))

    def close(self) -> None:
        """Let the encoders go, with their memory; using the space afterwards raises ClosedError.

        Threads that still work on items which were given up are told to stop, and do where they run Python.
        """
        self._members.close()
        self._bank.clear()
        self._stragglers.stop()

    def journey(self) -> Journey:
        """Say how this space is made again in a process that has other devices, and chooses among them."""
        self._members.require_open()
        way = self._way or Way(Space, (self.name, tuple(self.specs.values())), pack(self.projections))
        options = {"limits": self.limits, "fast": self.fast, "modalities": self._members.wanted}
        return Journey(way, self.id, options, self.runtime.asked)

    def __reduce__(self) -> tuple[Any, ...]:
        journey = self.journey()
        return Way.go, (journey.way, journey.id, {**journey.options, "runtime": self.runtime})

    def __copy__(self) -> Space:
        other = Space.__new__(Space)
        vars(other).update(vars(self), _members=self._members.copy(), _bank=Bank(), _stragglers=Stragglers())
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> Space:
        return self.__copy__()

    def __enter__(self) -> Space:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Space {self.name!r}: {', '.join(self._members.wanted)}; {self.runtime!r}>"

    def _repr_markdown_(self) -> str:
        """The encoder of each modality as a table, as notebooks show it."""
        lacking = dict.fromkeys({*self._members.wanted} - {*self.keys}, "not installed")
        states = {**lacking, **dict.fromkeys(self._members.loaded, "loaded")}
        rows = [(key, self.specs[key].name, states.get(key, "")) for key in self._members.wanted]
        table = table_in_markdown(("modality", "encoder", ""), rows)
        return f"**Space** `{self.name}`, {self.runtime!r}\n\n{table}"

    @property
    def _calls(self) -> Calls:
        return Calls(self._members, self.runtime, self.limits, self.fast, self._stragglers)

    def _multi(self, key: str, dim: int, pool: int, protected: int) -> MultiCollector:
        towers = {key: self._members.digest(key)}
        return MultiCollector(self.id, modality_of_key(key), towers, dim, pool=pool, protected=protected)

    def _embeddings(self, key: str, part: Part[Vectors]) -> Embeddings:
        return Embeddings(
            part.rows,
            space=self.id,
            modality=modality_of_key(key),
            positions=part.positions,
            errors=part.errors,
            towers={key: self._members.digest(key)},
            widths=self._members.widths(key),
        )

    def _encode_singly(self, modality: str, batch: Sequence[Any]) -> Embeddings:
        """One vector for each item, which is the mean where it has many, to compare numbers by."""
        if self.spec(modality).outputs == "many":
            return self.encode_multi(modality, batch).mean()
        return self.encode(modality, batch)
