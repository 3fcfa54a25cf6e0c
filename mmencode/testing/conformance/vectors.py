"""Check the vectors of an encoder: their form, and that they depend on their items alone."""

from __future__ import annotations

from typing import Any
from unittest import SkipTest

import numpy as np
import torch
from torch.nn.functional import normalize

from ...encoder import Tensors
from ...engine.runtime import Runtime
from ...spaces.space import Space
from .suite import Suite, encode_singly, load_space


class VectorChecks(Suite):
    """Checks that a vector depends on its item and on nothing else."""

    def test_vectors_are_finite_float32_of_the_declared_width(self) -> None:
        """Vectors have the shape, type and length that the spec declares."""
        vectors = np.asarray(self.encode(self.samples()))
        assert vectors.dtype == np.float32
        assert vectors.shape == (len(self.samples()), self.get_spec().dim or self.encoder().width)
        assert np.isfinite(vectors).all()
        self.assert_equal(np.linalg.norm(vectors, axis=1), np.ones(len(vectors)), "lengths")

    def test_same_items_give_same_vectors(self) -> None:
        """Preprocessing and forward are deterministic."""
        self.assert_equal(self.encode(self.samples()), self.encode(self.samples()), "two runs")

    def test_reloading_changes_nothing(self) -> None:
        """The weights are loaded rather than initialised at random."""
        spec = self.get_spec()
        expected = self.encode(self.samples())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(20_261_121)  # random weights would now be different ones
            with Space(spec.space_name, [spec], runtime=Runtime("cpu", "float32")) as again:
                found = encode_singly(again, spec.key, self.samples())
                assert again.id == self.space().id, "the identity changes when the encoder is loaded again"
        self.assert_equal(found, expected, "reload")

    def test_vector_does_not_depend_on_neighbours(self) -> None:
        """Padding and batch statistics don't leak from one item to another."""
        alone = [self.encode([item]).vectors[0] for item in self.samples()]
        self.assert_equal(self.encode(self.samples()), np.stack(alone), "in a batch and alone")

    def test_vector_does_not_depend_on_batch_size(self) -> None:
        """The engine can choose any batch size."""
        spec = self.get_spec()
        for batch_size in (1, len(self.samples())):
            other = encode_singly(load_space(spec, batch_size), spec.key, self.samples())
            self.assert_equal(other, self.encode(self.samples()), f"batch size {batch_size}")

    def test_vector_does_not_depend_on_position(self) -> None:
        """Every position in a batch gives the same vector."""
        item = self.samples()[0]
        alone = self.encode([item]).vectors
        places = self.encode([item] * 5).vectors
        self.assert_equal(places, np.repeat(alone, 5, axis=0), "five times in a batch and alone")

    def test_order_is_kept(self) -> None:
        """Row i belongs to item i, in the engine's output and in the encoder's own."""
        forward, backward = self.encode(self.samples()), self.encode(self.samples()[::-1])
        self.assert_equal(forward.vectors[::-1], backward, "reversed")
        batch = self.preprocess_samples()[:3]
        alone = [self._directions([tensors])[0] for tensors in batch]
        self.assert_equal(self._directions(batch), np.stack(alone), "rows")

    def _directions(self, batch: list[Tensors]) -> np.ndarray[Any, Any]:
        """Compute unit features in the order given, without the engine, which sorts items by cost."""
        with torch.inference_mode():
            features = self.encoder()(self.encoder().collate(batch)).float()
        return normalize(features, dim=-1).numpy()

    def test_duplicates_have_equal_vectors(self) -> None:
        """An item that is twice in a batch has the same vector twice."""
        first, second = self.samples()[:2]
        vectors = self.encode([first, second, first]).vectors
        self.assert_equal(vectors[0], vectors[2], "duplicates")

    def test_different_items_have_different_vectors(self) -> None:
        """The encoder looks at its input."""
        vectors = self.encode(self.samples()).vectors
        distances = np.abs(vectors[:, None] - vectors[None]).max(axis=-1) + np.eye(len(vectors))
        assert distances.min() > self.tolerance, "two different items have one vector"

    def test_one_item_is_a_batch(self) -> None:
        """The smallest batch gives an array of one row."""
        assert self.encode(self.samples()[:1]).vectors.shape[0] == 1

    def test_empty_batch_gives_no_rows(self) -> None:
        """An empty batch gives an empty array of the right width."""
        assert self.encode([]).vectors.shape == (0, self.get_spec().dim or self.encoder().width)

    def test_bfloat16_stays_close(self) -> None:
        """Vectors computed in bfloat16 point in nearly the same directions."""
        least = self.get_spec().bf16_cosine
        if least is None:
            raise SkipTest("the encoder declares that it doesn't support bfloat16")
        spec = self.get_spec()
        with Space(spec.space_name, [spec], runtime=Runtime("cpu", "bfloat16")) as half:
            found = encode_singly(half, spec.key, self.samples()).vectors
        cosine = float((found * self.encode(self.samples()).vectors).sum(axis=1).min())
        assert cosine >= least, f"the smallest cosine to float32 vectors is {cosine:.5f}, below {least}"

    def test_tokens_come_with_a_mask(self) -> None:
        """Token outputs come with a mask of the positions that count."""
        encoder = self.encoder()
        try:
            with torch.inference_mode():
                tokens, mask = encoder.forward_tokens(encoder.collate(self.preprocess_samples()))
        except NotImplementedError as cause:
            raise SkipTest("the encoder has no token outputs") from cause
        assert tokens.ndim == 3, "tokens are [b, t, width]"
        assert tokens.shape[:2] == mask.shape, "the mask is [b, t]"
        assert mask.bool().any(dim=1).all(), "every item has at least one position"
