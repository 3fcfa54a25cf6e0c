"""The class `MmencodeEmbedding`, a space of mmencode as LlamaIndex's multimodal embedding."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from io import BytesIO
from typing import Any, Literal

from llama_index.core.base.embeddings.base import Embedding
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.embeddings import MultiModalEmbedding
from llama_index.core.schema import BaseNode, ImageDocument, ImageNode

import mmencode


class MmencodeEmbedding(MultiModalEmbedding):
    """Texts, images and audio as vectors of one space of mmencode, which can be compared with each other.

    `space` is the name of an installed space or the folder of a saved one, by default the default space;
    `device`, `dtype` and `instruction` are those of `mmencode.load`. A space that is loaded already is given
    to `from_space`. LlamaIndex compares names at most, so `id` says which space it is, and is the name of the
    model, too: after loading it is that of the space, `to_dict` keeps it, and given with another space it
    raises SpaceMismatchError. Nodes with an image are embedded by it, all others by their text. Items that
    can't be encoded raise InputError with their index and source.
    """

    space: str | None = Field(default=None, description="The name of a space, or the folder of a saved one.")
    id: str = Field(default="", description="The id that the space must have.")
    device: str = Field(default="auto", description="The device to compute on.")
    dtype: str = Field(default="auto", description="The type of numbers to compute in.")
    instruction: str = Field(default="", description="The instruction for queries, where a model takes one.")
    _loaded: mmencode.Space = PrivateAttr()

    def __init__(self, space: str | None = None, **kwargs: Any) -> None:
        super().__init__(**{"space": space, **kwargs})
        options: dict[str, Any] = {
            "device": self.device,
            "dtype": self.dtype,
            "instruction": self.instruction,
        }
        self._hold(mmencode.load(space, id=self.id or None, **options))

    @classmethod
    def class_name(cls) -> str:
        """The name of the class in LlamaIndex's serialised form."""
        return "MmencodeEmbedding"

    @classmethod
    def from_space(cls, space: mmencode.Space, **kwargs: Any) -> MmencodeEmbedding:
        """Make the embedding of a space that is loaded, which it shares with the caller."""
        made = cls.__new__(cls)
        MultiModalEmbedding.__init__(made, **{"space": space.name, **kwargs})
        made._hold(space)
        return made

    @property
    def loaded(self) -> mmencode.Space:
        """The space of mmencode, loaded."""
        return self._loaded

    def embed(
        self, modality: str, items: Sequence[Any], *, role: Literal["", "query", "document"] = ""
    ) -> list[Embedding]:
        """Encode items of any modality of the space, in order, as documents or as queries.

        Items are what `Space.encode` takes: paths, bytes, arrays, `PIL.Image`s. Raises as `Space.encode`.
        """
        rows: list[Embedding] = self._loaded.encode(modality, items, role=role).vectors.tolist()
        return rows

    def get_audio_embedding(self, audio: Any) -> Embedding:
        """Encode a sound: a path, bytes, or a waveform with its rate. Raises as `embed`."""
        return self.embed("audio", [audio], role="document")[0]

    async def aget_audio_embedding(self, audio: Any) -> Embedding:
        """Encode a sound in a thread, as `get_audio_embedding`."""
        return await asyncio.to_thread(self.get_audio_embedding, audio)

    def __call__(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        """Give nodes their vectors, by their image where they have one; raises as `embed`."""
        pictured, others = _part(nodes)
        found = self.get_image_embedding_batch([_image_of(node) for node in pictured], **kwargs)
        for node, vector in zip(pictured, found, strict=True):
            node.embedding = vector
        super().__call__(others, **kwargs)
        return nodes

    async def acall(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        """Give nodes their vectors in threads, as `__call__`."""
        pictured, others = _part(nodes)
        found = await self.aget_image_embedding_batch([_image_of(node) for node in pictured], **kwargs)
        for node, vector in zip(pictured, found, strict=True):
            node.embedding = vector
        await super().acall(others, **kwargs)
        return nodes

    def _hold(self, space: mmencode.Space) -> None:
        """Take a loaded space, and its id as the name of the model.

        Raises ValueError for a cache, which LlamaIndex asks by the text alone, so that vectors of queries
        would be taken for those of documents, and those of another space for this one's.
        """
        if self.embeddings_cache is not None:
            raise ValueError(
                "embeddings_cache is given, and LlamaIndex asks it by the text alone: vectors of another "
                "space would come back; leave it out, or give the cache to IngestionPipeline, which asks by "
                "the id"
            )
        self._loaded, self.id, self.model_name = space, space.id, space.id

    def _get_query_embedding(self, query: str) -> Embedding:
        return self.embed("text", [query], role="query")[0]

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return await asyncio.to_thread(self._get_query_embedding, query)

    def _get_text_embedding(self, text: str) -> Embedding:
        return self.embed("text", [text], role="document")[0]

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return await asyncio.to_thread(self._get_text_embedding, text)

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return self.embed("text", texts, role="document")

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)

    def _get_image_embedding(self, img_file_path: str | BytesIO) -> Embedding:
        return self.embed("image", [img_file_path], role="document")[0]

    async def _aget_image_embedding(self, img_file_path: str | BytesIO) -> Embedding:
        return await asyncio.to_thread(self._get_image_embedding, img_file_path)

    def _get_image_embeddings(self, img_file_paths: list[str | BytesIO]) -> list[Embedding]:
        return self.embed("image", img_file_paths, role="document")

    async def _aget_image_embeddings(self, img_file_paths: list[str | BytesIO]) -> list[Embedding]:
        return await asyncio.to_thread(self._get_image_embeddings, img_file_paths)


def _part(nodes: Sequence[BaseNode]) -> tuple[list[ImageNode | ImageDocument], list[BaseNode]]:
    """Part nodes into those that have an image, and the others."""
    pictured = [node for node in nodes if isinstance(node, (ImageNode, ImageDocument)) and _has_image(node)]
    held = set(map(id, pictured))
    return pictured, [node for node in nodes if id(node) not in held]


def _has_image(node: ImageNode | ImageDocument) -> bool:
    return bool(node.image or node.image_path or node.image_url)


def _image_of(node: ImageNode | ImageDocument) -> str | BytesIO:
    """Take a node's image, as its bytes or its path; ValueError for a URL, which isn't fetched."""
    if not node.image and not node.image_path:
        raise ValueError(
            f"node {node.node_id} has its image at a URL, and nothing is fetched here: load it first, and "
            "give the node its path or its bytes"
        )
    return node.resolve_image()
