"""Whether the memory that a copy shares with others is still as it was."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True, slots=True)
class _Mark:
    """Where a parameter lies, how often torch says that it was changed in place, and one of its numbers.

    A change by a fused optimiser, or through `.data`, isn't counted, and shows in the number.
    """

    place: int
    version: int
    bits: int


class Borrowed:
    """The parameters of a copy that lie in memory which somebody else holds as well, as they were.

    Made as soon as the copy is; `settle` comes when all has been moved, cast and packed, and leaves out what
    has memory of its own by then.
    """

    def __init__(self, module: nn.Module) -> None:
        self._marks = {name: _mark(each) for name, each in module.named_parameters()}
        self._watched: dict[str, tuple[Tensor, Any]] = {}

    def settle(self, module: nn.Module) -> None:
        """Watch what is shared from now on."""
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

    def changed(self) -> str | None:
        """The name of a parameter that isn't as it was; None when all of them are."""
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
    """Whether it has memory with numbers in it that one can look at."""
    plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided
    return plain and tensor.numel() > 0 and not tensor.is_meta and tensor.element_size() in _WORDS


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _number(tensor: Tensor) -> Any:
    """One of its numbers as bits, in the same memory; of a tensor on the CPU as numpy's, read in no time."""
    middle = tensor.detach()[tuple(size // 2 for size in tensor.shape)].view(_WORDS[tensor.element_size()])
    return middle.numpy() if middle.device.type == "cpu" else middle


def _holders(tensor: Tensor) -> int:
    """How many tensors lie in the memory of this one."""
    count = getattr(torch._C, "_storage_Use_Count", None)
    if count is None:  # then assume that somebody else has it
        return 2**31
    storage = tensor.untyped_storage()
    return int(count(storage._cdata)) - 1  # the object that stands for the memory in Python counts, too
