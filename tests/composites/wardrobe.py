"""Encoders that see the colour and the pattern of a dress, and pictures where the right answer is known."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import normalize

from mmencode import Encoder, EncoderSpec

COLOURS = {"red": (220, 20, 20), "green": (20, 160, 20), "blue": (20, 20, 220)}
PATTERNS = ("plain", "striped", "dotted")


def draw(colour, pattern, size=48):
    """Draw a dress: a colour with black stripes, dots, or nothing."""
    y, x = np.mgrid[0:size, 0:size]
    ink = {"plain": x < 0, "striped": y % 12 < 6, "dotted": (y % 12 < 6) & (x % 12 < 6)}[pattern]
    pixels = np.where(ink[..., None], 0, np.array(COLOURS[colour])).astype(np.uint8)
    return Image.fromarray(pixels)


def look_at(image):
    """Describe a picture by its colour `[3]` and its pattern `[3]`, both of length 1."""
    pixels = np.asarray(image, np.float32) / 255
    dark = pixels.max(axis=2) < 0.1
    rows, columns = dark.mean(axis=1), dark.mean(axis=0)
    striped, dotted = float(rows.std() > 0.4), float(0.1 < columns.std() < 0.4)
    pattern = torch.tensor([1 - max(striped, dotted), striped, dotted])
    return normalize(torch.from_numpy(pixels[~dark].mean(axis=0)), dim=0), pattern


class Seeing(Encoder):
    width = 6
    preprocessing = "mean colour, and what is dark"

    def preprocess(self, item):
        return {"seen": torch.cat(look_at(item))}

    def forward(self, tensors):
        return tensors["seen"]


class Reading(Seeing):
    preprocessing = "words for colours"

    def preprocess(self, item):
        named = torch.tensor([float(colour in item.split()) for colour in COLOURS])
        return {"seen": torch.cat([named, torch.zeros(3)])}


class SeeingAndReading(Seeing):
    """Takes the pattern of the picture, and the colour that the text asks for."""

    preprocessing = "the picture's pattern, the text's colour"

    def preprocess(self, item):
        image, text = item
        colour, pattern = (torch.zeros(3), torch.zeros(3)) if image is None else look_at(image)
        named = Reading().preprocess(text or "")["seen"][:3]
        return {"seen": torch.cat([named if named.any() else colour, pattern])}


def specs(*kinds):
    """Declare encoders as a plugin would, by modality."""
    return tuple(
        EncoderSpec(
            name=f"wardrobe/{modality.replace('+', '-')}",
            modality=modality,
            target=f"{kind.__module__}:{kind.__name__}",
            space="wardrobe",
            dim=6,
        )
        for modality, kind in kinds
    )


TWO = specs(("image", Seeing), ("text", Reading))
THREE = (*TWO, *specs(("image+text", SeeingAndReading)))
