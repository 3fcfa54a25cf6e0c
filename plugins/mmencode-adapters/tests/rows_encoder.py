"""An encoder of rows of numbers, which lets scikit-learn's checks feed a space what they generate."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mmencode import EncoderSpec, Space
from mmencode.encoder import Encoder, Tensors
from mmencode.testing import fake_specs

WIDTH = 8


class Rows(Encoder):
    """An encoder of a row of any length as its first numbers beside a constant."""

    width = WIDTH
    preprocessing = "the first 7 numbers and 1"

    def preprocess(self, item: object) -> Tensors:
        """Take the first numbers of a row, with zeros behind the last one."""
        row = np.asarray(item, np.float32).ravel()[: WIDTH - 1]
        return {"row": torch.from_numpy(np.pad(row, (0, WIDTH - 1 - len(row)))), "one": torch.ones(1)}

    def forward(self, tensors: Tensors) -> Tensor:
        """Put both behind each other, `[b, 8]`."""
        return torch.cat([tensors["row"], tensors["one"]], dim=1)


def rows_space() -> Space:
    """Make a space of rows, and of texts, since a classifier's labels have words."""
    spec = EncoderSpec(name="rows/row", modality="row", target="rows_encoder:Rows", space="rows", dim=WIDTH)
    text = next(each for each in fake_specs("rows") if each.modality == "text")
    return Space("rows", [spec, text])
