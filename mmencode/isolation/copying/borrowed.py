"""Watch over parameters that a copy shares with its original, to find those changed meanwhile."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True, slots=True)
class _Mark:
    """A parameter's address, torch's count of its changes in place, and the bits of one of its numbers.

    Changes by a fused optimiser, or through `.data`, aren't counted, but show in the number.
    """

    place: int
    version: int
    bits: int


class Borrowed:
    """The parameters of a copy whose memory is shared with its original, with marks to tell a change by.

    It is made right after the copy. `watch` is called once the copy has been moved, cast and packed, and
    drops the parameters that have memory of their own by then.
    """

    def __init__(self, module: nn.Module) -> None:
        self._marks = {name: _mark(each) for name, each in module.named_parameters()}
        self._watched: dict[str, tuple[Tensor, Any]] = {}

    def watch(self, module: nn.Module) -> None:
        """Drop the parameters that aren't shared any more, and watch the others from now on."""
        held = [*module.parameters(), *module.buffers()]
        own = Counter(each.untyped_storage()._cdata for each in held if _is_ordinary(each))
        self._watched = {
            name: (each, _number(each))
            for name, each in module.named_parameters()
            if name in self._marks
            and _is_ordinary(each)
            and each.data_ptr() == self._marks[name].place
            and _holders(each) > own[each.untyped_storage()._cdata]
        }

    def find_changed(self) -> str | None:
        """The name of a shared parameter that has been changed; None when no parameter was."""
        for name, (parameter, number) in self._watched.items():
            mark = self._marks[name]
            if _version(parameter) != mark.version or number.item() != mark.bits:
                return name
        return None


def _mark(parameter: Tensor) -> _Mark:
    if not _is_ordinary(parameter):
        return _Mark(0, 0, 0)
    return _Mark(parameter.data_ptr(), _version(parameter), _number(parameter).item())


def _is_ordinary(tensor: Tensor) -> bool:
    """Whether a tensor is a plain one with strided memory whose numbers can be read."""
    plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided
    return plain and tensor.numel() > 0 and not tensor.is_meta and tensor.element_size() in _WORDS


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _number(tensor: Tensor) -> Any:
    """A view of the bits of the middle number; of NumPy on the CPU, where that is read faster."""
    middle = tensor.detach()[tuple(size // 2 for size in tensor.shape)].view(_WORDS[tensor.element_size()])
    return middle.numpy() if middle.device.type == "cpu" else middle


def _holders(tensor: Tensor) -> int:
    """Count the tensors that share the memory of this one."""
    count = getattr(torch._C, "_storage_Use_Count", None)
    if count is None:  # without the count, assume that it is shared
        return 2**31
    storage = tensor.untyped_storage()
    return int(count(storage._cdata)) - 1  # without the storage object itself
