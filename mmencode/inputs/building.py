"""Settings of checkpoints are checked to describe a model no larger than the weights, before it is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..errors import WeightsError
from .weights import Shapes

# Besides its weights a model makes masks, position tables and temporary initial values.
_MORE_TENSORS, _MORE_NUMBERS = 2_000, 2**26
_TIMES = 8


class Bounded(TorchFunctionMode):
    """A context that raises WeightsError when more or larger tensors are made than a checkpoint can fill.

    It stops settings that ask for 200 000 layers, or a width of a billion, before memory runs out. `shapes`
    are those of the checkpoint's tensors, `what` names the settings in the error.
    """

    def __init__(self, shapes: Shapes, what: str) -> None:
        super().__init__()
        self._most_tensors = _MORE_TENSORS + _TIMES * len(shapes)
        self._most_numbers = _MORE_NUMBERS + _TIMES * sum(map(_numbers, shapes.values()))
        self._tensors = self._total = 0
        self._what = what

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a torch function, and count the tensor if it is one that allocates a new tensor."""
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and func in _ALLOCATORS:
            self._tensors += 1
            self._total += made.numel()
            if self._tensors > self._most_tensors or self._total > self._most_numbers:
                raise WeightsError(
                    f"the settings of {self._what} describe a far larger model than its weights: over "
                    f"{self._tensors} tensors, {self._total} numbers",
                    remedy="put the settings there that belong to these weights",
                )
        return made


def sketch(build: Callable[[], nn.Module], shapes: Shapes, what: str) -> Mapping[str, Tensor]:
    """The state dict of the model that `build` makes, on the meta device, so that it takes no memory.

    Raises WeightsError when the model is far larger than a checkpoint with these `shapes`.
    """
    with torch.device("meta"), Bounded(shapes, what):
        return build().state_dict()


def _numbers(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


_ALLOCATORS = {
    *(torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.arange, torch.eye),
    *(torch.linspace, torch.tensor, torch.randint, torch.normal, torch.empty_strided),
}
