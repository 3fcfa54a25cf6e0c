"""Libraries take the vectors of a result as an array: numpy's, torch's, by DLPack and by Arrow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .array_types import Array

if TYPE_CHECKING:
    from torch import Tensor


def as_read_only(array: Array) -> Array:
    """Give an array that can't be written to, in the memory of another one, which stays as it is."""
    view = array.view()
    view.flags.writeable = False
    return view


def as_writeable(array: Array) -> Array:
    """Give an array in the same memory as far as that may be written to, or else in a copy of it."""
    return array if array.flags.writeable else array.copy()


def as_tensor_to_read(array: Array) -> Tensor:
    """Give a tensor in the same memory, also of an array that is only read: nobody may write to it.

    `torch.from_numpy` would warn, since torch has no tensors that are only read.
    """
    import torch

    return torch.from_numpy(array if array.flags.writeable else np.asarray(_Writeable(array)))


class _Writeable:
    """An array as if it could be written to, in the same memory."""

    def __init__(self, array: Array) -> None:
        self._array = array  # whose memory it keeps alive
        interface = dict(array.__array_interface__)
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}


class Unchanging:
    """Refuses that an attribute of a result is set a second time, or deleted."""

    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> None:
        if hasattr(self, name):
            raise AttributeError(
                f"{name} of {type(self).__name__} can't be changed, since its vectors belong to it: make "
                "another one by the constructor"
            )
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{name} of {type(self).__name__} can't be deleted")


class Interchange:
    """Gives an array to other libraries, in shared memory where they can."""

    __slots__ = ()

    @property
    def _shared(self) -> Array:
        """The array in the memory that it was made of, which may be one that can be written to."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, ...]:
        """The numbers of rows and columns, as numpy has them."""
        return tuple(self._shared.shape)

    @property
    def ndim(self) -> int:
        """The number of dimensions, 2, as numpy has it."""
        return self._shared.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the numbers, as numpy has it."""
        found: np.dtype[Any] = self._shared.dtype
        return found

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return as_read_only(self._shared).__array_interface__

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if dtype is not None and np.dtype(dtype) != self.dtype:
            if copy is False:
                raise ValueError(f"a view of {self.dtype} vectors as {dtype} needs a copy")
            return self._shared.astype(dtype)
        return self._shared.copy() if copy else as_read_only(self._shared)

    def __dlpack__(self, **options: Any) -> Any:
        """Export the array by DLPack, as `torch.as_tensor` asks for it."""
        return as_writeable(self._shared).__dlpack__(**options)  # torch has no memory that is only read

    def __dlpack_device__(self) -> tuple[int, int]:
        device: tuple[int, int] = self._shared.__dlpack_device__()
        return device

    def __getitems__(self, rows: Sequence[int]) -> list[Tensor]:
        """Give several rows at once as tensors, as torch's DataLoader asks a data set for a batch."""
        import torch

        return list(torch.from_numpy(self._shared[list(rows)]))

    def torch(self) -> Tensor:
        """The array as a tensor on the CPU, in the same memory where that may be written to.

        torch knows no tensors that are only read, so a change of the tensor in place changes the vectors:
        `clone()` it first.
        """
        import torch

        return torch.from_numpy(as_writeable(self._shared))


def row_index(rows: Any, noun: str) -> Any:
    """Take the rows out of an index such as `[rows, ...]`, by which scikit-learn takes them.

    TypeError for an index of columns: what is cut out of vectors is none of their space.
    """
    if not isinstance(rows, tuple):
        return rows
    if rows and all(
        part is Ellipsis or (isinstance(part, slice) and part == slice(None)) for part in rows[1:]
    ):
        return rows[0]
    raise TypeError(
        f"{noun} are indexed by their rows, and not by {rows!r:.100}: np.asarray() of them by any index, or "
        "truncate() cuts vectors"
    )
