"""What plugin authors need to test an encoder: the conformance suite, fakes, and sample items."""

from __future__ import annotations

from .conformance import EncoderConformance
from .fakes import FakeAudio, FakeImage, FakeText, fake_specs
from .samples import sample_items

__all__ = ["EncoderConformance", "FakeAudio", "FakeImage", "FakeText", "fake_specs", "sample_items"]
