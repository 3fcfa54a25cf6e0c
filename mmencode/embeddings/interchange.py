"""Libraries take the vectors of a result as numpy's arrays, torch's tensors, and by DLPack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .array_types import Array, Vectors

if TYPE_CHECKING:
    from torch import Tensor


class Interchange:
    """Gives the attribute `vectors` of a class to other libraries, in shared memory where they can."""

    __slots__ = ()
    vectors: Vectors

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if dtype is not None and np.dtype(dtype) != self.vectors.dtype:
            if copy is False:
                raise ValueError(f"a view of float32 vectors as {dtype} needs a copy")
            return self.vectors.astype(dtype)
        return self.vectors.copy() if copy else self.vectors

    def __dlpack__(self, **options: Any) -> Any:
        """Export the vectors by DLPack, as `torch.as_tensor` asks for them."""
        writeable = self.vectors if self.vectors.flags.writeable else self.vectors.copy()
        return writeable.__dlpack__(**options)  # numpy exports no read-only memory

    def __dlpack_device__(self) -> tuple[int, int]:
        device: tuple[int, int] = self.vectors.__dlpack_device__()
        return device

    def __getitems__(self, rows: Sequence[int]) -> list[Tensor]:
        """Give the vectors of several rows at once, as torch's DataLoader asks a data set for a batch."""
        return list(self.torch()[list(rows)])

    def torch(self) -> Tensor:
        """The vectors as a float32 tensor on the CPU, in the same memory: a change of either changes both."""
        import torch

        return torch.from_numpy(self.vectors)
