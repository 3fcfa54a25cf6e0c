"""Tools for plugin authors to test their encoders: the conformance suite, fake encoders and sample items."""

from __future__ import annotations

from .checks import Check, Outcome, checks
from .conformance import EncoderConformance
from .fakes import (
    FakeAudio,
    FakeImage,
    FakeMultiImage,
    FakeMultiText,
    FakeText,
    fake_multi_specs,
    fake_specs,
)
from .fused import FakeFused, fake_omni_specs
from .samples import sample_items

__all__ = [
    "Check",
    "EncoderConformance",
    "FakeAudio",
    "FakeFused",
    "FakeImage",
    "FakeMultiImage",
    "FakeMultiText",
    "FakeText",
    "Outcome",
    "checks",
    "fake_multi_specs",
    "fake_omni_specs",
    "fake_specs",
    "sample_items",
]
