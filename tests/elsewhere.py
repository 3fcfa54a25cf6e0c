"""A space of other vectors than the fakes', of another width, to move indexes to."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from mmencode import Encoder, EncoderSpec

DIM = 12


class OtherText(Encoder):
    """A text's hash."""

    width, preprocessing, tokenizer, pooling = DIM, "sha256", "none", "none"

    def preprocess(self, item):
        content = hashlib.sha512(item.encode()).digest()[: 4 * DIM]
        return {"row": torch.from_numpy(np.frombuffer(content, np.uint32).astype(np.float32) / 2**31 - 1)}

    def forward(self, tensors):
        return tensors["row"]


class OtherImage(Encoder):
    """The brightness of an image in three rows of four."""

    width, preprocessing = DIM, "4 x 3"

    def preprocess(self, item):
        pixels = np.asarray(item.convert("L").resize((4, 3)), np.float32)
        return {"row": torch.from_numpy(pixels.reshape(-1) / 255 + 0.01)}

    def forward(self, tensors):
        return tensors["row"]


TEXT = EncoderSpec(
    name="elsewhere/text", modality="text", target="elsewhere:OtherText", space="elsewhere", dim=DIM
)
IMAGE = EncoderSpec(
    name="elsewhere/image", modality="image", target="elsewhere:OtherImage", space="elsewhere", dim=DIM
)
SPECS = (TEXT, IMAGE)
