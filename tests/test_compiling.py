from __future__ import annotations

import shutil
import warnings

import numpy as np
import pytest
import torch

from mmencode.compiling import Compiled
from mmencode.errors import InputError
from mmencode.runtime import Runtime
from mmencode.space import Space
from mmencode.spec import EncoderSpec
from mmencode.testing import FakeImage, FakeText, sample_items


class Uncompilable(FakeText):
    """A fake; the tests make torch.compile fail on it."""


def space_of(encoder, modality="text", **options):
    spec = EncoderSpec(name="test", modality=modality, target=f"{__name__}:{encoder.__name__}", dim=8)
    return Space("test", [spec], runtime=Runtime("cpu", "float32", batch_size=4, **options))


def failing(cause):
    def compile(module):
        def forward(tensors):
            raise cause

        return forward

    return compile


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.parametrize(("encoder", "modality"), [(FakeText, "text"), (FakeImage, "image")])
def test_compiled_passes_give_the_same_vectors(encoder, modality):
    items = sample_items(modality) * 3
    with space_of(encoder, modality) as plain, space_of(encoder, modality, compile=True) as compiled:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # it did compile
            found = [compiled.encode(modality, items[:count]).vectors for count in (9, 3, 1)]
        assert isinstance(compiled._tower(modality).forward, Compiled)
        for vectors in found:
            np.testing.assert_allclose(
                vectors, plain.encode(modality, items[: len(vectors)]).vectors, atol=1e-5
            )


def test_encoder_that_cannot_be_compiled_runs_as_it_is_and_says_so_once(monkeypatch):
    monkeypatch.setattr(torch, "compile", failing(RuntimeError("no compiler\nand much more")))
    with space_of(FakeText) as plain, space_of(Uncompilable, compile=True) as space:
        with pytest.warns(
            RuntimeWarning, match=r"fails on encoder 'test', so it runs as it is: RuntimeError: no compiler$"
        ):
            found = space.encode("text", ["a", "b"]).vectors
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            again = space.encode("text", ["a", "b"]).vectors
        np.testing.assert_array_equal(found, plain.encode("text", ["a", "b"]).vectors)
        np.testing.assert_array_equal(found, again)


def test_bad_item_is_not_taken_for_a_compiler_that_fails(monkeypatch):
    cause = RuntimeError("this item breaks the pass")

    def broken(self, tensors):
        raise cause

    monkeypatch.setattr(torch, "compile", failing(cause))
    monkeypatch.setattr(Uncompilable, "forward", broken)
    with space_of(Uncompilable, compile=True) as space, warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match="this item breaks the pass"):
            space.encode("text", ["a"])
        assert space._tower("text").forward._works


def test_no_memory_is_no_reason_to_give_up_compiling(monkeypatch):
    monkeypatch.setattr(torch, "compile", failing(torch.OutOfMemoryError("none left")))
    with space_of(Uncompilable, compile=True) as space, warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match="none left"):
            space.encode("text", ["a"])
        assert space._tower("text").forward._works


def test_runtime_says_that_it_compiles():
    assert repr(Runtime("cpu", compile=True)).endswith("compile=True)")
    assert "compile" not in repr(Runtime("cpu"))
