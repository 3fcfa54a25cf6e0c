"""Encoders of every open_clip architecture: image and text tower, one space for each set of weights.

The name is `openclip/<architecture>/<weights>`; the weights are a pretrained tag, `hf-hub:org/repo`, or the
path of a local checkpoint. `openclip/local-dir:<folder>` is a folder that open_clip saved. What is local is
read without asking any hub. The place of a file is no part of the identity: a tag and a copy of its file are
one space.
"""

from __future__ import annotations

from .image import OpenClipImage
from .source import find
from .text import OpenClipText


def image(variant: str) -> OpenClipImage:
    """Build the image tower of one set of weights; UnknownNameError or WeightsError when there is none."""
    source = find(variant)
    encoder = OpenClipImage(source.model())
    encoder.architecture = source.architecture("image")
    return encoder


def text(variant: str) -> OpenClipText:
    """Build the text tower of one set of weights; UnknownNameError or WeightsError when there is none."""
    source = find(variant)
    encoder = OpenClipText(source.model(), source.tokenizer())
    encoder.architecture = source.architecture("text")
    return encoder
