"""Encoders of every open_clip architecture: image and text tower, one space for each set of weights.

The name is `openclip/<architecture>/<weights>`; the weights are a pretrained tag, `hf-hub:org/repo`, or the
path of a local checkpoint. `openclip/local-dir:<folder>` is a folder that open_clip saved. What is local is
read without asking any hub. The place of a file is no part of the identity: a tag and a copy of its file are
one space.
"""

from __future__ import annotations

from collections.abc import Collection

from ...encoder import Encoder
from ...plugins.spec import IMAGE, TEXT
from .image import OpenClipImage
from .source import find
from .text import OpenClipText


def towers(variant: str, modalities: Collection[str] = (IMAGE, TEXT)) -> dict[str, Encoder]:
    """Build the image and the text tower of one set of weights, or one of them, whose weights alone are read.

    Raises UnknownNameError or WeightsError when there is none.
    """
    source = find(variant)
    model = source.model(modalities)
    built: dict[str, Encoder] = {}
    if IMAGE in modalities:
        built[IMAGE] = OpenClipImage(model)
        built[IMAGE].architecture = source.architecture("image")
    if TEXT in modalities:
        built[TEXT] = OpenClipText(model, source.tokenizer())
        built[TEXT].architecture = source.architecture("text")
    return built


def image(variant: str) -> Encoder:
    """Build the image tower of one set of weights; UnknownNameError or WeightsError when there is none."""
    return towers(variant, (IMAGE,))[IMAGE]


def text(variant: str) -> Encoder:
    """Build the text tower of one set of weights; UnknownNameError or WeightsError when there is none."""
    return towers(variant, (TEXT,))[TEXT]
