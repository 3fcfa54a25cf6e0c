"""The contract of an encoder as tests: inherit the class, name the encoder, run pytest.

    from mmencode.testing import EncoderConformance

    class TestColours(EncoderConformance):
        name = "colours"

Each check's name says what it protects.
"""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, ClassVar
from unittest import mock

import numpy as np
import torch

from ..embeddings import Embeddings
from ..encoder import Encoder, identify
from ..errors import InputError
from ..inputs import Limits, reader
from ..registry import registry
from ..runtime import Runtime
from ..space import Space
from ..spec import EncoderSpec
from ..towers import load_tower
from .samples import sample_items


class EncoderConformance:
    """Checks that one encoder keeps its word.

    name         of an installed encoder; or set `spec` to one that isn't installed
    items        at least three different raw items; the default makes some for text, image and audio
    tolerance    the largest difference between vectors that should be equal, in any element
    """

    name: ClassVar[str] = ""
    spec: ClassVar[EncoderSpec | None] = None
    items: ClassVar[Sequence[Any] | None] = None
    tolerance: ClassVar[float] = 1e-5

    # -- what the checks work with ------------------------------------------------------------------------

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
        return _space(cls.declared(), 4)

    @classmethod
    def encoder(cls) -> Encoder:
        """The loaded encoder itself."""
        return cls.space()._tower(cls.declared().modality).encoder

    @classmethod
    def encode(cls, items: Sequence[Any]) -> Embeddings:
        """Encode with the space under test."""
        return cls.space().encode(cls.declared().modality, items)

    @classmethod
    def teardown_class(cls) -> None:
        """Let the loaded encoders go."""
        _space.cache_clear()

    def assert_equal(self, found: Any, expected: Any, message: str) -> None:
        """Fail unless two arrays of vectors agree within `tolerance`."""
        found, expected = np.asarray(found), np.asarray(expected)
        assert found.shape == expected.shape, f"{message}: shapes {found.shape} and {expected.shape}"
        difference = float(np.abs(found - expected).max(initial=0))
        assert difference <= self.tolerance, f"{message}: they differ by {difference:g}"

    # -- declaration --------------------------------------------------------------------------------------

    def test_declaring_imports_no_torch(self) -> None:
        """Listing encoders stays quick for everybody who has this plugin installed."""
        code = "import sys, mmencode; mmencode.registry(); print('torch' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "False", "importing the plugin imports torch; put that in the target"

    def test_spec_survives_pickling(self) -> None:
        """Specs travel to worker processes."""
        assert pickle.loads(pickle.dumps(self.declared())) == self.declared()  # noqa: S301

    def test_target_builds_an_encoder(self) -> None:
        """The target resolves, and what it builds has a width and words for its preprocessing."""
        encoder = self.encoder()
        assert encoder.width > 0
        assert encoder.preprocessing, "say in `preprocessing` what the features depend on"

    def test_declared_identity_is_the_real_one(self) -> None:
        """The card can be trusted before anything is loaded."""
        spec = self.declared()
        tower = load_tower(spec, Runtime("cpu"))
        projection = tower.projection if spec.projection else None
        assert tower.card.identity == identify(tower.encoder, projection)
        assert spec.identity in (None, tower.card.identity)

    # -- state --------------------------------------------------------------------------------------------

    def test_encoder_is_in_eval_mode(self) -> None:
        """No dropout, no batch statistics."""
        training = [name for name, module in self.encoder().named_modules() if module.training]
        assert not training, f"in training mode: {training[:3]}"

    def test_parameters_need_no_gradient(self) -> None:
        """No memory is spent on graphs."""
        assert not any(parameter.requires_grad for parameter in self.encoder().parameters())

    # -- vectors ------------------------------------------------------------------------------------------

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
        with Space(spec.space_name, [spec], runtime=Runtime("cpu")) as again:
            assert again.id == self.space().id
            self.assert_equal(
                again.encode(spec.modality, self.samples()), self.encode(self.samples()), "reload"
            )

    def test_vector_does_not_depend_on_neighbours(self) -> None:
        """Padding and batch statistics don't leak from one item to another."""
        alone = [self.encode([item]).vectors[0] for item in self.samples()]
        self.assert_equal(self.encode(self.samples()), np.stack(alone), "in a batch and alone")

    def test_vector_does_not_depend_on_batch_size(self) -> None:
        """The engine may choose any batch size."""
        spec = self.declared()
        for batch_size in (1, len(self.samples())):
            other = _space(spec, batch_size).encode(spec.modality, self.samples())
            self.assert_equal(other, self.encode(self.samples()), f"batch size {batch_size}")

    def test_order_is_kept(self) -> None:
        """Row i is item i."""
        forward, backward = self.encode(self.samples()), self.encode(self.samples()[::-1])
        self.assert_equal(forward.vectors[::-1], backward, "reversed")

    def test_duplicates_have_equal_vectors(self) -> None:
        """One item twice in a batch is the same twice."""
        first, second = self.samples()[:2]
        vectors = self.encode([first, second, first]).vectors
        self.assert_equal(vectors[0], vectors[2], "duplicates")

    def test_different_items_have_different_vectors(self) -> None:
        """The encoder looks at its input."""
        vectors = self.encode(self.samples()).vectors
        similar = vectors @ vectors.T - 2 * np.eye(len(vectors))
        assert similar.max() < 1 - 1e-7, "two different items have one vector"

    def test_empty_batch_gives_no_rows(self) -> None:
        """Nothing in, nothing out."""
        assert self.encode([]).vectors.shape == (0, self.declared().dim or self.encoder().width)

    # -- bad items ----------------------------------------------------------------------------------------

    def test_bad_item_is_named(self) -> None:
        """The index tells which item of a long batch to look at."""
        batch = [*self.samples()[:2], None]
        try:
            self.encode(batch)
        except InputError as error:
            index = error.index
        else:
            raise AssertionError("None was encoded without an error")
        assert index == 2

    def test_bad_item_does_not_hurt_its_neighbours(self) -> None:
        """Skipping leaves the other rows as they are."""
        first, second = self.samples()[:2]
        modality = self.declared().modality
        found = self.space().encode(modality, [first, None, second], on_error="skip")
        assert found.positions.tolist() == [0, 2]
        assert [error.index for error in found.errors] == [1]
        self.assert_equal(found, self.encode([first, second]), "beside a bad item")

    # -- manners ------------------------------------------------------------------------------------------

    def test_preprocess_is_thread_safe(self) -> None:
        """Worker threads share one encoder."""
        read, encoder = reader(self.declared().modality), self.encoder()
        safe = [read(item, Limits()) for item in self.samples()]
        expected = [encoder.preprocess(item) for item in safe]
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(encoder.preprocess, safe * 8))
        for position, tensors in enumerate(found):
            for name, tensor in expected[position % len(safe)].items():
                assert torch.equal(tensors[name], tensor), f"{name} differs between threads"

    def test_cost_is_a_positive_number(self) -> None:
        """The engine puts items of like cost together."""
        read, encoder = reader(self.declared().modality), self.encoder()
        assert all(encoder.cost(encoder.preprocess(read(item, Limits()))) > 0 for item in self.samples())

    def test_encoding_leaves_global_state_alone(self) -> None:
        """Generators, dtype, threads, gradient mode and folder are the user's, while loading, too."""
        before = _global_state()
        load_tower(self.declared(), Runtime("cpu"))
        self.encode(self.samples())
        assert _global_state() == before

    def test_encoding_needs_no_network(self) -> None:
        """Once loaded, nothing is fetched."""
        expected = self.encode(self.samples())
        refuse = mock.Mock(side_effect=AssertionError("it opened a connection"))
        with mock.patch("socket.socket.connect", refuse), mock.patch("socket.getaddrinfo", refuse):
            self.assert_equal(self.encode(self.samples()), expected, "without network")

    def test_tokens_come_with_a_mask(self) -> None:
        """Encoders that have contextual outputs say which positions count."""
        read, encoder = reader(self.declared().modality), self.encoder()
        batch = encoder.collate([encoder.preprocess(read(item, Limits())) for item in self.samples()])
        try:
            with torch.inference_mode():
                tokens, mask = encoder.forward_tokens(batch)
        except NotImplementedError:
            return
        assert tokens.ndim == 3, "tokens are [b, t, width]"
        assert tokens.shape[:2] == mask.shape, "the mask is [b, t]"
        assert mask.bool().any(dim=1).all(), "every item has at least one position"


@cache
def _space(spec: EncoderSpec, batch_size: int) -> Space:
    runtime = Runtime("cpu", "float32", batch_size=batch_size, workers=2)
    return Space(spec.space_name, [spec], runtime=runtime)


def _global_state() -> tuple[object, ...]:
    numpy_state = np.random.get_state()
    return (
        random.getstate(),
        str(numpy_state),
        torch.get_rng_state().tolist(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        os.getcwd(),
    )
