"""The class `Index`, which keeps rows of one space in a folder and searches them by vectors."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Literal

from .._atomic import folder_aside
from ..arguments.counts import require_positive
from ..card import SpaceCard
from ..embeddings.embeddings import Embeddings
from ..embeddings.multi import MultiEmbeddings
from ..embeddings.surrogates import escape_surrogates
from ..engine.call import OnError
from ..engine.runtime import Auto
from ..errors import ClosedError, StoreError
from ..inputs import Limits
from ..inputs.batches import as_column, as_iterable, check_on_error, require_many
from ..plugins.spec import TEXT, modality_of_key
from ..spaces.loading import Trust, load
from ..spaces.space import Space
from .asking import accept, encode_queries, find
from .claim import Claim, require_claims, require_documents
from .columns import Metadata, Owner
from .editions import current_folder
from .entries import Entry, make_entries
from .filling import Filling
from .folders import FollowedFolder, Missing
from .hybrid import DEPTH, WordRequest, choose_full_text, search_hybrid, search_text
from .identity import has_index, require_index
from .lance import package
from .layout import Layout
from .lazy_space import LazySpace, LoadOptions, write_space
from .pending import NewRows
from .places import Address, Place, place_of
from .reading import draw_rows, read_by_keys, read_failures, read_rows
from .reranking import Reranker
from .resident import MEMORY, require_memory
from .results import Added, Failure, Hit, RankedHit, Rows, State, share_found
from .shared import SpaceFiles, finish, has_shared, make_shared_tables
from .store import Store
from .tables import make_tables


class Index:
    """Rows of any modalities of one space, in a folder, on LanceDB: vectors, keys and metadata.

    `Index.create` makes one, `Index.open` opens it, and `with` closes it at the end. A key names one row.
    Writers take turns, across processes; each commit is atomic, and readers see the latest. One index may be
    used from several threads.
    """

    def __init__(self, path: Place, space: LazySpace, store: Store, shared: SpaceFiles | None = None) -> None:
        self.path = path
        self._lazy_space = space
        self._open_store: Store | None = store
        self._shared = shared

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        space: Space | str | None = None,
        *,
        precision: str = "float32",
        pool: int = 1,
        protected: int = 0,
        memory: int = MEMORY,
        storage_options: Mapping[str, str] | None = None,
    ) -> Index:
        """Make an empty index in a folder that isn't there yet, which appears whole or not at all.

        The path may be an address on object storage, such as s3://bucket/photos.index, which LanceDB opens
        with `storage_options`, or with what the environment says.

        `space` is one that is loaded, a name or a folder for `load`, or the default one. Of many vectors for
        each item, precision="float16" halves the bytes, and `pool` merges those of rows but not of queries,
        as `MultiEmbeddings.pool` does. `memory` is as in `open`. Raises FileExistsError, FileNotFoundError
        where the folder to make it in isn't there, StoreError, MissingPackageError without LanceDB,
        ValueError for settings.
        """
        target = place_of(path, storage_options)
        package("lancedb")
        memory = require_memory(memory)
        if isinstance(target, Address):
            loaded = space if isinstance(space, Space) else load(space)
            layout = Layout.of(loaded, precision, pool, protected)
            with tempfile.TemporaryDirectory(prefix="mmencode-index-") as folder:
                write_space(loaded, Path(folder, "space"))
                make_shared_tables(target, loaded.dim, Owner.new(loaded.card.fingerprint, layout))
                finish(target, Path(folder, "space"))
        else:
            with folder_aside(target) as aside:
                loaded = space if isinstance(space, Space) else load(space)
                write_space(loaded, aside)
                layout = Layout.of(loaded, precision, pool, protected)
                make_tables(aside, loaded.dim, Owner.new(loaded.card.fingerprint, layout))
        return cls._open(target, loaded, owned=loaded is not space, options=LoadOptions(), memory=memory)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        space: Space | None = None,
        device: str | Auto = "auto",
        dtype: str | Auto = "auto",
        backend: str = "torch",
        limits: Limits | None = None,
        trust: Trust | None = None,
        modalities: Sequence[str] | None = None,
        instruction: str = "",
        memory: int = MEMORY,
        storage_options: Mapping[str, str] | None = None,
    ) -> Index:
        """Open the index in a folder, or at an address as in `create`.

        Its space is loaded when it first encodes something, unless given.

        Fewer than 200 000 rows of one vector each are held in memory after the first four queries, where
        they take at most `memory` bytes; 0 leaves them on disk. The other arguments are those of `load`.
        Raises StoreError for a folder that is no index or a damaged one, WeightsError or IdentityError for a
        damaged card, SpaceMismatchError, with what differs, for a space of another fingerprint, ValueError.
        """
        options = LoadOptions(
            device=device,
            dtype=dtype,
            backend=backend,
            limits=limits,
            trust=trust,
            modalities=modalities,
            instruction=instruction,
        )
        target = place_of(path, storage_options)
        return cls._open(target, space, options=options, memory=require_memory(memory))

    @classmethod
    def _open(
        cls, path: Place, space: Space | None, *, owned: bool = False, options: LoadOptions, memory: int
    ) -> Index:
        package("lancedb")
        if isinstance(path, Address):
            shared = SpaceFiles(path)
            folder, refresh = shared.folder, shared.refresh
            lazy_space = LazySpace(folder, space, owned=owned, options=options, refresh=refresh)
            return cls(path, lazy_space, Store(path, lazy_space.card.fingerprint, memory), shared)
        require_index(path)
        folder = current_folder(path)
        lazy_space = LazySpace(folder, space, owned=owned, options=options)
        return cls(path, lazy_space, Store(folder, lazy_space.card.fingerprint, memory, index=path))

    @staticmethod
    def is_index(path: str | os.PathLike[str], *, storage_options: Mapping[str, str] | None = None) -> bool:
        """Whether a folder has a card and tables, which aren't opened, or whether an address has an index."""
        place = place_of(path, storage_options)
        return has_shared(place) if isinstance(place, Address) else has_index(path)

    @property
    def space(self) -> Space:
        """The space of the index, loaded; raises as `load`."""
        _ = self._store  # or the error that the index is closed
        return self._lazy_space.get()

    @property
    def card(self) -> SpaceCard:
        """The card of the index's space, with the towers that joined it since and made rows."""
        return self._lazy_space.card

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that have rows, sorted."""
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
        keep_text: bool = False,
        on_error: OnError = "raise",
        retry: bool = False,
        progress: bool = False,
    ) -> Added:
        """Encode items, of an iterable of any length, and write rows as they are done.

        Without `keys`, paths and texts are their own. A row whose key is there is replaced, and not encoded
        again where its content is the same: known of paths, bytes, texts, and items with such parts. A row of
        another modality is never replaced. `metadata` has a mapping for each item, of str, bool, int, float
        or None, and of mappings and lists of these, which a condition sees as their JSON; columns are added
        when first seen. With `keep_text`, texts are kept beside their keys, as the metadata "text".

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
        if keep_text and modality_of_key(modality) != TEXT:
            raise ValueError(f"keep_text=True keeps texts, and these are items of {modality!r}: leave it out")
        entries = make_entries(modality, as_iterable(items), *sides, keep_text=keep_text)
        return self._fill(modality, entries, on_error=on_error, retry=retry, progress=progress)

    def add_embeddings(
        self, embeddings: Embeddings | MultiEmbeddings, *, metadata: Iterable[Metadata] | None = None
    ) -> Added:
        """Write vectors that have keys, in one commit, in place of rows with the same keys.

        Those of an index that pools are pooled here. Raises SpaceMismatchError for vectors of another space,
        or by another encoder than the rows of their modality, one for each item where the index has many, and
        those pooled otherwise; ValueError without keys; otherwise as `add`.
        """
        embeddings = accept(self._store, self._lazy_space, embeddings)
        rows = NewRows.of_embeddings(embeddings, metadata)
        if not rows.keys:
            return Added(0, 0)
        self._claim(embeddings)  # which may load the space, before others wait for the right to write
        with self._store.writing() as writer:
            self._require(self._claim(embeddings))
            replaced = writer.put_rows(rows, embeddings)
        self._store.compact_if_grown()
        return Added(len(rows.keys), 0, replaced=replaced)

    def sync(
        self,
        folder: str | os.PathLike[str],
        modalities: Sequence[str] | None = None,
        *,
        missing: Missing = "few",
        follow_links: bool = False,
        retry: bool = False,
        progress: bool = False,
    ) -> Added:
        """Follow a folder: encode its new and changed files, and remove the rows of files that are gone.

        Keys are absolute paths, with links resolved. Files that are unchanged, by size and time or else by
        the hash of their content, aren't encoded again. Those that can't be encoded are listed as failures;
        those at fault by their own content are tried again once they change, or with `retry`, the others each
        time. Whatever ends it, what is done is kept, and the next call goes on from there.

        A file that holds several items, such as a document, has a row for each, report.pdf#page=3; those that
        it has no longer are removed. Where its items can't be counted, it is a failure, and its rows stay.

        Rows and failures of files that are gone are removed at the end. With missing="few" that is refused,
        by an InputError, where it looks as if a disk weren't mounted: when more than a quarter (and three) of
        the folder's rows would go, all of them, or those of a folder that is there and empty. "remove"
        removes them nevertheless, "keep" keeps all.

        Links that lead out of the folder aren't followed unless `follow_links`. `modalities` are by default
        those of the space that files have: image and audio, by their endings. Raises NotADirectoryError,
        ValueError for modalities without endings, and as `add`.
        """
        followed = FollowedFolder(self.card, folder, modalities, missing=missing, follow_links=follow_links)
        done = Added(0, 0)
        for files in followed.files:
            entries = files.entries(self._store.tables, self.space.limits, retry=retry)
            done += self._fill(files.modality, entries, retry=retry, progress=progress)
            done += files.unread()
        return done + Added(0, 0, removed=followed.remove_gone(self._store))

    def search(
        self,
        modality: str,
        queries: Iterable[Any],
        k: int = 10,
        *,
        where: str | None = None,
        among: str | Iterable[str] | None = None,
        centred: bool = False,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """Find the `k` rows nearest to each query, best first; raises as `encode` and `search_embeddings`."""
        encoded = encode_queries(self._store, self._lazy_space, modality, queries)
        return self.search_embeddings(encoded, k, where=where, among=among, centred=centred, exact=exact)

    def search_embeddings(
        self,
        queries: Embeddings | MultiEmbeddings,
        k: int = 10,
        *,
        where: str | None = None,
        among: str | Iterable[str] | None = None,
        centred: bool = False,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """Find the `k` rows nearest to each query by cosine similarity, or by MaxSim, best first.

        `where` is a condition in SQL over key, modality and metadata; `among` the modalities of the rows.
        With `centred`, the mean of each modality's rows is subtracted from them, and that of the queries'
        modality from these where it has rows, which takes away the gap between modalities (Liang et al.,
        "Mind the Gap", NeurIPS 2022). Large indexes are searched approximately unless `exact`.

        Equal scores are ranked by key, and the first rows of a larger `k` are those of a smaller one; of an
        approximate search that holds up to k = 128.

        Raises SpaceMismatchError for vectors of another space, and for one where rows have many; ValueError
        for those that aren't of length 1, a `k` that is no positive integer, and a `where` that isn't
        understood; UnknownModalityError for `among`; StoreError.
        """
        options: dict[str, Any] = {"where": where, "among": among, "centred": centred, "exact": exact}
        return find(self._store, self._lazy_space, queries, k, **options)

    def build_full_text(
        self, columns: str | Iterable[str] = "text", *, language: str = "", characters: int = 0
    ) -> None:
        """Make the texts of columns searchable by their words, also those of rows that come later.

        The columns are metadata of texts, "text" for those that `add` keeps, or "key". Words are found as
        they are written, but for case and accents, in any script; with a `language`, "English" say, also in
        their other forms, and without its stop words, which let a row rank by "the" otherwise. With
        `characters`, 2 say, texts are cut into pieces of so many, so that parts of words are found, too.
        Called again, it changes the settings. Raises ValueError; otherwise as `add`.
        """
        store = self._store
        chosen = choose_full_text(store, columns, language, characters)
        with store.writing() as writer:
            writer.build_full_text(chosen)

    def search_text(
        self,
        words: Iterable[str],
        k: int = 10,
        *,
        columns: str | Iterable[str] | None = None,
        where: str | None = None,
        among: str | Iterable[str] | None = None,
        rerank: Reranker | None = None,
    ) -> list[list[RankedHit]]:
        """Find the `k` rows whose full text fits each query's words best, by BM25; no encoder is needed.

        A row needs one of the words. A query is words alone: quotes, AND or * in it mean nothing, and one
        without any word finds nothing. `columns` are by default all that have full text; the other arguments
        are as in `search_hybrid`. Raises ValueError without full text; otherwise as `search`.
        """
        request = WordRequest.check(self._store, words, columns=columns, where=where, among=among)
        return search_text(self._store, self._lazy_space, request, k, rerank)

    def search_hybrid(
        self,
        words: Iterable[str],
        k: int = 10,
        *,
        vectors: Embeddings | MultiEmbeddings | None = None,
        columns: str | Iterable[str] | None = None,
        where: str | None = None,
        among: str | Iterable[str] | None = None,
        centred: bool = False,
        exact: bool = False,
        depth: int = DEPTH,
        rerank: Reranker | None = None,
    ) -> list[list[RankedHit]]:
        """Find rows by their full text and by their vectors, and fuse both rankings by reciprocal ranks.

        Each ranking has `depth` rows for a query. The words are encoded as texts, unless `vectors` has one
        for each query: that of an image, say. `rerank` takes a query's words and the first `depth` fused
        hits, and returns a score for each, by which they are ordered: a callable, or a `MaxSimReranker`. A
        fused score is no similarity; that is `score` of a hit, where it has one.

        Raises ValueError without full text; EncoderError where the reranker fails; otherwise as `search`.
        """
        request = WordRequest.check(self._store, words, columns=columns, where=where, among=among)
        return search_hybrid(
            self._store,
            self._lazy_space,
            request,
            k,
            vectors=vectors,
            centred=centred,
            exact=exact,
            depth=depth,
            rerank=rerank,
        )

    def rows(self, where: str | None = None) -> Rows:
        """Read all rows, or those that meet the condition, in the order of their keys; raises as `search`."""
        store = self._store
        with store.meeting(where) as condition:
            return read_rows(store, self._lazy_space, condition)

    def get(
        self,
        keys: Iterable[str | os.PathLike[str]],
        *,
        missing: Literal["raise", "skip"] = "raise",
    ) -> Rows:
        """Read the rows that have these keys, in the order of the keys, with their vectors and metadata.

        With missing="skip" keys that no row has are left out; `embeddings.keys` says which are there. Raises
        UnknownNameError for the first of them otherwise, TypeError for keys that are one str, a set or a
        table.
        """
        if missing not in ("raise", "skip"):
            raise ValueError(f'missing is {missing!r:.100}: make it "raise" or "skip"')
        given = [os.fsdecode(key) for key in as_column(keys, "keys") or ()]
        return read_by_keys(self._store, self._lazy_space, given, required=missing == "raise")

    def delete(
        self, where: str | None = None, *, keys: Iterable[str | os.PathLike[str]] | None = None
    ) -> int:
        """Delete the rows that meet a condition, or have these keys; return how many there were.

        Raises ValueError for a condition that isn't understood whole; TypeError for keys that are one str or
        a table.
        """
        if (where is None) == (keys is None):
            raise ValueError("say which rows: where='...' or keys=[...]; where='true' is all of them")
        given = keys if isinstance(keys, Set) else as_column(keys, "keys")  # their order doesn't matter
        escaped = [escape_surrogates(os.fsdecode(key)) for key in given or ()]
        store = self._store
        with store.meeting(where) as condition, store.writing() as writer:
            if condition is None:
                return writer.delete_rows(escaped)
            return writer.delete_rows_where(condition)

    def compact(self) -> None:
        """Join small files, drop old versions, and bring the approximate index and full text up to date.

        An approximate index is built from 200 000 rows on, here or by the addition that reaches so many.
        """
        with self._store.writing() as writer:
            writer.compact()

    def failures(self) -> tuple[Failure, ...]:
        """List the items that couldn't be encoded, in the order of their keys."""
        return read_failures(self._store)

    def recall(
        self, k: int = 10, *, queries: Embeddings | MultiEmbeddings | None = None, sample: int = 100
    ) -> float:
        """Measure the share of the exact `k` nearest rows that a search finds; 1 while searches are exact.

        By default for rows drawn at random, which leave themselves out. Queries of another modality than the
        rows may find less: give some.
        """
        k, sample = require_positive(k), require_positive(sample, "sample")
        own = queries is None
        asked = draw_rows(self._store, self._lazy_space, sample) if queries is None else queries
        found, expected = (self.search_embeddings(asked, k + own, exact=exact) for exact in (False, True))
        return share_found(found, expected, asked.keys if own else None)

    def state(self) -> State:
        """Count rows by modality and failures, and describe the size on disk and the approximate index."""
        store = self._store
        counts = {modality: store.count(modality) for modality in self.modalities}
        size, method, covered = store.bytes(), store.method(), store.count_covered()
        memory = store.resident.needed, store.resident.held
        columns = tuple(store.metadata_names)
        full_text = {each.column: each.describe() for each in store.full_text()}
        layout, failed = store.layout, len(self.failures())
        return State(counts, failed, size, method, covered, layout, *memory, columns, full_text)

    def close(self) -> None:
        """Let the tables go, and the space if it was loaded here; later use raises ClosedError."""
        self._open_store = None
        self._lazy_space.close()
        if self._shared is not None:
            self._shared.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the path of the folder, which is opened anew on arrival, and the space if one was given."""
        space = self._lazy_space
        store = self._store
        return _reopen, (self.path, space.given, space.options, store.owner, store.resident.most)

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Index of {self._lazy_space.id} at {str(self.path)!r}>"

    @property
    def _store(self) -> Store:
        if self._open_store is None:
            raise ClosedError(f"the index at {self.path} is closed", remedy="open it again")
        return self._open_store

    def _fill(
        self,
        modality: str,
        entries: Iterable[Entry],
        *,
        on_error: OnError = "skip",
        retry: bool = False,
        progress: bool = False,
    ) -> Added:
        store, space = self._store, self.space
        require_documents(space, modality)
        try:
            with self._lazy_space.explaining(modality):
                claim = None
                if space.spec(modality).joins:
                    claim = self._claim_of(modality)
                    with store.writing():
                        self._require(claim)
                filling = Filling(
                    store, space, modality, on_error, retry=retry, progress=progress, claim=claim
                )
                return filling.run(entries)
        finally:
            self._store.compact_if_grown()

    def _claim(self, embeddings: Embeddings | MultiEmbeddings) -> Claim | None:
        """Find the claim to make before vectors are added, whose modality may have joined the space."""
        self._lazy_space.find_towers([embeddings.modality])  # sees what other writers claimed
        modality, towers = embeddings.modality, embeddings.towers
        space = None
        if modality in towers and all(tower.key != modality for tower in self.card.frame):
            space = self.space
        if not require_claims(self.card, embeddings, space, self._store.count):
            return None
        return self._claim_of(modality)

    def _claim_of(self, modality: str) -> Claim:
        folder = self._lazy_space.folder
        return Claim(folder, self._store, self.space, modality, self._shared)

    def _require(self, claim: Claim | None) -> None:
        card = None if claim is None else claim.require()
        if card is not None:
            self._lazy_space.card = card


def _reopen(path: Place, space: Space | None, options: LoadOptions, owner: Owner, memory: int) -> Index:
    """Open the index in a folder; StoreError where that is another one by now."""
    index = Index._open(path, space, options=options, memory=memory)
    if index._store.owner != owner:
        raise StoreError(
            "the index was replaced by another one since it was sent",
            culprit=str(path),
            remedy="send one that is open: Index.open(path)",
        )
    return index
