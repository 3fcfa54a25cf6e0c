"""The types that a user's own code is checked by: `mypy tests/typing` passes, and nothing here is run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, assert_type

import numpy as np
import torch

import mmencode
from mmencode import (
    Classifier,
    Embeddings,
    EncoderModule,
    EncoderSpec,
    Index,
    Matches,
    MultiEmbeddings,
    Projection,
    Space,
    hookimpl,
)
from mmencode import Spase as Misspelt  # type: ignore[attr-defined]  # noqa: F401
from mmencode.errors import InputError, MmencodeError
from mmencode.evaluation import Report, retrieval, zero_shot


def encode(photos: list[Path]) -> None:
    space = mmencode.load("default", device="cpu", batch_size=8)
    assert_type(space, Space)
    assert_type(mmencode.encode("image", photos), Embeddings)
    images = space.encode("image", photos, on_error="skip")
    assert_type(images, Embeddings)
    assert_type(images.vectors.dtype, np.dtype[np.float32])
    assert_type(images.positions.dtype, np.dtype[np.int64])
    assert_type(images.errors, tuple[InputError, ...])
    assert_type(images[3:], Embeddings)
    assert_type(len(images), int)
    assert_type(images.shape, tuple[int, ...])
    assert_type(images.dtype, np.dtype[Any])
    assert_type(images.torch(), torch.Tensor)
    assert_type(images.with_blanks("zero"), Embeddings)
    for vector in images:
        assert_type(vector.dtype, np.dtype[np.float32])
    images.space = "mine"  # type: ignore[misc]
    images.with_blanks("none")  # type: ignore[arg-type]
    space.encode("image", photos, on_error="blank")
    space.encode("image")  # type: ignore[call-arg]
    space.encode("image", photos, on_error="ignore")  # type: ignore[arg-type]
    mmencode.load("default", device="cpu", batch_size="many")  # type: ignore[arg-type]


def encode_what_comes(space: Space, lines: Iterable[str], frame: object) -> None:
    assert_type(space.encode("text", lines), Embeddings)
    assert_type(space.encode("text", (line for line in lines)), Embeddings)
    assert_type(space.encode_mixed(("text", line) for line in lines), Embeddings)
    assert_type(Embeddings.from_table(frame, space=space, modality="text"), Embeddings)
    assert_type(Embeddings.from_table(frame, space="a@1", modality="text"), Embeddings)
    assert_type(MultiEmbeddings.from_table(frame, space=space, modality="text"), MultiEmbeddings)


def train(space: Space) -> torch.Tensor:
    module = space.encoder("text")
    assert_type(module, EncoderModule)
    vectors: torch.Tensor = module(module.collate_items(["a", "b"]))
    return vectors


def encode_without_end(lines: Iterator[str]) -> Iterator[Embeddings]:
    with mmencode.load() as space:
        assert_type(space, Space)
        yield from space.stream("text", lines, chunk=100)


def compare(queries: Embeddings, corpus: Embeddings) -> None:
    assert_type(mmencode.similarity(queries, corpus).dtype, np.dtype[np.float32])
    found = mmencode.search(queries, corpus, k=3)
    assert_type(found, Matches)
    assert_type(found.positions.dtype, np.dtype[np.int64])
    assert_type(found.scores.dtype, np.dtype[np.float32])
    mmencode.similarity(queries.vectors, corpus)  # type: ignore[arg-type]


def classify(space: Space, photos: list[Path]) -> None:
    classifier = space.classifier(["cat", "dog"])
    assert_type(classifier, Classifier)
    assert_type(classifier.classify("image", photos).best, list[str | None])


def keep(space: Space, photos: list[Path]) -> None:
    with Index.create("photos.index", space) as index:
        assert_type(index, Index)
        index.add("image", photos, metadata=[{"year": 2001} for _ in photos])
        index.add("text", iter(["a"]), metadata=[{"tags": ["red"]}], keep_text=True)
        assert_type(index.get(["a"], missing="skip").embeddings.keys, tuple[str, ...] | None)
        for hits in index.search("text", ["a cat"], k=3, where="year > 2000"):
            for hit in hits:
                assert_type(hit.key, str)
                assert_type(hit.score, float)


def make_a_space(space: Space, pairs: list[tuple[Any, Any]]) -> None:
    projection = mmencode.align("timm/resnet18", space, pairs, to="text")
    assert_type(projection, Projection)
    own = mmencode.compose("own", {"text": space, "image": ("timm/resnet18", projection)})
    assert_type(own, Space)


def measure(space: Space, photos: list[Path]) -> None:
    assert_type(zero_shot(space, "image", photos, ["cat"] * len(photos)), Report)
    report = retrieval(space, [(photo, "a cat") for photo in photos])
    assert_type(report.figures[0].interval, tuple[float, float] | None)


def catch(space: Space) -> str:
    try:
        space.encode("text", [""])
    except InputError as error:
        assert_type(error.index, int | None)
        return error.source
    except MmencodeError as error:
        return error.remedy
    return ""


@hookimpl
def mmencode_encoders() -> tuple[EncoderSpec, ...]:
    return (EncoderSpec(name="own/text", modality="text", target="own:build", dim=8),)


EncoderSpec("own/text", "text", "own:build")  # type: ignore[call-arg]
