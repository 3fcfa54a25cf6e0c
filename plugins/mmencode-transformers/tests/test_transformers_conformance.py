"""One checkpoint of each family keeps the contract; with --slow, each architecture gives good vectors."""

from __future__ import annotations

import pytest
from declaring import Checkpoint

from mmencode.testing import EncoderConformance
from mmencode.testing.conformance.vectors import VectorChecks


class Conformance(Checkpoint, EncoderConformance):
    """Checks one of a family in every way."""


class Architecture(Checkpoint, VectorChecks):
    """Checks the vectors of another network of a family, whose code about it is that of the one above."""


class TestText(Conformance):
    __test__ = True
    family, kind = "text/mean:", "bert"


@pytest.mark.slow
class TestSentence(Architecture):
    __test__ = True
    family, kind = "sentence/", "sentence"


class TestImage(Conformance):
    __test__ = True
    family, kind = "image/cls:", "dinov2"


@pytest.mark.slow
class TestSpeech(Conformance):
    __test__ = True
    family, kind = "speech/mean:", "wav2vec2"


class TestClipImage(Conformance):
    __test__ = True
    family, kind = "clip-image/", "clip"


@pytest.mark.slow
class TestClipText(Architecture):
    __test__ = True
    family, kind = "clip-text/", "clip"


class TestClapAudio(Conformance):
    __test__ = True
    family, kind = "clap-audio/", "clap"


@pytest.mark.slow
class TestClapText(Architecture):
    __test__ = True
    family, kind = "clap-text/", "clap"


@pytest.mark.slow
class TestRoberta(Architecture):
    __test__ = True
    family, kind = "text/cls:", "roberta"


@pytest.mark.slow
class TestMPNet(Architecture):
    __test__ = True
    family, kind = "text/max:", "mpnet"


@pytest.mark.slow
class TestDistilBert(Architecture):
    __test__ = True
    family, kind = "text/mean:", "distilbert"


@pytest.mark.slow
class TestModernBert(Architecture):
    __test__ = True
    family, kind = "text/mean:", "modernbert"


@pytest.mark.slow
class TestT5(Architecture):
    __test__ = True
    family, kind = "text/mean:", "t5"


@pytest.mark.slow
class TestBart(Architecture):
    __test__ = True
    family, kind = "text/mean:", "bart"


@pytest.mark.slow
class TestGPT2(Architecture):
    __test__ = True
    family, kind = "text/last:", "gpt2"


@pytest.mark.slow
class TestLlama(Architecture):
    __test__ = True
    family, kind = "text/last:", "llama"


@pytest.mark.slow
class TestDinoV3(Architecture):
    __test__ = True
    family, kind = "image/mean:", "dinov3"


@pytest.mark.slow
class TestVit(Architecture):
    __test__ = True
    family, kind = "image/cls:", "vit"


@pytest.mark.slow
class TestHubert(Architecture):
    __test__ = True
    family, kind = "speech/max:", "hubert"


@pytest.mark.slow
class TestWavLM(Architecture):
    __test__ = True
    family, kind = "speech/mean:", "wavlm"


@pytest.mark.slow
class TestWhisper(Architecture):
    __test__ = True
    family, kind = "speech/mean:", "whisper"


@pytest.mark.slow
class TestAst(Architecture):
    __test__ = True
    family, kind = "speech/cls:", "ast"


@pytest.mark.slow
class TestClapFusedAudio(Architecture):
    __test__ = True
    family, kind = "clap-audio/", "clap_fused"


@pytest.mark.slow
class TestSiglipImage(Architecture):
    __test__ = True
    family, kind = "clip-image/", "siglip"


@pytest.mark.slow
class TestSiglipText(Architecture):
    __test__ = True
    family, kind = "clip-text/", "siglip"


@pytest.mark.slow
class TestSiglip2Image(Architecture):
    __test__ = True
    family, kind = "clip-image/", "siglip2"


@pytest.mark.slow
class TestSiglip2Text(Architecture):
    __test__ = True
    family, kind = "clip-text/", "siglip2"


@pytest.mark.slow
class TestByName(Conformance):
    """What only another process can tell."""

    __test__ = True

    @pytest.fixture(autouse=True, scope="class")
    def declare(self, request, checkpoint):
        request.cls.name = f"transformers/sentence/{checkpoint('sentence')}"
