"""Chroma: an EmbeddingFunction for texts and images, whose collections refuse the vectors of another space.

Chroma compares functions by their names only, so that the name of each has the fingerprint of its space.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from chromadb.api import ClientAPI
from chromadb.api.models.Collection import Collection
from chromadb.api.types import DataLoader, Embeddable, EmbeddingFunction, Loadable
from chromadb.api.types import Embeddings as Vectors
from chromadb.utils.embedding_functions import known_embedding_functions, register_embedding_function

from mmencode import Embeddings

from .spaces import KeptSpace, SpaceLike

NAME = "mmencode"
HOST = "the Chroma collection"


class _Name:
    """The name of a class, "mmencode", and of a function that was made, with the digits of its space."""

    def __get__(self, function: SpaceFunction | None, owner: type) -> Callable[[], str]:
        name = NAME if function is None else f"{NAME}:{function.fingerprint}"
        return lambda: name


@register_embedding_function
class SpaceFunction(EmbeddingFunction[Embeddable]):
    """An embedding function of Chroma that encodes texts and images by a space.

    `space` is one that is loaded, a name, or the path of a saved one. A str is a text, an array an image, as
    Chroma has it; an integer array must hold 0 to 255. Chroma has no place for audio: encode it, and give
    `collection.add(embeddings=function.accept(...))`.
    """

    name = _Name()

    def __init__(self, space: SpaceLike = "default", fingerprint: str = "") -> None:
        self._kept = KeptSpace(space, fingerprint, host=HOST, is_recorded=bool(fingerprint))
        known_embedding_functions.setdefault(self.name(), SpaceFunction)

    @property
    def fingerprint(self) -> str:
        """The 16 digits of the space, which Chroma keeps and compares."""
        return self._kept.fingerprint

    def __call__(self, input: Embeddable) -> Vectors:
        """Encode documents or images; InputError names the item, SpaceMismatchError another space."""
        return self._encode(input, "document")

    def embed_query(self, input: Embeddable) -> Vectors:
        """Encode queries, on the side that a space has for them; raises as for documents."""
        return self._encode(input, "query")

    def _encode(self, input: Embeddable, role: Any) -> Vectors:
        pairs = [("text", item) if isinstance(item, str) else ("image", _as_image(item)) for item in input]
        return list(self._kept.get().encode_mixed(pairs, role=role).vectors)

    def accept(self, embeddings: Embeddings) -> Vectors:
        """The vectors of embeddings of this space, for Chroma, which takes any of equal width.

        SpaceMismatchError for those of another space.
        """
        return self._kept.accept(embeddings)

    def require_space(self) -> None:
        """Raise SpaceMismatchError now where the space isn't the one that made the collection's vectors."""
        self._kept.get()

    def default_space(self) -> Any:
        """The distance of new collections: Chroma's `1 - cosine`."""
        return "cosine"

    def get_config(self) -> dict[str, Any]:
        """The name and the fingerprint of the space, which Chroma keeps with a collection."""
        return {"space": self._kept.name, "fingerprint": self.fingerprint}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> SpaceFunction:
        """Make the function of a collection, whose space is loaded and compared when it is first used."""
        SpaceFunction.validate_config(config)
        return SpaceFunction(config["space"], config["fingerprint"])

    @staticmethod
    def validate_config(config: dict[str, Any]) -> None:
        """Raise ValueError unless a config has just a space and a fingerprint."""
        if config.keys() != {"space", "fingerprint"} or not all(
            type(one) is str and one for one in config.values()
        ):
            raise ValueError(f"the config is {config!r:.200}, and should have a space and a fingerprint")


def open_collection(
    client: ClientAPI, name: str, data_loader: DataLoader[Loadable] | None = None
) -> Collection:
    """Open a collection with the function of its own space, which a new process needn't name.

    SpaceMismatchError where the space has another fingerprint here; ValueError for a collection of another
    function.
    """
    held = client.get_collection(name).configuration_json.get("embedding_function") or {}
    if not str(held.get("name", "")).startswith(NAME):
        raise ValueError(
            f"the vectors of the collection {name!r} aren't of mmencode, but of {held.get('name')!r}"
        )
    function = SpaceFunction.build_from_config(held["config"])
    function.require_space()
    return client.get_collection(name, embedding_function=function, data_loader=data_loader)


def _as_image(item: Any) -> Any:
    """Make whole numbers of any type bytes, as Chroma's images have them; others stay for their reader."""
    array = np.asarray(item)
    if array.dtype.kind in "iu" and array.size and array.min() >= 0 and array.max() <= 255:
        return array.astype(np.uint8)
    return array
