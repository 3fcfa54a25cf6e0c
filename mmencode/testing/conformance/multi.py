"""Check the many vectors that an encoder of late interaction gives for each item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest import SkipTest

import numpy as np

from ...embeddings.multi import MultiEmbeddings
from ...engine.runtime import Runtime
from ...spaces.space import Space
from .suite import Suite


class MultiChecks(Suite):
    """Checks that the vectors of an item depend on it alone, and that padding isn't among them."""

    @classmethod
    def encode_multi(cls, items: Sequence[Any]) -> MultiEmbeddings:
        """Encode with the space under test; SkipTest for an encoder that gives single vectors."""
        spec = cls.get_spec()
        if spec.outputs != "many":
            raise SkipTest("only for encoders that give many vectors for each item")
        return cls.space().encode_multi(spec.key, items)

    def test_many_vectors_are_unit_float32_of_the_declared_width(self) -> None:
        """Each item has one vector at least, and all have the width, type and length declared."""
        multi = self.encode_multi(self.samples())
        assert multi.vectors.dtype == np.float32
        assert multi.dim == (self.get_spec().dim or self.encoder().width)
        assert len(multi) == len(self.samples())
        assert multi.counts.min() > 0
        multi.require_unit()

    def test_many_vectors_do_not_depend_on_neighbours(self) -> None:
        """Padding counts for no vector, and nothing leaks from one item to another."""
        together = self.encode_multi(self.samples())
        alone = MultiEmbeddings.concatenate([self.encode_multi([item]) for item in self.samples()])
        assert together.counts.tolist() == alone.counts.tolist(), (
            f"items have {together.counts.tolist()} vectors in a batch, and {alone.counts.tolist()} alone"
        )
        self.assert_equal(together.vectors, alone.vectors, "in a batch and alone")

    def test_many_vectors_stay_close_in_bfloat16(self) -> None:
        """Each of the vectors points in nearly the same direction when it is computed in bfloat16."""
        exact, spec = self.encode_multi(self.samples()), self.get_spec()
        if spec.bf16_cosine is None:
            raise SkipTest("the encoder declares that it doesn't support bfloat16")
        with Space(spec.space_name, [spec], runtime=Runtime("cpu", "bfloat16")) as half:
            found = half.encode_multi(spec.key, self.samples())
        assert found.counts.tolist() == exact.counts.tolist(), "other positions count in bfloat16"
        cosine = float((found.vectors * exact.vectors).sum(axis=1).min())
        assert cosine >= spec.bf16_cosine, (
            f"the smallest cosine to a float32 vector is {cosine:.5f}, below {spec.bf16_cosine}"
        )
