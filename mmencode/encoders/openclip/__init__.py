"""Every open_clip architecture: its image and its text tower, one space for each set of weights.

The name is `openclip/<architecture>/<weights>`; the weights are a pretrained tag, `hf-hub:org/repo`, or the
path of a local checkpoint. `openclip/local-dir:<folder>` is a folder that open_clip saved. What is local is
read without asking any hub. Where it lies is no part of the identity: a tag and a copy of its file are one.
"""

from __future__ import annotations

from .image import OpenClipImage
from .source import find
from .text import OpenClipText


def image(variant: str) -> OpenClipImage:
    """The image tower of one set of weights; UnknownNameError or WeightsError when there is none."""
    source = find(variant)
    encoder = OpenClipImage(source.model())
    encoder.architecture = source.architecture("image")
    return encoder


def text(variant: str) -> OpenClipText:
    """The text tower of one set of weights; UnknownNameError or WeightsError when there is none."""
    source = find(variant)
    encoder = OpenClipText(source.model(), source.tokenizer())
    encoder.architecture = source.architecture("text")
    return encoder
