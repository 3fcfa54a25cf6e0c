"""The whole conformance suite on a pooled tower, on X-CLIP and on V-JEPA 2."""

from __future__ import annotations

import pytest

from mmencode.testing import EncoderConformance


@pytest.mark.slow
class TestMeanConforms(EncoderConformance):
    """The whole suite on the mean of frames."""

    @pytest.fixture(autouse=True)
    def named(self, tower):
        type(self).name = f"video/mean/2:{tower}"


@pytest.mark.slow
class TestPacedAttentionConforms(EncoderConformance):
    """The whole suite on frames weighted by attention, of which videos have different numbers."""

    @pytest.fixture(autouse=True)
    def named(self, tower):
        type(self).name = f"video/attention/2fps:{tower}"


@pytest.mark.slow
class TestXClipConforms(EncoderConformance):
    """The whole suite on X-CLIP's video tower."""

    @pytest.fixture(autouse=True)
    def named(self, tmp_path_factory):
        pytest.importorskip("transformers")
        import tiny_videos

        folder = tmp_path_factory.getbasetemp() / "xclip"
        if not folder.exists():
            tiny_videos.xclip(folder)
        type(self).name = f"video/xclip-video/{folder}"
