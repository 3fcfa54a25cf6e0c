"""The base of all checks, which provides the spec, the items and the loaded encoder."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any, ClassVar, NamedTuple
from unittest import SkipTest

import numpy as np

from ...embeddings.embeddings import Embeddings
from ...encoder import Encoder, Tensors
from ...engine.call import OnError
from ...engine.runtime import Runtime
from ...inputs import Limits, reader
from ...plugins.registry import registry
from ...plugins.spec import EncoderSpec
from ...spaces.joining import require_encoder
from ...spaces.space import Space
from ..samples import sample_items
from . import elsewhere
from .state import differences, settings


class Suite:
    """The encoder under test, chosen by the attributes of a test class.

    name         the name of an installed encoder
    spec         the spec of an encoder that isn't installed, in place of `name`
    items        at least three different raw items; by default those that the modality declares
    tolerance    the largest difference, in any element, between vectors that should be equal
    """

    name: ClassVar[str] = ""
    spec: ClassVar[EncoderSpec | None] = None
    items: ClassVar[Sequence[Any] | None] = None
    tolerance: ClassVar[float] = 1e-5

    @classmethod
    def get_spec(cls) -> EncoderSpec:
        """Give the spec under test."""
        return cls.spec if cls.spec is not None else registry()[cls.name]

    @classmethod
    def samples(cls) -> list[Any]:
        """Give the raw items under test."""
        if cls.items is not None:
            return list(cls.items)
        return sample_items(cls.get_spec().modality, parts=cls.get_spec().parts)

    @classmethod
    def space(cls) -> Space:
        """Give a space of the encoder alone, loaded once for the class."""
        return cls.open_space().space

    @classmethod
    def open_space(cls) -> OpenedSpace:
        """Give the space of the encoder, with the global settings that its first use changed."""
        return _open_space(cls, cls.get_spec())  # type: ignore[arg-type]  # mypy takes a class for unhashable

    @classmethod
    def encoder(cls) -> Encoder:
        """Give the loaded encoder itself."""
        return cls.space().tower(cls.get_spec().key).encoder

    @classmethod
    def encode(cls, items: Sequence[Any]) -> Embeddings:
        """Encode with the space under test; of many vectors for an item, it is their mean."""
        return encode_singly(cls.space(), cls.get_spec().key, items)

    @classmethod
    def safe_items(cls) -> list[Any]:
        """Read the items into the safe values that `preprocess` gets."""
        read = reader(cls.get_spec().modality, parts=cls.get_spec().parts)
        return [read(item, Limits()) for item in cls.samples()]

    @classmethod
    def preprocess_samples(cls) -> list[Tensors]:
        """Preprocess the items into the tensors that `collate` gets."""
        return [cls.encoder().preprocess(item) for item in cls.safe_items()]

    declared = get_spec  # the old names, kept for one release
    preprocessed = preprocess_samples

    @classmethod
    def teardown_class(cls) -> None:
        """Free the loaded encoders and drop the cached answers of other processes."""
        _open_space.cache_clear()
        load_space.cache_clear()
        elsewhere.forget()

    @classmethod
    def only_for(cls, modality: str) -> None:
        """Skip the check for encoders of another modality."""
        if cls.get_spec().modality != modality:
            raise SkipTest(f"only for {modality} encoders")

    @classmethod
    def only_by_name(cls) -> None:
        """Skip the check for a spec that no installed plugin declares."""
        if cls.spec is not None:
            raise SkipTest("another process can only load an encoder that is tested by its name")

    def assert_equal(self, found: Any, expected: Any, message: str) -> None:
        """Fail unless two arrays of vectors agree within `tolerance`."""
        found, expected = np.asarray(found), np.asarray(expected)
        assert found.shape == expected.shape, f"{message}: shapes {found.shape} and {expected.shape}"
        difference = float(np.abs(found - expected).max(initial=0))
        assert difference <= self.tolerance, f"{message}: the vectors differ by {difference:g}"


class OpenedSpace(NamedTuple):
    """A space whose encoder was used once, with the names of the global settings that this changed."""

    space: Space
    changed: tuple[str, ...]


def encode_singly(
    space: Space, modality: str, items: Sequence[Any], *, on_error: OnError = "raise"
) -> Embeddings:
    """Encode items to a single vector each, which is the mean where the encoder gives many."""
    if space.spec(modality).outputs == "many":
        return space.encode_multi(modality, items, on_error=on_error).mean()
    return space.encode(modality, items, on_error=on_error)


@cache
def _open_space(suite: type[Suite], spec: EncoderSpec) -> OpenedSpace:
    space = load_space(spec, 4)
    before = settings()
    space.tower(spec.key)
    with suppress(Exception):  # the checks report what is wrong with the encoder
        encode_singly(space, spec.key, suite.samples()[:1])
    return OpenedSpace(space, differences(before, settings()))


@cache
def load_space(spec: EncoderSpec, batch_size: int) -> Space:
    """Load a space of one encoder, which is cached until the class is torn down."""
    require_encoder(spec)
    runtime = Runtime("cpu", "float32", batch_size=batch_size, workers=2)
    return Space(spec.space_name, [spec], runtime=runtime)
