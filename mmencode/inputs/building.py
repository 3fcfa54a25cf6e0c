"""How large a model is that somebody's settings describe, found out before it takes memory or time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..errors import WeightsError
from .weights import Shapes

# Beside its weights a model makes masks and tables of positions, and initial values on the way.
_MORE_TENSORS, _MORE_NUMBERS = 2_000, 2**26
_TIMES = 8


class Bounded(TorchFunctionMode):
    """Raises WeightsError in a `with` block that makes many more or larger tensors than a checkpoint has.

    Settings of 200 000 layers, or of a width of a milliard, end where they exceed what the file could fill.
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
        """Count what a function makes out of nothing."""
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and func in _MAKERS:
            self._tensors += 1
            self._total += made.numel()
            if self._tensors > self._most_tensors or self._total > self._most_numbers:
                raise WeightsError(
                    f"the settings of {self._what} describe a far larger model than its weights: over "
                    f"{self._tensors} tensors, {self._total} numbers",
                    remedy="put the settings there that belong to the weights",
                )
        return made


def sketch(build: Callable[[], nn.Module], shapes: Shapes, what: str) -> Mapping[str, Tensor]:
    """The state of the model that `build` makes, without memory for it; WeightsError when it is too large."""
    with torch.device("meta"), Bounded(shapes, what):
        return build().state_dict()


def _numbers(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


_MAKERS = {
    *(torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.arange, torch.eye),
    *(torch.linspace, torch.tensor, torch.randint, torch.normal, torch.empty_strided),
}
