"""Checks of the vectors: their form, and what they may depend on."""

from __future__ import annotations

from typing import Any
from unittest import SkipTest

import numpy as np
import torch
from torch.nn.functional import normalize

from ...encoder import Tensors
from ...engine.runtime import Runtime
from ...spaces.space import Space
from .suite import Suite, loaded_space


class VectorChecks(Suite):
    """A vector depends on its item and on nothing else."""

    def test_vectors_are_finite_float32_of_the_declared_width(self) -> None:
        """Shape, type and length are what the spec says."""
        vectors = np.asarray(self.encode(self.samples()))
        assert vectors.dtype == np.float32
        assert vectors.shape == (len(self.samples()), self.declared().dim or self.encoder().width)
        assert np.isfinite(vectors).all()
        self.assert_equal(np.linalg.norm(vectors, axis=1), np.ones(len(vectors)), "lengths")

    def test_same_items_give_same_vectors(self) -> None:
        """Nothing random is left in preprocessing or forward."""
        self.assert_equal(self.encode(self.samples()), self.encode(self.samples()), "two runs")

    def test_reloading_changes_nothing(self) -> None:
        """The weights are loaded, not initialised."""
        spec = self.declared()
        expected = self.encode(self.samples())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(20_261_121)  # weights that are drawn would be others now
            with Space(spec.space_name, [spec], runtime=Runtime("cpu", "float32")) as again:
                found = again.encode(spec.modality, self.samples())
                assert again.id == self.space().id, "the identity changes from one load to the next"
        self.assert_equal(found, expected, "reload")

    def test_vector_does_not_depend_on_neighbours(self) -> None:
        """Padding and batch statistics don't leak from one item to another."""
        alone = [self.encode([item]).vectors[0] for item in self.samples()]
        self.assert_equal(self.encode(self.samples()), np.stack(alone), "in a batch and alone")

    def test_vector_does_not_depend_on_batch_size(self) -> None:
        """The engine may choose any batch size."""
        spec = self.declared()
        for batch_size in (1, len(self.samples())):
            other = loaded_space(spec, batch_size).encode(spec.modality, self.samples())
            self.assert_equal(other, self.encode(self.samples()), f"batch size {batch_size}")

    def test_vector_does_not_depend_on_position(self) -> None:
        """The first place of a batch is as good as the last."""
        item = self.samples()[0]
        alone = self.encode([item]).vectors
        places = self.encode([item] * 5).vectors
        self.assert_equal(places, np.repeat(alone, 5, axis=0), "five times in a batch and alone")

    def test_order_is_kept(self) -> None:
        """Row i is item i, from the engine and from the encoder itself."""
        forward, backward = self.encode(self.samples()), self.encode(self.samples()[::-1])
        self.assert_equal(forward.vectors[::-1], backward, "reversed")
        batch = self.preprocessed()[:3]
        alone = [self._directions([tensors])[0] for tensors in batch]
        self.assert_equal(self._directions(batch), np.stack(alone), "rows")

    def _directions(self, batch: list[Tensors]) -> np.ndarray[Any, Any]:
        """Features of unit length, in the order given; the engine would put items of like cost together."""
        with torch.inference_mode():
            features = self.encoder()(self.encoder().collate(batch)).float()
        return normalize(features, dim=-1).numpy()

    def test_duplicates_have_equal_vectors(self) -> None:
        """One item twice in a batch is the same twice."""
        first, second = self.samples()[:2]
        vectors = self.encode([first, second, first]).vectors
        self.assert_equal(vectors[0], vectors[2], "duplicates")

    def test_different_items_have_different_vectors(self) -> None:
        """The encoder looks at its input."""
        vectors = self.encode(self.samples()).vectors
        distances = np.abs(vectors[:, None] - vectors[None]).max(axis=-1) + np.eye(len(vectors))
        assert distances.min() > self.tolerance, "two different items have one vector"

    def test_one_item_is_a_batch(self) -> None:
        """The smallest batch has the form of a large one."""
        assert self.encode(self.samples()[:1]).vectors.shape[0] == 1

    def test_empty_batch_gives_no_rows(self) -> None:
        """Nothing in, nothing out."""
        assert self.encode([]).vectors.shape == (0, self.declared().dim or self.encoder().width)

    def test_bfloat16_stays_close(self) -> None:
        """The fast dtype of most devices gives the same directions."""
        least = self.declared().bf16_cosine
        if least is None:
            raise SkipTest("the encoder declares that it doesn't support bfloat16")
        spec = self.declared()
        with Space(spec.space_name, [spec], runtime=Runtime("cpu", "bfloat16")) as half:
            found = half.encode(spec.modality, self.samples()).vectors
        cosine = float((found * self.encode(self.samples()).vectors).sum(axis=1).min())
        assert cosine >= least, f"smallest cosine to float32: {cosine:.5f}"

    def test_tokens_come_with_a_mask(self) -> None:
        """Encoders that have contextual outputs say which positions count."""
        encoder = self.encoder()
        try:
            with torch.inference_mode():
                tokens, mask = encoder.forward_tokens(encoder.collate(self.preprocessed()))
        except NotImplementedError as cause:
            raise SkipTest("the encoder has no token outputs") from cause
        assert tokens.ndim == 3, "tokens are [b, t, width]"
        assert tokens.shape[:2] == mask.shape, "the mask is [b, t]"
        assert mask.bool().any(dim=1).all(), "every item has at least one position"
