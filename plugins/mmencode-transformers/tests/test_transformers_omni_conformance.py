"""Each modality of omni checkpoints keeps the contract."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny_omni

import mmencode
from mmencode.testing import EncoderConformance
from mmencode.testing.conformance.vectors import VectorChecks


class Omni:
    """A tiny omni checkpoint, which is made when the class is first used."""

    __test__ = False
    key = ""
    kind = ""

    @pytest.fixture(autouse=True, scope="class")
    def declare(self, request, tmp_path_factory):
        folder = tmp_path_factory.mktemp(self.kind)
        getattr(tiny_omni, self.kind)(folder)
        spec = mmencode.registry()[f"transformers/omni-{self.key}/{folder}"]
        request.cls.spec = replace(spec, parts=("image", "text")) if self.key == "interleaved" else spec


class Conformance(Omni, EncoderConformance):
    """Checks one in every way."""


class Architecture(Omni, VectorChecks):
    """Checks the vectors of another network or modality, whose code about it is that of the one above."""


class TestQwenImage(Conformance):
    __test__ = True
    key, kind = "image", "qwen3"


class TestGemmaAudio(Architecture):
    __test__ = True
    key, kind = "audio", "chatting"


@pytest.mark.slow
class TestGemmaText(Architecture):
    __test__ = True
    key, kind = "text", "gemma"


@pytest.mark.slow
class TestGemmaImage(Architecture):
    __test__ = True
    key, kind = "image", "gemma"


@pytest.mark.slow
class TestQwenText(Architecture):
    __test__ = True
    key, kind = "text", "qwen2"


@pytest.mark.slow
class TestChatImage(Architecture):
    __test__ = True
    key, kind = "image", "chatting"


class TestFused(Architecture):
    __test__ = True
    key, kind = "image-text", "qwen3"


@pytest.mark.slow
class TestInterleaved(Conformance):
    __test__ = True
    key, kind = "interleaved", "qwen2"
