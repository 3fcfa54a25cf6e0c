"""Where and how encoders run: device, dtype, batch size, workers."""

from __future__ import annotations

import os
import sys
from typing import Literal

import torch
from torch import Tensor

from .errors import DeviceError

Auto = Literal["auto"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Items and tensor elements of one automatic batch: on a CPU what stays in its cache, on a GPU what fills it.
# The CPU's were found with tests/benchmarks/offline.py: short texts like 32 items, photographs of 224 x 224
# (150 528 elements) about six. The GPU's are a guess that nothing has measured yet.
_CPU_BATCH, _CPU_ELEMENTS = 32, 2**20
_GPU_BATCH, _GPU_ELEMENTS = 256, 2**26


class Runtime:
    """What "auto" became on this machine; every attribute is concrete.

    device       "auto" is the first CUDA device, else MPS, else the CPU
    dtype        of the weights and the forward pass; "auto" is float32. Embeddings are float32 always
    batch_size   the most items in one forward pass; "auto" also keeps them below `batch_elements`
    workers      threads that read and preprocess; "auto" is one for each core this process may use

    Raises DeviceError when the device isn't there, ValueError for an unknown dtype or a count below one.
    """

    def __init__(
        self,
        device: str | Auto = "auto",
        dtype: str | Auto = "auto",
        *,
        batch_size: int | Auto = "auto",
        workers: int | Auto = "auto",
    ) -> None:
        self.device = _device(device)
        self.dtype = _dtype(dtype)
        on_cpu = self.device.type == "cpu"
        automatic = (_CPU_BATCH, _CPU_ELEMENTS) if on_cpu else (_GPU_BATCH, _GPU_ELEMENTS)
        chosen = automatic if batch_size == "auto" else (batch_size, sys.maxsize)
        self.batch_size = _count("batch_size", chosen[0])
        self.batch_elements = chosen[1]
        self.workers = _count("workers", _cores() if workers == "auto" else workers)

    def move(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Tensors on the device, floating ones in the dtype; integers and masks keep theirs."""
        return {
            name: tensor.to(self.device, self.dtype if tensor.is_floating_point() else tensor.dtype)
            for name, tensor in tensors.items()
        }

    def __repr__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return (
            f"Runtime(device={str(self.device)!r}, dtype={dtype!r}, "
            f"batch_size={self.batch_size}, workers={self.workers})"
        )


def devices() -> dict[str, str]:
    """The devices of this machine, name to description, the one that "auto" takes first."""
    found: dict[str, str] = {}
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            memory = properties.total_memory / 2**30
            found[f"cuda:{index}"] = f"{properties.name}, {memory:.0f} GiB"
    if torch.backends.mps.is_available():
        found["mps"] = "Metal Performance Shaders"
    found["cpu"] = f"{_cores()} cores, {torch.backends.cpu.get_cpu_capability()}"
    return found


def _device(name: str) -> torch.device:
    present = devices()
    if name == "auto":
        return torch.device(next(iter(present)))
    try:
        device = torch.device(name)
    except RuntimeError as cause:
        raise _absent(name, present) from cause
    key = f"{device.type}:{device.index or 0}" if device.type == "cuda" else device.type
    if key not in present:
        raise _absent(name, present)
    return device


def _absent(name: str, present: dict[str, str]) -> DeviceError:
    return DeviceError(
        f"device {name!r} isn't there",
        culprit=f"torch {torch.__version__} sees {', '.join(present)}",
        remedy='use one of these or device="auto"; for CUDA, install a CUDA build of torch and a driver',
    )


def _dtype(name: str) -> torch.dtype:
    if name == "auto":
        return torch.float32
    if name not in _DTYPES:
        raise ValueError(f"dtype is {name!r}: make it one of auto, {', '.join(_DTYPES)}")
    return _DTYPES[name]


def _count(name: str, value: int) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f'{name} is {value!r}: make it a positive int or "auto"')
    return value


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity
        return os.cpu_count() or 1
