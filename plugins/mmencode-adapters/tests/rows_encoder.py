"""An encoder of rows of numbers, which lets scikit-learn's checks feed a space what they generate."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mmencode import EncoderSpec, Space
from mmencode.encoder import Encoder, Tensors

WIDTH = 16


class Rows(Encoder):
    """An encoder of a row of any length as its first numbers beside a constant."""

    width = WIDTH
    preprocessing = "the first 15 numbers and 1"

    def preprocess(self, item: object) -> Tensors:
        """Take the first numbers of a row, with zeros behind the last one."""
        row = np.asarray(item, np.float32).ravel()[: WIDTH - 1]
        return {"row": torch.from_numpy(np.pad(row, (0, WIDTH - 1 - len(row)))), "one": torch.ones(1)}

    def forward(self, tensors: Tensors) -> Tensor:
        """Put both behind each other, `[b, 16]`."""
        return torch.cat([tensors["row"], tensors["one"]], dim=1)


def rows_space() -> Space:
    """Make the space of rows."""
    spec = EncoderSpec(name="rows/row", modality="row", target="rows_encoder:Rows", space="rows", dim=WIDTH)
    return Space("rows", [spec])
