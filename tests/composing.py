"""Encoders of two fake packages, and a projection that brings one into the space of the other."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from mmencode import EncoderSpec, LabelAnchored, Space
from mmencode.encoder import Tensors, identify
from mmencode.engine.runtime import Runtime
from mmencode.testing import FakeImage

LABELS = ("dog", "cat", "red car", "old tree")


class Wide(FakeImage):
    """Images as twelve numbers."""

    width = 12

    def forward(self, tensors: Tensors) -> Tensor:
        stripes = super().forward(tensors)  # [b, 8]
        return torch.cat([stripes, stripes.flip(1)[:, :4]], dim=1)


def member(variant: str) -> Wide:
    """The only member of a family, whatever its name."""
    return Wide()


TEXT = EncoderSpec(
    name="words/text", modality="text", target="mmencode.testing:FakeText", dim=8, space="words"
)
SOUND = EncoderSpec(
    name="words/audio", modality="audio", target="mmencode.testing:FakeAudio", dim=8, space="words"
)
OTHER = EncoderSpec(name="other", modality="image", target="mmencode.testing:FakeImage", dim=8)
WIDE = EncoderSpec(name="wide", modality="image", target="composing:Wide", dim=12)
FAMILY = EncoderSpec(name="lib/*", modality="image", target="composing:member")


def declared(spec: EncoderSpec, encoder: type[FakeImage] = Wide) -> EncoderSpec:
    """The spec with the identity that the encoder has now."""
    return replace(spec, identity=identify(encoder()))


def on_cpu(*specs: EncoderSpec, name: str = "") -> Space:
    return Space(name or specs[0].space_name, specs, runtime=Runtime("cpu", "float32"))


def anchored(space: Space, seed: int = 0, width: int = 12) -> LabelAnchored:
    """From features to the vectors that a space gives some labels; the classifier is random."""
    weight = torch.randn(len(LABELS), width, generator=torch.Generator().manual_seed(seed))
    head = nn.Linear(width, len(LABELS), bias=False)
    head.weight = nn.Parameter(3 * weight)
    return LabelAnchored(space.encode("text", LABELS), head=head, top=3)
