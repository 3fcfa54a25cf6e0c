"""An encoder's forward pass through torch.compile, where that works."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from .causes import out_of_memory
from .encoder import Encoder, Tensors


class Compiled:
    """An encoder's forward pass, compiled when first called; plain, with a warning, where that fails.

    Sizes that vary are compiled once for all. On a CPU it is slower than packed layers, which it can't have:
    0.76 to 0.88 times (tests/benchmarks/gains.py). It is meant for GPUs, where it hasn't been measured.
    """

    def __init__(self, encoder: Encoder, name: str) -> None:
        self._encoder, self._name = encoder, name
        self._compiled = torch.compile(encoder)
        self._works = True  # until a call shows that it doesn't

    def __call__(self, tensors: Tensors) -> Tensor:
        """Features `[b, width]`, as the encoder itself gives them but for rounding."""
        if not self._works:
            return self._plain(tensors)
        try:
            features: Tensor = self._compiled(tensors)
        except Exception as cause:
            if out_of_memory(cause):
                raise
            features = self._plain(tensors)  # what is wrong with the batch itself is raised here
            self._works = False
            warnings.warn(
                f"torch.compile fails on encoder {self._name!r}, so it runs as it is: "
                f"{type(cause).__name__}: {str(cause).strip().partition(chr(10))[0]}",
                RuntimeWarning,
                stacklevel=2,
            )
        return features

    def _plain(self, tensors: Tensors) -> Tensor:
        features: Tensor = self._encoder(tensors)
        return features
