"""Small, quick encoders that keep the contract, for tests that need a space and no weights.

The three share a space of 8 dimensions, which means nothing: equal items have equal vectors, that is all.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..encoder import Encoder, Tensors
from ..inputs import Waveform
from ..plugins.spec import AUDIO, IMAGE, TEXT, EncoderSpec
from ..pooling import mean

DIM = 8
_GOLDEN = 0.618034  # steps of which fall evenly between 0 and 1


class FakeText(Encoder):
    """The mean over the characters' vectors, each the hash of its code point, weighed by its place."""

    width = DIM
    preprocessing = "characters"
    tokenizer = "unicode code points"
    pooling = "mean"

    def preprocess(self, item: str) -> Tensors:
        """One row for each character, `[t, 8]`; weights of 1 to 2 tell words of the same letters apart."""
        rows = torch.stack([_hashed(character.encode()) for character in item])
        return {"hidden": rows * (1 + torch.arange(len(rows)) * _GOLDEN % 1)[:, None]}

    def collate(self, items: list[Tensors]) -> Tensors:
        """Padded to the longest, with the mask that says so."""
        hidden = [item["hidden"] for item in items]
        mask = [torch.ones(len(rows), dtype=torch.bool) for rows in hidden]
        return {
            "hidden": nn.utils.rnn.pad_sequence(hidden, batch_first=True),
            "mask": nn.utils.rnn.pad_sequence(mask, batch_first=True),
        }

    def forward(self, tensors: Tensors) -> Tensor:
        """The mean over the real characters, `[b, 8]`."""
        return mean(*self.forward_tokens(tensors))

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """The characters' vectors `[b, t, 8]` and their mask."""
        return tensors["hidden"], tensors["mask"]


class FakeImage(Encoder):
    """Brightness of the eight vertical stripes of an image, and a weight that tests can change."""

    width = DIM
    preprocessing = "8 x 1 box average, RGB mean, 0 to 1"

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.linspace(1, 2, DIM))

    def preprocess(self, item: Image.Image) -> Tensors:
        """The stripes' mean brightness, `[8]`, never all zero."""
        stripes = np.asarray(item.resize((DIM, 1), Image.Resampling.BOX), np.float32)
        return {"stripes": torch.from_numpy(stripes[0].mean(axis=1) / 255 + 0.01)}

    def forward(self, tensors: Tensors) -> Tensor:
        """The weighted stripes, `[b, 8]`."""
        return tensors["stripes"] * self.gain


class FakeAudio(Encoder):
    """How much a recording, resampled to 8 kHz, changes within one to eight samples."""

    width = DIM
    preprocessing = "8 kHz, mean absolute change over 1 to 8 samples"
    windows = "the whole"

    def preprocess(self, item: Waveform) -> Tensors:
        """The mean absolute change for each lag, `[8]`, never all zero."""
        samples = np.pad(item.resample(8000).samples, (0, DIM), mode="edge")
        changes = [np.abs(samples[lag:] - samples[:-lag]).mean() for lag in range(1, DIM + 1)]
        return {"changes": torch.tensor(changes, dtype=torch.float32) + 0.01}

    def forward(self, tensors: Tensors) -> Tensor:
        """The changes themselves, `[b, 8]`."""
        return tensors["changes"]


def _hashed(content: bytes) -> Tensor:
    digest = hashlib.sha256(content).digest()[: 4 * DIM]
    return torch.from_numpy(np.frombuffer(digest, np.uint32).astype(np.float32) / 2**32)


def fake_specs(space: str = "fake") -> tuple[EncoderSpec, ...]:
    """The three fakes as a plugin would declare them: a space with text, image and audio."""
    targets = {TEXT: "FakeText", IMAGE: "FakeImage", AUDIO: "FakeAudio"}
    return tuple(
        EncoderSpec(
            name=f"{space}/{modality}",
            modality=modality,
            target=f"{__name__}:{target}",
            space=space,
            dim=DIM,
            description="a fake that keeps the contract",
        )
        for modality, target in targets.items()
    )
