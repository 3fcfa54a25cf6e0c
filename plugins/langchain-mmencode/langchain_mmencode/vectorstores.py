"""The class `MmencodeVectorStore`, an index of mmencode as LangChain's vector store."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any
from uuid import uuid4

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from langchain_core.vectorstores.utils import maximal_marginal_relevance

import mmencode
from mmencode.errors import SpaceMismatchError

from .embeddings import MmencodeEmbeddings

_CONTENT, _METADATA = "page_content", "langchain_metadata"  # columns of the index
_AT_ONCE = 500  # keys in one condition
# Metadata by these names isn't a column, since conditions can't have it; it is kept like all of it.
_COLUMN = re.compile("[A-Za-z][A-Za-z0-9_]{0,99}")
_RESERVED = frozenset(
    [
        "and",
        "as",
        "between",
        "escape",
        "false",
        "fault",
        "ilike",
        "in",
        "is",
        "key",
        "like",
        "modality",
        "not",
        "null",
        "or",
        "reason",
        "true",
        "vector",
    ]
)


class MmencodeVectorStore(VectorStore):
    """Documents in an index of mmencode: texts, images and audio, searched together by vectors of its space.

    The id of a document is the key of its row. Metadata comes back as it was given, as far as JSON can hold
    it, and what is a str, bool or number in it is a column to filter by. Rows that were added by mmencode
    itself are documents, too: the key is their content, and "modality" is in their metadata where they are no
    texts. Searches raise SpaceMismatchError for vectors of another space, and for bare ones.
    """

    def __init__(self, index: mmencode.Index) -> None:
        self.index = index

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        path: str | os.PathLike[str] = "",
        **kwargs: Any,
    ) -> MmencodeVectorStore:
        """Make an index in the folder `path`, or open the one that is there, and add texts to it.

        Raises ValueError without a path, TypeError for embeddings that aren't mmencode's,
        SpaceMismatchError for an index of another space, and as `add_texts`.
        """
        if not isinstance(embedding, MmencodeEmbeddings):
            raise TypeError(
                f"embedding is {type(embedding).__name__}, and the index keeps the identity of a space: make "
                "it MmencodeEmbeddings"
            )
        if not os.fspath(path):
            raise ValueError("an index is a folder: say where, path='...'")
        if mmencode.Index.is_index(path):
            index = mmencode.Index.open(path, space=embedding.loaded)
        else:
            index = mmencode.Index.create(path, embedding.loaded)
        store = cls(index)
        store.add_texts(texts, metadatas, ids=ids, **kwargs)
        return store

    @property
    def embeddings(self) -> MmencodeEmbeddings:
        """The embeddings of the index's space, which is loaded."""
        return MmencodeEmbeddings.from_space(self.index.space)

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Encode and write texts, in place of those with the same ids; return the ids.

        Texts without an id get a new one. Raises as `add_items`.
        """
        return self.add_items("text", list(texts), metadatas, ids=ids, **kwargs)

    def add_items(
        self,
        modality: str,
        items: Sequence[Any],
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
    ) -> list[str]:
        """Encode and write items of any modality of the space; return the ids.

        The content of their documents is the text or path, else nothing. Raises ValueError for other numbers
        of metadata or ids than of items, ids that come twice, and metadata that JSON can't hold exactly, each
        before anything is written; InputError for an item that can't be encoded; otherwise as `Index.add`.
        """
        for name, given in (("metadatas", metadatas), ("ids", ids)):
            if given is not None and len(given) != len(items):
                raise ValueError(f"there are {len(items)} items and {len(given)} {name}: give one for each")
        keys = [key or str(uuid4()) for key in ids or repeat(None, len(items))]
        rows = [
            {_CONTENT: os.fsdecode(item) if isinstance(item, (str, os.PathLike)) else "", **columns}
            for item, columns in zip(
                items, map(_to_columns, range(len(items)), metadatas or repeat({})), strict=True
            )
        ]
        self.index.add(modality, items, keys=keys, metadata=rows)
        return keys

    def delete(self, ids: Sequence[str] | None = None, **kwargs: Any) -> bool:
        """Delete the documents with these ids, and nothing for those that aren't there; all without ids."""
        if ids is None:
            self.index.delete("true")
        else:
            self.index.delete(keys=list(ids))
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Read the documents with these ids, in the order of the ids, those that aren't there left out."""
        found: dict[str, Document] = {}
        for start in range(0, len(ids), _AT_ONCE):
            rows = self.index.rows(_is_one_of("key", ids[start : start + _AT_ONCE]))
            keys = rows.embeddings.keys or ()
            found |= {
                key: _to_document(key, modality, metadata)
                for key, modality, metadata in zip(keys, rows.modalities, rows.metadata, strict=True)
            }
        return [found[id] for id in dict.fromkeys(ids) if id in found]

    def similarity_search(
        self, query: str, k: int = 4, filter: Mapping[str, Any] | str | None = None, **kwargs: Any
    ) -> list[Document]:
        """Find the `k` documents of any modality nearest to a text; raises as `search_items`."""
        return [document for document, _ in self.search_items("text", query, k, filter, **kwargs)]

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: Mapping[str, Any] | str | None = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Find the `k` documents nearest to a text, with their cosine similarities, as `search_items`."""
        return self.search_items("text", query, k, filter, **kwargs)

    def similarity_search_by_image(
        self, uri: Any, k: int = 4, filter: Mapping[str, Any] | str | None = None, **kwargs: Any
    ) -> list[Document]:
        """Find the `k` documents nearest to an image, given by its path or as `Space.encode` takes it."""
        return [document for document, _ in self.search_items("image", uri, k, filter, **kwargs)]

    def search_items(
        self,
        modality: str,
        item: Any,
        k: int = 4,
        filter: Mapping[str, Any] | str | None = None,
        **kwargs: Any,
    ) -> list[tuple[Document, float]]:
        """Find the `k` documents nearest to an item of any modality of the space, with their similarities.

        `filter` has values of metadata, one or a list for each name, or is a condition in SQL. `among`, the
        modalities of the documents, `centred` and `exact` are those of `Index.search`, and so are errors.
        """
        hits = self.index.search(modality, [item], k, where=_to_condition(filter), **kwargs)[0]
        return [(_to_document(hit.key, hit.modality, hit.metadata), hit.score) for hit in hits]

    def similarity_search_by_vector(
        self,
        embedding: Any,
        k: int = 4,
        filter: Mapping[str, Any] | str | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Find the `k` documents nearest to a row of `mmencode.Embeddings`; raises as `search_items`.

        Raises SpaceMismatchError for a list of numbers, which doesn't say what space it is of.
        """
        if not isinstance(embedding, mmencode.Embeddings):
            raise SpaceMismatchError(
                f"the vector is {type(embedding).__name__}, and doesn't say what space it is of",
                remedy="give mmencode.Embeddings of one row, as Space.encode makes them, or search by an "
                "item with search_items",
            )
        hits = self.index.search_embeddings(embedding[:1], k, where=_to_condition(filter), **kwargs)[0]
        return [_to_document(hit.key, hit.modality, hit.metadata) for hit in hits]

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Mapping[str, Any] | str | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Choose, of the `fetch_k` nearest documents, `k` that differ; raises as `search_items`.

        The lower `lambda_mult`, from 1 to 0, the more they differ (Carbonell and Goldstein, "The use of MMR",
        SIGIR 1998).
        """
        asked = self.index.space.encode("text", [query], role="query")
        hits = self.index.search_embeddings(asked, fetch_k, where=_to_condition(filter), **kwargs)[0]
        rows = self.index.rows(_is_one_of("key", [hit.key for hit in hits])).embeddings
        assert isinstance(rows, mmencode.Embeddings)  # or the query couldn't have been encoded
        places = {key: place for place, key in enumerate(rows.keys or ())}
        hits = [hit for hit in hits if hit.key in places]  # another process may have deleted some since
        vectors = [rows.vectors[places[hit.key]] for hit in hits]
        chosen = maximal_marginal_relevance(
            np.asarray(asked.vectors[0]), vectors, lambda_mult=lambda_mult, k=k
        )
        return [_to_document(hits[place].key, hits[place].modality, hits[place].metadata) for place in chosen]

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return _to_relevance


def _to_relevance(similarity: float) -> float:
    """Convert a cosine, from -1 to 1, to LangChain's scale from 0 to 1."""
    return (similarity + 1) / 2


def _to_columns(place: int, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Make the columns of a document's metadata; ValueError where JSON doesn't give it back as it is."""
    if not metadata:
        return {}
    try:
        text = json.dumps(dict(metadata), allow_nan=False)
        exact = json.loads(text) == metadata
    except (TypeError, ValueError, RecursionError):
        exact = False
    if not exact:
        raise ValueError(
            f"metadata of document {place} would come back as another: make it of str, bool, int, float, "
            "None, and of lists and dicts of these with str as keys"
        )
    plain = {
        name: value
        for name, value in metadata.items()
        if isinstance(value, (str, bool, int, float))
        and _COLUMN.fullmatch(name)
        and name.lower() not in _RESERVED | {_CONTENT, _METADATA}
    }
    return {**plain, _METADATA: text}


def _to_document(key: str, modality: str, row: Mapping[str, Any]) -> Document:
    """Make the document of a row, be it one that mmencode itself added."""
    others = {name: value for name, value in row.items() if name not in (_CONTENT, _METADATA)}
    metadata = json.loads(row[_METADATA]) if _METADATA in row else {} if _CONTENT in row else others
    if modality != "text":
        metadata = {**metadata, "modality": modality}
    return Document(id=key, page_content=row.get(_CONTENT, key), metadata=metadata)


def _to_condition(filter: Mapping[str, Any] | str | None) -> str | None:
    """Make the condition of an index from values of metadata; TypeError for what is no such filter."""
    if filter is None or isinstance(filter, str):
        return filter
    if not isinstance(filter, Mapping):
        raise TypeError(
            f"filter is {type(filter).__name__}: make it a mapping from names of metadata to values, or a "
            "str with a condition in SQL"
        )
    return (
        " AND ".join(
            _is_one_of(f'"{name}"', value if isinstance(value, (list, tuple)) else [value])
            for name, value in filter.items()
        )
        or None
    )


def _is_one_of(column: str, values: Iterable[Any]) -> str:
    """Make the condition that a column has one of these values; it is false for none."""
    listed = ", ".join(map(_to_literal, values))
    return f"{column} IN ({listed})" if listed else "false"


def _to_literal(value: Any) -> str:
    """Write a value in SQL; TypeError for one that no column has."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    raise TypeError(f"a filter has a value of type {type(value).__name__}: make it str, bool, int or float")
