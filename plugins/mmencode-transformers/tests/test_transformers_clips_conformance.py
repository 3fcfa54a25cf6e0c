"""SigLIP with its own tokenizer, and a merged adapter, keep the contract; with --slow, every new kind."""

from __future__ import annotations

import pytest
import tiny_adapters
from declaring import Checkpoint

import mmencode
from mmencode.testing import EncoderConformance
from mmencode.testing.conformance.vectors import VectorChecks


class TestSiglipPieces(Checkpoint, EncoderConformance):
    __test__ = True
    family, kind = "clip-text/", "siglip_pieces"


@pytest.mark.slow
class TestAdapter(EncoderConformance):
    @pytest.fixture(autouse=True, scope="class")
    def declare(self, request, checkpoint, tmp_path_factory):
        pytest.importorskip("peft")
        folder = tmp_path_factory.mktemp("adapter")
        tiny_adapters.save(checkpoint("bert"), folder, target_modules=tiny_adapters.LINEAR)
        request.cls.spec = mmencode.registry()[f"transformers/text/mean:{folder}"]


@pytest.mark.slow
class TestAimText(Checkpoint, VectorChecks):
    __test__ = True
    family, kind = "clip-text/", "aimv2"


@pytest.mark.slow
class TestTipsText(Checkpoint, VectorChecks):
    __test__ = True
    family, kind = "clip-text/", "tipsv2"


@pytest.mark.slow
class TestTipsImage(Checkpoint, VectorChecks):
    __test__ = True
    family, kind = "clip-image/", "tipsv2"


@pytest.mark.slow
class TestAltText(Checkpoint, VectorChecks):
    __test__ = True
    family, kind = "clip-text/", "altclip"


@pytest.mark.slow
class TestChineseImage(Checkpoint, VectorChecks):
    __test__ = True
    family, kind = "clip-image/", "chinese_clip"


@pytest.mark.slow
class TestMetaText(Checkpoint, VectorChecks):
    __test__ = True
    family, kind = "clip-text/", "metaclip_2"
