"""MTEB: a space as an encoder of its tasks, and as a search engine on an Index.

Audio and video are read by mmencode, with its limits, out of the bytes that a dataset holds: encoding needs
no torchcodec. A result is kept by MTEB under the space's name and its fingerprint as the revision.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Audio, Video
from mteb._create_dataloaders import create_dataloader  # where MTEB's own search engines take it from
from mteb.models.model_meta import ModelMeta, ScoringFunction
from mteb.similarity_functions import select_pairwise_similarity, select_similarity
from mteb.types import PromptType

from mmencode import Index, Space

from .spaces import SpaceLike, fingerprint_of, open_space

MODALITIES = ("text", "image", "audio", "video")
Vectors = np.ndarray[Any, np.dtype[np.float32]]


class SpaceEncoder:
    """A space as MTEB takes a model: `mteb.evaluate(SpaceEncoder("default"), tasks)`.

    Queries and documents go to the sides that a space has for them. An item of several modalities is the mean
    of their unit vectors, unless the space has an encoder for both as a whole. A blank text, which datasets
    have, gets zeros, whose similarity to anything is 0; another item that can't be encoded is an InputError.
    """

    def __init__(
        self,
        model_name: SpaceLike = "default",
        revision: str | None = None,
        *,
        device: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.space = open_space(model_name)
        self.mteb_model_meta = describe(self.space)

    def encode(self, inputs: Any, *, prompt_type: PromptType | None = None, **kwargs: Any) -> Vectors:
        """Encode the rows of a DataLoader of MTEB's, `[n, dim]`, in order."""
        role = "" if prompt_type is None else prompt_type.value
        return encode_rows(self.space, inputs.dataset, role)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """The cosine of each row of one with each of the other, `[n, m]`."""
        return select_similarity(embeddings1, embeddings2, ScoringFunction.COSINE)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """The cosine of each row of one with the row of the other beside it, `[n]`."""
        return select_pairwise_similarity(embeddings1, embeddings2, ScoringFunction.COSINE)


class IndexSearch:
    """An Index as MTEB's search engine: documents are written to a folder, and queries search there.

    The folder is a temporary one for each corpus, or one in `folder` that stays.
    """

    def __init__(
        self, space: SpaceLike = "default", folder: Path | None = None, *, exact: bool = False
    ) -> None:
        self.space = open_space(space)
        self.mteb_model_meta = describe(self.space)
        self._folder = folder
        self._exact = exact
        self._held: tempfile.TemporaryDirectory[str] | None = None
        self._index: Index | None = None

    def index(self, corpus: Any, *, task_metadata: Any, num_proc: int | None = None, **kwargs: Any) -> None:
        """Write a corpus into a new index, by the ids of its documents; blank documents are left out."""
        self.close()
        if self._folder is None:
            self._held = tempfile.TemporaryDirectory()
        place = Path(self._held.name if self._held else self._folder or ".") / "corpus.index"
        rows = _prepare(corpus, task_metadata, PromptType.document, num_proc)
        modality, items = items_of(self.space, rows)
        self._index = Index.create(place, with_modality(self.space, modality))
        pairs = [(key, item) for key, item in zip(rows["id"], items, strict=True) if not is_blank(item)]
        self._index.add(modality, (item for _, item in pairs), keys=[key for key, _ in pairs])

    def search(
        self,
        queries: Any,
        *,
        task_metadata: Any,
        top_k: int,
        top_ranked: Any = None,
        num_proc: int | None = None,
        **kwargs: Any,
    ) -> dict[str, dict[str, float]]:
        """Find the `top_k` documents of each query, or rank those that `top_ranked` names for it."""
        if self._index is None:
            raise ValueError("there is no corpus to search: call index() first")
        rows = _prepare(queries, task_metadata, PromptType.query, num_proc)
        modality, items = items_of(self.space, rows)
        asked = with_modality(self.space, modality).encode(modality, list(items), role="query")
        if top_ranked is not None:
            return self._rank(dict(zip(rows["id"], asked.vectors, strict=True)), top_ranked, top_k)
        found = self._index.search_embeddings(asked, top_k, exact=self._exact)
        return {
            key: {hit.key: hit.score for hit in hits} for key, hits in zip(rows["id"], found, strict=True)
        }

    def _rank(self, queries: dict[str, Vectors], top_ranked: Any, top_k: int) -> dict[str, dict[str, float]]:
        assert self._index is not None
        held = self._index.rows().embeddings
        places = {key: place for place, key in enumerate(held.keys or ())}
        ranked: dict[str, dict[str, float]] = {}
        for key, vector in queries.items():
            known = [each for each in top_ranked.get(key, ()) if each in places]
            scores = held.vectors[[places[each] for each in known]] @ vector
            best = np.argsort(-scores, kind="stable")[:top_k]
            ranked[key] = {known[place]: float(scores[place]) for place in best}
        return ranked

    def close(self) -> None:
        """Close the index, and remove it where its folder is a temporary one."""
        if self._index is not None:
            self._index.close()
        if self._held is not None:
            self._held.cleanup()
        self._index = self._held = None


def describe(space: Space) -> ModelMeta:
    """Describe a space to MTEB; the fingerprint is the revision, so that no result is another space's."""
    modalities: list[Any] = [each for each in MODALITIES if each in space.modalities]
    return ModelMeta(
        loader=SpaceEncoder,
        name=f"mmencode/{space.name.replace('/', '--')}",
        revision=fingerprint_of(space),
        release_date=None,
        languages=None,
        n_parameters=None,
        memory_usage_mb=None,
        max_tokens=None,
        embed_dim=space.dim,
        license=None,
        open_weights=None,
        public_training_code=None,
        public_training_data=None,
        framework=["PyTorch"],
        similarity_fn_name=ScoringFunction.COSINE,
        use_instructions=False,
        training_datasets=None,
        modalities=modalities,
    )


def encode_rows(space: Space, rows: Any, role: Any) -> Vectors:
    """Encode the rows of a dataset, `[n, dim]`, in parts, with zeros for blank texts."""
    modality, items = items_of(space, rows)
    space = with_modality(space, modality)
    vectors = np.zeros((len(rows), space.dim), np.float32)
    blank: set[int] = set()

    def draw() -> Iterator[Any]:
        for place, item in enumerate(items):
            if is_blank(item):
                blank.add(place)
            else:
                yield item

    parts = [part.vectors for part in space.stream(modality, draw(), role=role)]
    kept = [place for place in range(len(rows)) if place not in blank]
    if parts:
        vectors[kept] = np.concatenate(parts)
    return vectors


def with_modality(space: Space, modality: str) -> Space:
    """The space itself where it has a modality, and else one with the mean of the parts' vectors."""
    return space if modality in space.modalities else space.fuse(modality)


def items_of(space: Space, rows: Any) -> tuple[str, Iterator[Any]]:
    """The modality of a dataset's rows, joined by + where they have several, and their items in order."""
    named = [each for each in MODALITIES if each in rows.features]
    for name, kind in (("audio", Audio), ("video", Video)):
        if name in named and isinstance(rows.features[name], kind):
            rows = rows.cast_column(name, kind(decode=False))
    if not named:
        raise ValueError(f"the rows have none of {', '.join(MODALITIES)}, but {', '.join(rows.features)}")
    drawn = (rows[place] for place in range(len(rows)))  # some of MTEB's own can't be iterated
    if len(named) == 1:
        return named[0], (_as_item(row[named[0]]) for row in drawn)
    joint = next(
        (each for each in space.modalities if sorted(each.split("+")) == sorted(named)), "+".join(named)
    )
    order = joint.split("+")
    return joint, (tuple(_as_item(row[each]) for each in order) for row in drawn)


def is_blank(item: Any) -> bool:
    """Whether an item is a text without a character to encode."""
    return isinstance(item, str) and not item.strip()


def _prepare(rows: Any, task_metadata: Any, side: PromptType, num_proc: int | None) -> Any:
    """Give rows the texts that MTEB gives to encoders: titles before bodies, instructions behind queries."""
    return create_dataloader(rows, task_metadata=task_metadata, prompt_type=side, num_proc=num_proc).dataset


def _as_item(value: Any) -> Any:
    """Make a dataset's value an item: bytes before a path, and samples with their rate."""
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return np.asarray(value["array"], np.float32), value["sampling_rate"]
    return value["bytes"] if value.get("bytes") is not None else value["path"]
