"""The fakes that ship keep the contract they stand in for."""

from __future__ import annotations

from mmencode.testing import EncoderConformance, fake_multi_specs, fake_omni_specs, fake_specs

AUDIO, IMAGE, TEXT = sorted(fake_specs(), key=lambda spec: spec.modality)
OMNI = {spec.modality: spec for spec in fake_omni_specs()}
MULTI_IMAGE, MULTI_TEXT = sorted(fake_multi_specs(), key=lambda spec: spec.modality)


class TestFakeText(EncoderConformance):
    spec = TEXT


class TestFakeImage(EncoderConformance):
    spec = IMAGE


class TestFakeAudio(EncoderConformance):
    spec = AUDIO


class TestFakeMultiText(EncoderConformance):
    spec = MULTI_TEXT


class TestFakeMultiImage(EncoderConformance):
    spec = MULTI_IMAGE


class TestFakeFused(EncoderConformance):
    spec = OMNI["image+text"]


class TestFakeInterleaved(EncoderConformance):
    spec = OMNI["interleaved"]


class TestFakeOmniText(EncoderConformance):
    spec = OMNI["text"]


class TestFakeOmniImage(EncoderConformance):
    spec = OMNI["image"]
