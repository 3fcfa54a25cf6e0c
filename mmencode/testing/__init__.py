"""Tools for plugin authors to test their encoders: the conformance suite, fake encoders and sample items."""

from __future__ import annotations

from .checks import Check, Outcome, checks
from .conformance import EncoderConformance
from .fakes import FakeAudio, FakeImage, FakeText, fake_specs
from .samples import sample_items

__all__ = [
    "Check",
    "EncoderConformance",
    "FakeAudio",
    "FakeImage",
    "FakeText",
    "Outcome",
    "checks",
    "fake_specs",
    "sample_items",
]
