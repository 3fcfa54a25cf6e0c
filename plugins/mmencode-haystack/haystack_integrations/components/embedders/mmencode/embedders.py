"""The embedders of Haystack's pipelines: of texts and media, for queries and for documents.

Haystack compares neither names nor vectors. So each embedder is serialised with the id of its space, and
refuses another one before it embeds anything; documents carry the id in their meta; and embedders of queries
give a filter for it, which a retriever takes, so that documents of another space are never found.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

from haystack import Document, component, default_from_dict, default_to_dict
from haystack.dataclasses import ByteStream

import mmencode

SPACE = "embedding_space"  # the name of the id in a document's meta


class _Embedder:
    """A space by its name, which is loaded when it is first used, and then is the one of the id.

    `space` is the name of an installed space or the folder of a saved one, by default the default space;
    `device`, `dtype` and `instruction` are those of `mmencode.load`.
    """

    def __init__(
        self,
        space: str | None = None,
        *,
        id: str = "",
        device: str = "auto",
        dtype: str = "auto",
        instruction: str = "",
    ) -> None:
        self.space, self.id, self.device, self.dtype = space, id, device, dtype
        self.instruction = instruction
        self._loaded: mmencode.Space | None = None

    @property
    def loaded(self) -> mmencode.Space:
        """The space of mmencode, loaded.

        Raises SpaceMismatchError, with both ids, for another one than that of `id`; otherwise as
        `mmencode.load`.
        """
        if self._loaded is None:
            options: dict[str, Any] = {"device": self.device, "dtype": self.dtype}
            self._loaded = mmencode.load(
                self.space, id=self.id or None, instruction=self.instruction, **options
            )
            self.id = self._loaded.id
        return self._loaded

    def warm_up(self) -> None:
        """Load the space; raises as `loaded`."""
        _ = self.loaded

    def to_dict(self) -> dict[str, Any]:
        """Serialise the embedder with the id of its space, which is loaded to know it."""
        self.warm_up()
        names = ("space", "id", "device", "dtype", "instruction", *self._own())
        return default_to_dict(self, **{name: getattr(self, name) for name in names})

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make the embedder that was serialised; it refuses another space once it is warmed up."""
        made: Self = default_from_dict(cls, data)
        return made

    def _own(self) -> tuple[str, ...]:
        """The names of further parameters."""
        return ()

    def _embed_query(self, modality: str, item: Any) -> dict[str, Any]:
        """Encode one query, with the filter for documents of its space."""
        (vector,) = self._encode(modality, [item], "query")
        only = {"field": f"meta.{SPACE}", "operator": "==", "value": self.id}
        return {"embedding": vector, "meta": {SPACE: self.id}, "filters": only}

    def _embed_documents(
        self, modality: str, documents: Sequence[Document], items: Sequence[Any]
    ) -> dict[str, Any]:
        """Encode the items of documents, and make documents with their vectors and the id of their space."""
        vectors = self._encode(modality, items, "document")
        made = [
            replace(document, embedding=vector, meta={**document.meta, SPACE: self.id})
            for document, vector in zip(documents, vectors, strict=True)
        ]
        return {"documents": made, "meta": {SPACE: self.id}}

    def _encode(
        self, modality: str, items: Sequence[Any], role: Literal["query", "document"]
    ) -> list[list[float]]:
        rows: list[list[float]] = self.loaded.encode(modality, items, role=role).vectors.tolist()
        return rows


class _MediaEmbedder(_Embedder):
    """An embedder of items of one modality that isn't text, "image" unless another is said."""

    def __init__(self, space: str | None = None, *, modality: str = "image", **options: Any) -> None:
        super().__init__(space, **options)
        self.modality = modality

    def _own(self) -> tuple[str, ...]:
        return ("modality",)


@component
class MmencodeTextEmbedder(_Embedder):
    """Embeds a text as a query, and gives the filter for documents of its space.

    Connect `embedding` to a retriever's `query_embedding`, and `filters` to its `filters`.
    """

    def __init__(self, space: str | None = None, **options: Any) -> None:
        _Embedder.__init__(self, space, **options)  # no super(): `component` makes another class of this

    @component.output_types(embedding=list[float], meta=dict[str, Any], filters=dict[str, Any])
    def run(self, text: str) -> dict[str, Any]:
        """Encode a text; InputError where it can't be encoded, TypeError for what is no text."""
        if not isinstance(text, str):
            raise TypeError(f"text is {type(text).__name__}: make it a str, or use MmencodeDocumentEmbedder")
        return self._embed_query("text", text)

    @component.output_types(embedding=list[float], meta=dict[str, Any], filters=dict[str, Any])
    async def run_async(self, text: str) -> dict[str, Any]:
        """Encode a text in a thread, as `run`."""
        return await asyncio.to_thread(self.run, text)


@component
class MmencodeMediaEmbedder(_MediaEmbedder):
    """Embeds an image, or an item of another `modality`, as a query, as MmencodeTextEmbedder does a text."""

    def __init__(self, space: str | None = None, *, modality: str = "image", **options: Any) -> None:
        _MediaEmbedder.__init__(self, space, modality=modality, **options)

    @component.output_types(embedding=list[float], meta=dict[str, Any], filters=dict[str, Any])
    def run(self, source: str | Path | ByteStream) -> dict[str, Any]:
        """Encode a file by its path, or bytes; InputError where it can't be encoded."""
        item = source.data if isinstance(source, ByteStream) else source
        return self._embed_query(self.modality, item)

    @component.output_types(embedding=list[float], meta=dict[str, Any], filters=dict[str, Any])
    async def run_async(self, source: str | Path | ByteStream) -> dict[str, Any]:
        """Encode a file or bytes in a thread, as `run`."""
        return await asyncio.to_thread(self.run, source)


@component
class MmencodeDocumentEmbedder(_Embedder):
    """Embeds documents by their text, behind the values of their meta that `meta_fields_to_embed` names."""

    def __init__(
        self,
        space: str | None = None,
        *,
        meta_fields_to_embed: Sequence[str] = (),
        embedding_separator: str = "\n",
        **options: Any,
    ) -> None:
        _Embedder.__init__(self, space, **options)
        self.meta_fields_to_embed = list(meta_fields_to_embed)
        self.embedding_separator = embedding_separator

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """Make documents with vectors; InputError, with the index, for one without text."""
        return self._embed_documents("text", documents, [self._text_of(each) for each in documents])

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    async def run_async(self, documents: list[Document]) -> dict[str, Any]:
        """Make documents with vectors in a thread, as `run`."""
        return await asyncio.to_thread(self.run, documents)

    def _own(self) -> tuple[str, ...]:
        return ("meta_fields_to_embed", "embedding_separator")

    def _text_of(self, document: Document) -> str:
        named = (document.meta.get(name) for name in self.meta_fields_to_embed)
        values = [str(value) for value in named if value is not None]
        return self.embedding_separator.join([*values, document.content or ""])


@component
class MmencodeMediaDocumentEmbedder(_MediaEmbedder):
    """Embeds documents by their image, or by their item of another `modality`.

    That is the document's blob, or else the file whose path its meta has by the name `file_path_meta_field`,
    below `root_path` where that is given.
    """

    def __init__(
        self,
        space: str | None = None,
        *,
        modality: str = "image",
        file_path_meta_field: str = "file_path",
        root_path: str = "",
        **options: Any,
    ) -> None:
        _MediaEmbedder.__init__(self, space, modality=modality, **options)
        self.file_path_meta_field = file_path_meta_field
        self.root_path = root_path

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """Make documents with vectors.

        Raises InputError, with the index and the path, for an item that can't be encoded; ValueError for a
        document that has none.
        """
        items = [self._item_of(place, document) for place, document in enumerate(documents)]
        return self._embed_documents(self.modality, documents, items)

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    async def run_async(self, documents: list[Document]) -> dict[str, Any]:
        """Make documents with vectors in a thread, as `run`."""
        return await asyncio.to_thread(self.run, documents)

    def _own(self) -> tuple[str, ...]:
        return ("modality", "file_path_meta_field", "root_path")

    def _item_of(self, place: int, document: Document) -> Path | bytes:
        if document.blob is not None:
            return document.blob.data
        if path := document.meta.get(self.file_path_meta_field):
            return Path(self.root_path, path)
        raise ValueError(
            f"document {place}, {document.id}, has no {self.modality}: give it a blob, or the path of its "
            f"file as meta[{self.file_path_meta_field!r}]"
        )
