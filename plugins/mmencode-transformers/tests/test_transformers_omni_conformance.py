"""Each modality of omni checkpoints keeps the contract."""

from __future__ import annotations

from dataclasses import replace

import pytest
from declaring import Checkpoint

from mmencode.testing import EncoderConformance
from mmencode.testing.conformance.vectors import VectorChecks


class Omni(Checkpoint):
    """An encoder of an omni checkpoint, for one of its modalities."""

    def check(self, cls, name):
        super().check(cls, name)
        if "omni-interleaved/" in name:
            cls.spec = replace(cls.spec, parts=("image", "text"))


class Conformance(Omni, EncoderConformance):
    """Checks one in every way."""


class Architecture(Omni, VectorChecks):
    """Checks the vectors of another network or modality, whose code about it is that of the one above."""


class TestQwenImage(Conformance):
    __test__ = True
    family, kind = "omni-image/", "qwen3"


class TestGemmaAudio(Architecture):
    __test__ = True
    family, kind = "omni-audio/", "chatting"


@pytest.mark.slow
class TestGemmaText(Architecture):
    __test__ = True
    family, kind = "omni-text/", "gemma"


@pytest.mark.slow
class TestGemmaImage(Architecture):
    __test__ = True
    family, kind = "omni-image/", "gemma"


@pytest.mark.slow
class TestQwenText(Architecture):
    __test__ = True
    family, kind = "omni-text/", "qwen2"


@pytest.mark.slow
class TestChatImage(Architecture):
    __test__ = True
    family, kind = "omni-image/", "chatting"


class TestFused(Architecture):
    __test__ = True
    family, kind = "omni-image-text/", "qwen3"


@pytest.mark.slow
class TestInterleaved(Conformance):
    __test__ = True
    family, kind = "omni-interleaved/", "qwen2"
