"""Small, fast encoders for tests that need a space but no real weights.

The three fakes share a space of 8 dimensions, and the two with many vectors for each item share another.
Equal items have equal vectors; distances mean nothing beyond that.
"""

from __future__ import annotations

import hashlib
import string

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..encoder import Encoder, MultiEncoder, Tensors, pad_rows
from ..inputs import Waveform
from ..plugins.spec import AUDIO, IMAGE, TEXT, EncoderSpec
from ..pooling import mean

DIM = 8
_GOLDEN = 0.618034  # multiples of the golden ratio, modulo 1, spread evenly over the interval


class FakeText(Encoder):
    """A text encoder that averages hashes of the characters, each weighted by its position."""

    width = DIM
    preprocessing = "characters"
    tokenizer = "unicode code points"
    pooling = "mean"

    def preprocess(self, item: str) -> Tensors:
        """Hash each character into a row, `[t, 8]`; weights from 1 to 2 by position tell anagrams apart."""
        rows = torch.stack([_hash(character.encode()) for character in item])
        return {"hidden": rows * (1 + torch.arange(len(rows)) * _GOLDEN % 1)[:, None]}

    def collate(self, items: list[Tensors]) -> Tensors:
        """Pad the rows of all items to the longest, with a mask of the real characters."""
        hidden, mask = pad_rows([item["hidden"] for item in items])
        return {"hidden": hidden, "mask": mask}

    def forward(self, tensors: Tensors) -> Tensor:
        """Average the real characters of each item, `[b, 8]`."""
        return mean(*self.forward_tokens(tensors))

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Give the vectors of the characters, `[b, t, 8]`, and their mask."""
        return tensors["hidden"], tensors["mask"]


class FakeImage(Encoder):
    """An image encoder of the brightness of eight vertical stripes, with a weight that tests can change."""

    gain: nn.Parameter

    width = DIM
    preprocessing = "8 x 1 box average, RGB mean, 0 to 1"

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.linspace(1, 2, DIM))

    def preprocess(self, item: Image.Image) -> Tensors:
        """Measure the mean brightness of each stripe, `[8]`, never all zero."""
        stripes = np.asarray(item.resize((DIM, 1), Image.Resampling.BOX), np.float32)
        return {"stripes": torch.from_numpy(stripes[0].mean(axis=1) / 255 + 0.01)}

    def forward(self, tensors: Tensors) -> Tensor:
        """Multiply the stripes by the weight, `[b, 8]`."""
        return tensors["stripes"] * self.gain


class FakeAudio(Encoder):
    """An audio encoder of the mean change within one to eight samples at 8 kHz."""

    width = DIM
    preprocessing = "8 kHz, mean absolute change over 1 to 8 samples"
    windows = "the whole"

    def preprocess(self, item: Waveform) -> Tensors:
        """Measure the mean absolute change for each lag, `[8]`, never all zero."""
        samples = np.pad(item.resample(8000).samples, (0, DIM), mode="edge")
        changes = [np.abs(samples[lag:] - samples[:-lag]).mean() for lag in range(1, DIM + 1)]
        return {"changes": torch.tensor(changes, dtype=torch.float32) + 0.01}

    def forward(self, tensors: Tensors) -> Tensor:
        """Give the changes unaltered, `[b, 8]`."""
        return tensors["changes"]


class FakeMultiText(MultiEncoder):
    """A text encoder of late interaction: a vector for each character but spaces and ASCII's punctuation."""

    width = DIM
    preprocessing = "characters"
    tokenizer = "unicode code points"
    counting = "all but spaces and ASCII punctuation"

    def preprocess(self, item: str) -> Tensors:
        """Hash each character into a row, `[t, 8]`, and note which of them count, `[t]`."""
        rows = torch.stack([_hash(character.encode()) for character in item])
        counted = [not character.isspace() and character not in string.punctuation for character in item]
        return {"hidden": rows - 0.5, "counted": torch.tensor(counted)}

    def collate(self, items: list[Tensors]) -> Tensors:
        """Pad the rows of all items to the longest, with a mask of the characters that count."""
        hidden, _ = pad_rows([item["hidden"] for item in items])
        counted, _ = pad_rows([item["counted"] for item in items])
        return {"hidden": hidden, "mask": counted}

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Give the vectors of the characters, `[b, t, 8]`, and the mask of those that count."""
        return tensors["hidden"], tensors["mask"]


class FakeMultiImage(MultiEncoder):
    """An image encoder of late interaction: the brightness of eight stripes in each of four rows."""

    width = DIM
    preprocessing = "8 x 4 box average, RGB mean, 0 to 1"

    def preprocess(self, item: Image.Image) -> Tensors:
        """Measure the mean brightness of each stripe of each row, `[4, 8]`, never all zero."""
        stripes = np.asarray(item.resize((DIM, 4), Image.Resampling.BOX), np.float32)
        return {"stripes": torch.from_numpy(stripes.mean(axis=2) / 255 + 0.01)}

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Give the stripes unaltered, `[b, 4, 8]`, of which all count."""
        stripes = tensors["stripes"]
        return stripes, torch.ones(stripes.shape[:2], dtype=torch.bool, device=stripes.device)


def _hash(content: bytes) -> Tensor:
    digest = hashlib.sha256(content).digest()[: 4 * DIM]
    return torch.from_numpy(np.frombuffer(digest, np.uint32).astype(np.float32) / 2**32)


def fake_specs(space: str = "fake") -> tuple[EncoderSpec, ...]:
    """Declare the three fakes as a plugin would, in a space with text, image and audio."""
    targets = {TEXT: "FakeText", IMAGE: "FakeImage", AUDIO: "FakeAudio"}
    return tuple(_spec(space, modality, target, "one") for modality, target in targets.items())


def fake_multi_specs(space: str = "fake-multi") -> tuple[EncoderSpec, ...]:
    """Declare the fakes of late interaction as a plugin would, in a space with text and image."""
    targets = {TEXT: "FakeMultiText", IMAGE: "FakeMultiImage"}
    return tuple(_spec(space, modality, target, "many") for modality, target in targets.items())


def _spec(space: str, modality: str, target: str, outputs: str) -> EncoderSpec:
    return EncoderSpec(
        name=f"{space}/{modality}",
        modality=modality,
        target=f"{__name__}:{target}",
        space=space,
        dim=DIM,
        outputs=outputs,
        description="a fake that keeps the contract",
    )
