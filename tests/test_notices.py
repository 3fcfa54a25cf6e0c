"""What an encoder says once is said of the caller's items, and not of those that mmencode makes itself."""

from __future__ import annotations

import warnings

import pytest

from mmencode.encoder import Notice
from mmencode.engine.runtime import Runtime
from mmencode.errors import EncoderError
from mmencode.plugins.spec import EncoderSpec
from mmencode.spaces.space import Space
from mmencode.spaces.verification import encode_probes
from mmencode.testing import FakeText


class Short(FakeText):
    """An encoder of five characters, which casting tries out on longer texts when it is loaded."""

    def __init__(self):
        super().__init__()
        self._too_long = Notice("longer than 5 characters")

    def preprocess(self, item):
        if len(item) > 5:
            self._too_long.give()
        return super().preprocess(item[:5])


class Failing(Short):
    """One that computes nothing, so that generated items are asked whether they fail, too."""

    def forward(self, tensors):
        raise ValueError("it is broken")


def space_of(name, dtype):
    spec = EncoderSpec(
        name="notices/*", modality="text", target=f"{__name__}:{name}", dim=8, bf16_cosine=0.99
    )
    runtime = Runtime("cpu")
    runtime.dtype = Runtime("cpu", dtype).dtype  # chosen by "auto", as where the processor has it
    return Space("notices", [spec.member("short", 8)], runtime=runtime)


def build_short(variant):
    return Short()


def build_failing(variant):
    return Failing()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_notice_is_for_the_callers_items_and_said_once(dtype):
    with space_of("build_short", dtype) as space:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            space.encode("text", ["short"])
        with pytest.warns(UserWarning, match="longer than 5 characters") as said:
            space.encode("text", ["much longer", "longer than that"])
        assert len(said) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            space.encode("text", ["longer once more"])


def test_what_is_saved_with_a_card_leaves_the_notice_to_the_caller():
    with space_of("build_short", "float32") as space:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert encode_probes(space.encode, [space.spec("text")], 5)["text"]
        with pytest.warns(UserWarning, match="longer than 5 characters"):
            space.encode("text", ["much longer"])


def test_an_encoder_that_fails_is_asked_about_generated_items_without_its_notices():
    with space_of("build_failing", "float32") as space, warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(EncoderError, match="it is broken"):
            space.encode("text", ["a"])
