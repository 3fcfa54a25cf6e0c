from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from mmencode.engine.compiling import Compiled, name_cache
from mmencode.engine.runtime import Runtime
from mmencode.errors import EncoderError, InputError
from mmencode.plugins.spec import EncoderSpec
from mmencode.spaces.space import Space
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
        assert isinstance(compiled.tower(modality).forward, Compiled)
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
        if len(tensors["hidden"][0]) == 3:
            raise cause
        return FakeText.forward(self, tensors)

    monkeypatch.setattr(torch, "compile", lambda module: module)
    monkeypatch.setattr(Uncompilable, "forward", broken)
    with space_of(Uncompilable, compile=True) as space, warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match="this item breaks the pass"):
            space.encode("text", ["bad"])
        assert space.tower("text").forward._works


def test_no_memory_is_no_reason_to_give_up_compiling(monkeypatch):
    monkeypatch.setattr(torch, "compile", failing(torch.OutOfMemoryError("none left")))
    with space_of(Uncompilable, compile=True) as space, warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(EncoderError, match="none left"):
            space.encode("text", ["a"])
        assert space.tower("text").forward._works


def test_runtime_says_that_it_compiles():
    assert repr(Runtime("cpu", compile=True)).endswith("compile=True)")
    assert "compile" not in repr(Runtime("cpu"))


NAMELESS = """
import os, sys
for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "TORCHINDUCTOR_CACHE_DIR"):
    os.environ.pop(name, None)
import pwd
def nobody(number):
    raise KeyError(f"getpwuid(): uid not found: {number}")
pwd.getpwuid = nobody
from mmencode import Runtime, Space
from mmencode.testing import fake_specs
with Space("fake", fake_specs(), runtime=Runtime("cpu")) as space:
    space.encode("text", ["a"])
from torch._inductor.runtime.cache_dir_utils import cache_dir
print(cache_dir())  # as torch does when timm is imported
"""


@pytest.mark.skipif(os.name != "posix", reason="users have names on this system")
def test_user_without_a_name_can_import_what_needs_the_compiler():
    done = subprocess.run([sys.executable, "-c", NAMELESS], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(f"torchinductor_{os.getuid()}")


def test_system_without_a_folder_to_write_to_gets_one_that_is_there(monkeypatch):
    def nowhere():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", nowhere)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "to be restored")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    name_cache()
    assert os.path.isdir(os.environ.pop("TORCHINDUCTOR_CACHE_DIR"))


def test_cache_that_torch_finds_itself_is_left_to_it(monkeypatch):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setenv("LOGNAME", "somebody")
    name_cache()
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ


def test_cache_of_somebody_else_is_passed_by(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "to be restored")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setenv("LOGNAME", "somebody")
    (tmp_path / "torchinductor_somebody").mkdir()
    monkeypatch.setattr("os.access", lambda *_: False)
    name_cache()
    found = os.environ.pop("TORCHINDUCTOR_CACHE_DIR")
    assert os.path.isdir(found)
    assert found != str(tmp_path / "torchinductor_somebody")


def test_compiler_that_fails_for_want_of_a_name_says_what_helps(monkeypatch):
    def nameless():
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", nameless)
    monkeypatch.setattr(torch, "compile", lambda module: nameless())
    with (
        space_of(Uncompilable, compile=True) as space,
        pytest.warns(RuntimeWarning, match="uid not found: 12345.*set LOGNAME"),
    ):
        assert len(space.encode("text", ["a", "b"])) == 2
