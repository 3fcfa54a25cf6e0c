"""What all checks work with: the spec, the items, the loaded encoder."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any, ClassVar, NamedTuple
from unittest import SkipTest

import numpy as np

from ...embeddings.embeddings import Embeddings
from ...encoder import Encoder, Tensors
from ...engine.runtime import Runtime
from ...inputs import Limits, reader
from ...plugins.registry import registry
from ...plugins.spec import EncoderSpec
from ...spaces.space import Space
from ..samples import sample_items
from . import elsewhere
from .state import changed, settings


class Suite:
    """The subject of the checks.

    name         of an installed encoder; or set `spec` to one that isn't installed
    items        at least three different raw items; the default makes some for text, image and audio
    tolerance    the largest difference between vectors that should be equal, in any element
    """

    name: ClassVar[str] = ""
    spec: ClassVar[EncoderSpec | None] = None
    items: ClassVar[Sequence[Any] | None] = None
    tolerance: ClassVar[float] = 1e-5

    @classmethod
    def declared(cls) -> EncoderSpec:
        """The spec under test."""
        return cls.spec if cls.spec is not None else registry()[cls.name]

    @classmethod
    def samples(cls) -> list[Any]:
        """The items under test."""
        return sample_items(cls.declared().modality) if cls.items is None else list(cls.items)

    @classmethod
    def space(cls) -> Space:
        """The encoder in a space of its own, loaded once for the class."""
        return cls.opened().space

    @classmethod
    def opened(cls) -> Opened:
        """That space, and what its first use changed that isn't the encoder's."""
        return _opened(cls, cls.declared())  # type: ignore[arg-type]  # mypy takes a class for unhashable

    @classmethod
    def encoder(cls) -> Encoder:
        """The loaded encoder itself."""
        return cls.space().tower(cls.declared().modality).encoder

    @classmethod
    def encode(cls, items: Sequence[Any]) -> Embeddings:
        """Encode with the space under test."""
        return cls.space().encode(cls.declared().modality, items)

    @classmethod
    def safe_items(cls) -> list[Any]:
        """The items as `preprocess` gets them."""
        read = reader(cls.declared().modality)
        return [read(item, Limits()) for item in cls.samples()]

    @classmethod
    def preprocessed(cls) -> list[Tensors]:
        """The items after `preprocess`."""
        return [cls.encoder().preprocess(item) for item in cls.safe_items()]

    @classmethod
    def teardown_class(cls) -> None:
        """Let the loaded encoders go."""
        _opened.cache_clear()
        loaded_space.cache_clear()
        elsewhere.forget()

    @classmethod
    def only_for(cls, modality: str) -> None:
        """Skip the check for encoders of another modality."""
        if cls.declared().modality != modality:
            raise SkipTest(f"only for {modality} encoders")

    @classmethod
    def only_by_name(cls) -> None:
        """Skip the check for a spec that no installed plugin declares."""
        if cls.spec is not None:
            raise SkipTest("only an encoder that is tested by name is known to another process")

    def assert_equal(self, found: Any, expected: Any, message: str) -> None:
        """Fail unless two arrays of vectors agree within `tolerance`."""
        found, expected = np.asarray(found), np.asarray(expected)
        assert found.shape == expected.shape, f"{message}: shapes {found.shape} and {expected.shape}"
        difference = float(np.abs(found - expected).max(initial=0))
        assert difference <= self.tolerance, f"{message}: they differ by {difference:g}"


class Opened(NamedTuple):
    """A space whose encoder was used once, and the global state that this changed."""

    space: Space
    changed: tuple[str, ...]


@cache
def _opened(suite: type[Suite], spec: EncoderSpec) -> Opened:
    space = loaded_space(spec, 4)
    before = settings()
    space.tower(spec.modality)
    with suppress(Exception):  # the checks find out what is wrong with it
        space.encode(spec.modality, suite.samples()[:1])
    return Opened(space, changed(before, settings()))


@cache
def loaded_space(spec: EncoderSpec, batch_size: int) -> Space:
    """A space of one encoder, kept until the class is done."""
    runtime = Runtime("cpu", "float32", batch_size=batch_size, workers=2)
    return Space(spec.space_name, [spec], runtime=runtime)
