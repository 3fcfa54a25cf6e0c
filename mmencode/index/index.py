"""An index in a folder: add, search, delete, and always the space whose vectors it holds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .._atomic import folder_aside
from ..arguments.counts import require_positive
from ..card import SpaceCard
from ..embeddings.embeddings import Embeddings
from ..embeddings.surrogates import escape_surrogates
from ..embeddings.unit import require_unit
from ..engine.engine import OnError
from ..engine.runtime import Auto
from ..errors import ClosedError, IdentityError, StoreError
from ..inputs import Limits
from ..inputs.batches import as_column, as_iterable, check_on_error, require_many
from ..spaces.folder import CARD, read_card
from ..spaces.loading import Trust, load
from ..spaces.space import Space
from .ann import FROM_ROWS
from .columns import Owner, plain_metadata
from .entries import Entry, entries, escaped_keys
from .filling import Filling
from .identity import (
    explained,
    has_index,
    load_space,
    require_card,
    require_id,
    require_index,
    write_card,
)
from .lance import package, require_threads
from .reading import read_failures, read_rows, sampled
from .results import Added, Failure, Hit, Rows, State
from .searching import Query, find, means, within
from .sql import all_of
from .store import Store
from .writing import Block, write_rows

Metadata = Mapping[str, Any]


class Index:
    """Rows of any modalities of one space, in a folder, on LanceDB: vectors, keys and metadata.

    A key names one row. Writers take turns, across processes; each commit is atomic, and readers see the
    latest. One index may be used from several threads. `with` closes it at the end.
    """

    def __init__(
        self,
        path: Path,
        space: Space | None,
        *,
        device: str | Auto = "auto",
        dtype: str | Auto = "auto",
        limits: Limits | None = None,
        trust: Trust | None = None,
    ) -> None:
        self.path = path
        self.card: SpaceCard = read_card(path / CARD)
        if space is not None:
            require_card(self.card, space.card, "searched or added")
        self._id = self.card.id
        self._open_store: Store | None = Store(path, self.card.fingerprint)
        self._space = space
        self._own = space is None
        self._load = partial(load_space, path, device=device, dtype=dtype, limits=limits, trust=trust)

    @classmethod
    def create(cls, path: str | os.PathLike[str], space: Space | str | None = None) -> Index:
        """Make an empty index in a folder that isn't there yet, which appears whole or not at all.

        `space` is one that is loaded, a name or a folder for `load`, or the default one. Raises
        FileExistsError, FileNotFoundError where there is no place for it, MissingPackageError without
        LanceDB, StoreError.
        """
        target = Path(os.path.abspath(os.fsdecode(path)))
        package("lancedb")
        with folder_aside(target) as aside:
            loaded = space if isinstance(space, Space) else load(space)
            write_card(loaded, aside)
            Store.make(aside, loaded.dim, loaded.card.fingerprint)
        index = cls(target, loaded)
        index._own = loaded is not space
        return index

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        space: Space | None = None,
        device: str | Auto = "auto",
        dtype: str | Auto = "auto",
        limits: Limits | None = None,
        trust: Trust | None = None,
    ) -> Index:
        """Open an index; its space is loaded when vectors are first encoded, unless it is given.

        `device`, `dtype`, `limits` and `trust` are those of `load`, for the space that is loaded here.

        Raises StoreError for what is no index or a damaged one, WeightsError or IdentityError for a damaged
        card, SpaceMismatchError, with what differs, for a space of another fingerprint.
        """
        target = Path(os.path.abspath(os.fsdecode(path)))
        package("lancedb")
        require_index(target)
        return cls(target, space, device=device, dtype=dtype, limits=limits, trust=trust)

    @staticmethod
    def is_index(path: str | os.PathLike[str]) -> bool:
        """Whether the folder has a card and tables, without a look into them."""
        return has_index(path)

    @property
    def space(self) -> Space:
        """The space of the index, loaded; raises as `load`."""
        store = self._store
        require_threads()
        with store.guard:
            if self._space is None:
                self._space = self._load()
            return self._space

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those that have rows, sorted."""
        return self._store.modalities()

    def __len__(self) -> int:
        return self._store.count()

    def add(
        self,
        modality: str,
        items: Iterable[Any],
        *,
        keys: Iterable[str | os.PathLike[str]] | None = None,
        metadata: Iterable[Metadata] | None = None,
        on_error: OnError = "raise",
        retry: bool = False,
        progress: bool = False,
    ) -> Added:
        """Encode items, of an iterable of any length, and write rows as they are done.

        Without `keys`, paths and texts are their own. A row whose key is there is replaced, and not encoded
        again where its content is the same: of paths, bytes and texts this is known. A row of another
        modality is never replaced. `metadata` has a mapping for each item, of str, bool, int, float or None;
        columns are added when first seen.

        With on_error="skip", items that fail are listed in `failures()`. One whose content is at fault loses
        an older row of its key, and isn't tried again while unchanged, but with `retry`; one whose failure
        can pass, by InputError.fault, keeps that row and is tried again; what the process lacks is reported
        and not listed. With "raise" the first raises InputError. Whatever ends it, what was written stays.

        Raises ValueError and TypeError for keys that come twice, lack, or are those of rows of another
        modality, and for metadata that no column can hold; SpaceMismatchError when the space isn't what it
        was; StoreError, on a full disk, say; BusyError.
        """
        check_on_error(on_error)
        require_many(modality, items)
        sides = as_column(keys, "keys"), as_column(metadata, "metadata")
        given = entries(modality, as_iterable(items), *sides)
        return self._fill(modality, given, on_error=on_error, retry=retry, progress=progress)

    def add_embeddings(self, embeddings: Embeddings, *, metadata: Iterable[Metadata] | None = None) -> Added:
        """Write vectors that have keys, in one commit, in place of rows with the same keys.

        Raises SpaceMismatchError for vectors of another space, ValueError without keys, otherwise as `add`.
        """
        require_id(self.card, self._id, embeddings.space, "added")
        self._require_vectors(embeddings, "vector")
        keys = escaped_keys(embeddings.keys)
        said = None
        if metadata is not None:
            said = [plain_metadata(row, place) for place, row in enumerate(metadata)]
        if said is not None and len(said) != len(keys):
            raise ValueError(f"{len(keys)} vectors have metadata for {len(said)}: give as many")
        if not keys:
            return Added(0, 0)
        with self._store.writing():
            block = Block(keys, escape_surrogates(embeddings.modality), metadata=said)
            replaced = write_rows(self._store, block, embeddings.vectors)
        self._settle()
        return Added(len(keys), 0, replaced=replaced)

    def search(
        self,
        modality: str,
        queries: Sequence[Any],
        k: int = 10,
        *,
        where: str | None = None,
        among: str | Iterable[str] | None = None,
        centred: bool = False,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """The `k` rows nearest to each query, best first; raises as `encode` and `search_embeddings`."""
        return self.search_embeddings(
            self._encode(modality, queries), k, where=where, among=among, centred=centred, exact=exact
        )

    def search_embeddings(
        self,
        queries: Embeddings,
        k: int = 10,
        *,
        where: str | None = None,
        among: str | Iterable[str] | None = None,
        centred: bool = False,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """The `k` rows nearest to each query by cosine similarity, best first.

        `where` is a condition in SQL over key, modality and metadata; `among` the modalities of the rows.
        With `centred`, the mean of each modality's rows is subtracted from them, and that of the queries'
        modality from these where it has rows, which takes away the gap between modalities (Liang et al.,
        "Mind the Gap", NeurIPS 2022). Large indexes are searched approximately unless `exact`.

        Equal scores are ranked by key, and the first rows of a larger `k` are those of a smaller one; of an
        approximate search that holds up to k = 128.

        Raises SpaceMismatchError for vectors of another space, ValueError for those that aren't of length 1,
        a `k` that is no positive integer, and a `where` that isn't understood, UnknownModalityError for
        `among`, StoreError.
        """
        require_id(self.card, self._id, queries.space, "searched")
        self._require_vectors(queries, "query")
        wanted = require_positive(k)
        store = self._store
        with store.meeting(where) as condition:
            query = Query(
                queries.vectors,
                queries.modality,
                min(wanted, max(1, len(self))),
                all_of(condition, within(among, self.modalities, self.card)),
                exact,
                means(store) if centred else None,
            )
            return find(store, query)

    def rows(self, where: str | None = None) -> Rows:
        """All rows, or those that meet the condition, in the order of their keys; raises as `search`."""
        store = self._store
        with store.meeting(where) as condition:
            return read_rows(store, self._id, condition)

    def delete(
        self, where: str | None = None, *, keys: Iterable[str | os.PathLike[str]] | None = None
    ) -> int:
        """Delete the rows that meet a condition, or have these keys; how many there were.

        ValueError for a condition that isn't understood whole; TypeError for keys that are one or a table.
        """
        if (where is None) == (keys is None):
            raise ValueError("say which rows: where='...' or keys=[...]; where='true' is all of them")
        given = keys if isinstance(keys, Set) else as_column(keys, "keys")  # their order doesn't matter
        store = self._store
        named = [escape_surrogates(os.fsdecode(key)) for key in given or ()]
        with store.meeting(where) as condition, store.writing():
            if condition is None:
                return store.delete(store.rows, named)
            return store.delete_where(store.rows, condition)

    def compact(self) -> None:
        """Join small files, drop old versions, and bring the approximate index up to date.

        That one is built from 200 000 rows on, here or by the addition that reaches so many.
        """
        self._store.compact()

    def failures(self) -> tuple[Failure, ...]:
        """The items that couldn't be encoded, in the order of their keys."""
        return read_failures(self._store)

    def recall(self, k: int = 10, *, queries: Embeddings | None = None, sample: int = 100) -> float:
        """The share of the exact `k` nearest rows that an approximate search finds; 1 while all are exact.

        By default for rows drawn at random, which leave themselves out. Queries of another modality than the
        rows may find less: give some.
        """
        k, sample = require_positive(k), require_positive(sample, "sample")
        own = queries is None
        asked = sampled(self._store, self._id, sample) if queries is None else queries
        found, expected = (self.search_embeddings(asked, k + own, exact=exact) for exact in (False, True))
        shares = []
        for row, (hits, truth) in enumerate(zip(found, expected, strict=True)):
            itself = asked.keys[row] if own and asked.keys else None
            best = {hit.key for hit in truth if hit.key != itself}
            shares.append(len(best & {hit.key for hit in hits}) / max(1, len(best)))
        return float(np.mean(shares)) if shares else 1.0

    def state(self) -> State:
        """Rows by modality, failures, size, and the approximate index."""
        store = self._store
        counts = {modality: store.count(modality) for modality in self.modalities}
        return State(counts, len(self.failures()), store.bytes(), store.method(), store.covered())

    def close(self) -> None:
        """Let the tables go, and the space if it was loaded here; later use raises ClosedError."""
        self._open_store = None
        if self._own and self._space is not None:
            self._space.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel by the folder, which is opened anew on arrival, with the space if one was given."""
        space = None if self._own else self._space
        return _reopened, (self.path, space, self._load.keywords, self._store.owner)

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Index of {self._id} at {os.fspath(self.path)!r}>"

    @property
    def _store(self) -> Store:
        if self._open_store is None:
            raise ClosedError(f"the index at {self.path} is closed", remedy="open it again")
        return self._open_store

    def _require_vectors(self, embeddings: Embeddings, what: str) -> None:
        """ValueError for vectors that aren't of the index's width, or not of length 1."""
        if embeddings.dim != self.card.dim:
            raise ValueError(f"the {what} has {embeddings.dim} numbers, and the index's rows {self.card.dim}")
        require_unit(embeddings.vectors, what)

    def _fill(
        self,
        modality: str,
        given: Iterable[Entry],
        *,
        on_error: OnError = "skip",
        retry: bool = False,
        progress: bool = False,
    ) -> Added:
        filling = Filling(self._store, self.space, modality, on_error, retry=retry, progress=progress)
        try:
            return filling.run(given)
        except IdentityError as cause:
            raise explained(self.card, self.space, modality, cause) from cause
        finally:
            self._settle()

    def _encode(self, modality: str, queries: Sequence[Any]) -> Embeddings:
        try:
            return self.space.encode(modality, queries)
        except IdentityError as cause:
            raise explained(self.card, self.space, modality, cause) from cause

    def _settle(self) -> None:
        """Compact once so many rows have come that searching them exactly is slow."""
        store = self._store
        if store.may_have(FROM_ROWS) and store.count() - store.covered() >= FROM_ROWS:
            store.compact()


def _reopened(path: Path, space: Space | None, options: Mapping[str, Any], owner: Owner) -> Index:
    """The index in a folder; StoreError where that is another one by now."""
    index = Index.open(path, space=space, **options)
    if index._store.owner != owner:
        raise StoreError(
            "the index was replaced by another one since it was sent",
            culprit=str(path),
            remedy="send one that is open: Index.open(path)",
        )
    return index
