"""The class `MmencodeEmbeddings`, a space of mmencode as LangChain's embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from langchain_core.embeddings import Embeddings
from langchain_core.runnables.config import run_in_executor
from pydantic import BaseModel, ConfigDict, PrivateAttr

import mmencode


class MmencodeEmbeddings(BaseModel, Embeddings):
    """Texts, images and audio as vectors of one space of mmencode, which can be compared with each other.

    `space` is the name of an installed space or the folder of a saved one, by default the default space;
    `device`, `dtype` and `instruction` are those of `mmencode.load`. A space that is loaded already is given
    to `from_space`. LangChain compares neither names nor vectors, so `id` says which space it is: after
    loading it is that of the space, `model_dump` keeps it, and given with another space it raises
    SpaceMismatchError. Items that can't be encoded raise InputError with their index and source.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    space: str | None = None
    id: str = ""
    device: str = "auto"
    dtype: str = "auto"
    instruction: str = ""
    _loaded: mmencode.Space = PrivateAttr()

    def __init__(self, space: str | None = None, **given: Any) -> None:
        super().__init__(space=space, **given)
        options: dict[str, Any] = {
            "device": self.device,
            "dtype": self.dtype,
            "instruction": self.instruction,
        }
        self._loaded = mmencode.load(self.space, id=self.id or None, **options)
        self.__dict__["id"] = self._loaded.id

    @classmethod
    def from_space(cls, space: mmencode.Space) -> MmencodeEmbeddings:
        """Make embeddings of a space that is loaded, which they share with the caller."""
        made = cls.model_construct(space=space.name, id=space.id)
        made._loaded = space
        return made

    @property
    def loaded(self) -> mmencode.Space:
        """The space of mmencode, loaded."""
        return self._loaded

    def embed(
        self, modality: str, items: Sequence[Any], *, role: Literal["", "query", "document"] = ""
    ) -> list[list[float]]:
        """Encode items of any modality of the space, in order, as documents or as queries.

        Items are what `Space.encode` takes: paths, bytes, arrays, `PIL.Image`s. Raises as `Space.encode`.
        """
        rows: list[list[float]] = self._loaded.encode(modality, items, role=role).vectors.tolist()
        return rows

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Encode texts, in order, as documents; raises as `embed`."""
        return self.embed("text", texts, role="document")

    def embed_query(self, text: str) -> list[float]:
        """Encode one text as a query; raises as `embed`."""
        return self.embed("text", [text], role="query")[0]

    def embed_image(self, uris: Sequence[Any]) -> list[list[float]]:
        """Encode images, in order, under the name by which LangChain's vector stores ask for them.

        A string is a path, never a URL. Raises as `embed`.
        """
        return self.embed("image", uris, role="document")

    def embed_audio(self, uris: Sequence[Any]) -> list[list[float]]:
        """Encode sounds, in order: paths, bytes, or waveforms with their rate. Raises as `embed`."""
        return self.embed("audio", uris, role="document")

    async def aembed_image(self, uris: Sequence[Any]) -> list[list[float]]:
        """Encode images in a thread, as `embed_image`."""
        return await run_in_executor(None, self.embed_image, uris)

    async def aembed_audio(self, uris: Sequence[Any]) -> list[list[float]]:
        """Encode sounds in a thread, as `embed_audio`."""
        return await run_in_executor(None, self.embed_audio, uris)
