"""The runtime of encoders: device, dtype, batch size, workers."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from ..arguments.counts import require_positive
from ..errors import DeviceError
from .backend_names import TORCH, describe_backends, require_backend
from .cores import count_cores

Auto = Literal["auto"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Items and tensor elements of one automatic batch: on a CPU what stays in its cache, on a GPU what fills it.
# The CPU's were found with tests/benchmarks/offline.py: short texts like 32 items, photographs of 224 x 224
# (150 528 elements) about six. The GPU's are a guess that nothing has measured yet.
_CPU_BATCH, _CPU_ELEMENTS = 32, 2**20
_GPU_BATCH, _GPU_ELEMENTS = 256, 2**26
# Prepared items wait in a window, so that items of like cost can share a batch, while threads prepare about
# as many behind it. The first of the two bounds that is met closes the window.
_WINDOW_ITEMS = 1024
_CPU_WINDOW, _GPU_WINDOW = 2**24, 2**28


class Runtime:
    """The device, dtype, batch size and workers that encoders run with; "auto" has become concrete.

    device       "auto" is the first CUDA device, else MPS, else the CPU. Several of one kind, in a list or
                 with commas between them, share the work: each has the weights, and order is kept
    dtype        of the weights and the forward pass; "auto" is bfloat16 where the device computes with it
                 natively, for encoders whose vectors stay within 0.9999 of those in float32, else float32.
                 Embeddings are float32 always
    batch_size   the most items in one forward pass; "auto" also keeps them below `batch_elements`
    workers      threads that read and preprocess; "auto" is one for each core that this process may use, by
                 affinity and by the quota of its control group
    backend      "onnxruntime" or "openvino" computes forward passes in torch's place, on a CPU, in float32:
                 vectors are the same to 1e-4, and each needs an extra of mmencode's to be installed
    compile      whether forward passes go through torch.compile: the first ones take minutes, the others
                 less than before. Where it can't compile, a warning says so, and passes stay as they are

    Raises DeviceError when a device isn't there, or isn't a backend's; MissingPackageError for a backend that
    isn't installed; ValueError for devices of several kinds, an unknown dtype or backend, what a backend
    can't do, or a count below one.
    """

    devices: tuple[torch.device, ...]
    device: torch.device
    dtype: torch.dtype
    exact: bool
    batch_size: int
    batch_elements: int
    cores: int
    workers: int
    compile: bool
    backend: str
    window_items: int
    window_bytes: int

    def __init__(
        self,
        device: str | Auto | Sequence[str] = "auto",
        dtype: str | Auto = "auto",
        *,
        batch_size: int | Auto = "auto",
        workers: int | Auto = "auto",
        compile: bool = False,
        backend: str = TORCH,
    ) -> None:
        require_backend(backend)
        elsewhere = backend != TORCH
        self.devices = _devices("cpu" if elsewhere and device == "auto" else device)
        self.device = self.devices[0]
        self.dtype = _dtype("float32") if elsewhere and dtype == "auto" else self._choose_dtype(dtype)
        self.exact = (
            elsewhere or dtype != "auto"
        )  # whether every encoder gets this dtype, whatever becomes of its vectors
        on_cpu = self.device.type == "cpu"
        automatic = (_CPU_BATCH, _CPU_ELEMENTS) if on_cpu else (_GPU_BATCH, _GPU_ELEMENTS)
        chosen = automatic if batch_size == "auto" else (batch_size, sys.maxsize)
        self.batch_size = require_positive(chosen[0], "batch_size", other='"auto"')
        self.batch_elements = chosen[1]
        self.cores = count_cores().usable  # the most threads that torch's operations take in a call
        self.workers = require_positive(
            self.cores if workers == "auto" else workers, "workers", other='"auto"'
        )
        self.compile, self.backend = compile, backend
        if elsewhere:
            self._require_for_backend()
        options = {"batch_size": batch_size, "workers": workers, "compile": compile, "backend": backend}
        self._asked = (device, dtype), options
        self._process = os.getpid()
        # Each device has a window in work, and all of them together what a single one would have.
        self.window_items = max(self.batch_size, _WINDOW_ITEMS // len(self.devices))
        self.window_bytes = (_CPU_WINDOW if on_cpu else _GPU_WINDOW) // len(self.devices)

    def _choose_dtype(self, asked: str) -> torch.dtype:
        return native_dtype(self.device) if asked == "auto" else _dtype(asked)

    def _require_for_backend(self) -> None:
        """Raise DeviceError or ValueError for what only torch computes."""
        if self.device.type != "cpu":
            raise DeviceError(
                f"backend={self.backend!r} computes on the CPU, and not on device {str(self.device)!r}",
                remedy='leave the backend out, or take device="cpu"',
            )
        if self.dtype != torch.float32 or self.compile:
            asked = "compile=True" if self.compile else f"dtype={str(self.dtype).removeprefix('torch.')!r}"
            raise ValueError(
                f"backend={self.backend!r} computes in float32, without torch's compiler: leave {asked} out"
            )

    def after_fork(self) -> None:
        """Compute on one thread in a process that was forked from the one this runtime was made in.

        torch's other threads didn't come along, and a product on several would wait for them for ever.
        """
        if os.getpid() != self._process:
            self._process = os.getpid()
            torch.set_num_threads(1)
            warnings.warn(
                "this process was forked, so torch computes on one thread here; processes that are started "
                'by "spawn" have all of them',
                RuntimeWarning,
                stacklevel=2,
            )

    @property
    def asked(self) -> dict[str, Any]:
        """The settings as they were asked for, by the names of the arguments, with "auto" among them."""
        (device, dtype), options = self._asked
        return {"device": device, "dtype": dtype, **options}

    @staticmethod
    def with_share(asked: Mapping[str, Any], device: str, cores: int) -> Runtime:
        """Make a runtime of settings that were asked for, on this device, with a share of the cores here."""
        workers = cores if asked["workers"] == "auto" else asked["workers"]
        runtime = Runtime(**{**asked, "device": device, "workers": workers})
        runtime.cores = min(runtime.cores, cores)
        return runtime

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the settings as they were asked for, so that "auto" is chosen again where they arrive."""
        return _as_asked, self._asked

    def __repr__(self) -> str:
        names, dtype = ",".join(map(str, self.devices)), str(self.dtype).removeprefix("torch.")
        return (
            f"Runtime(device={names!r}, dtype={dtype!r}, batch_size={self.batch_size}, "
            f"workers={self.workers}{', compile=True' if self.compile else ''}"
            f"{'' if self.backend == TORCH else f', backend={self.backend!r}'})"
        )


def _as_asked(choices: tuple[Any, ...], options: dict[str, Any]) -> Runtime:
    return Runtime(*choices, **options)


def move(tensors: dict[str, Tensor], device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """Tensors on a device, floating ones in the dtype; integers and masks keep theirs.

    From the CPU to a CUDA device they go by pinned memory, so that the copy doesn't hold up this thread.
    """
    on_cuda = device.type == "cuda"
    return {
        name: (_pin(tensor) if on_cuda else tensor).to(
            device, dtype if tensor.is_floating_point() else tensor.dtype, non_blocking=on_cuda
        )
        for name, tensor in tensors.items()
    }


def _pin(tensor: Tensor) -> Tensor:
    """The tensor in pinned memory, where it can be: a dense one on the CPU, whatever its strides."""
    if tensor.device.type != "cpu" or tensor.layout != torch.strided or tensor.is_pinned():
        return tensor
    return torch.empty_like(tensor, pin_memory=True).copy_(tensor)  # an expanded one can't pin itself


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
    found["cpu"] = (
        f"{_count(count_cores().usable, 'core')}, {torch.backends.cpu.get_cpu_capability()}{_memory()}"
    )
    return found


def reasons(runtime: Runtime) -> dict[str, str]:
    """Explain each setting of a runtime to people, and why "auto" chose it."""
    device, dtype = runtime.device, str(runtime.dtype).removeprefix("torch.")
    others = [name for name in devices() if name != str(device)]
    why = "the device has no instructions of its own for bfloat16"
    if runtime.dtype == torch.bfloat16:
        why = "the device computes with it natively; encoders whose vectors it would turn stay in float32"
    return {
        "device": f"{device}: " + (f"before {', '.join(others)}" if others else "there is no other"),
        "dtype": f"{dtype}: {'as asked for' if runtime.exact else why}",
        "batch_size": f"at most {runtime.batch_size} items; fewer large ones, and half when memory runs out",
        "backend": f"{runtime.backend}: of "
        + ", ".join(f"{name} ({said})" for name, said in describe_backends().items()),
        "workers": f"{_count(runtime.workers, 'thread')} to read and preprocess; this process may use "
        f"{_count(runtime.cores, 'core')}",
    }


def native_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it faster than float32 by instructions of its own, else float32.

    These are CUDA devices from Ampere on, and CPUs with AVX512-BF16 or AMX.
    """
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        known = getattr(torch.cpu, "get_capabilities", dict)  # torch has said so much only since 2.9 or so
        features: dict[str, bool] = known() if device.type == "cpu" else {}
        native = bool(features.get("avx512_bf16") or features.get("amx_bf16"))
    return torch.bfloat16 if native else torch.float32


def _devices(names: str | Sequence[str]) -> tuple[torch.device, ...]:
    found = tuple(_device(name.strip()) for name in (names.split(",") if isinstance(names, str) else names))
    if len({device.type for device in found}) != 1:
        raise ValueError(f"device is {names!r}: make it one device, or several of one kind")
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
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())  # another one may be current later
    return device


def _absent(name: str, present: dict[str, str]) -> DeviceError:
    return DeviceError(
        f"device {name!r} isn't there",
        culprit=f"torch {torch.__version__} sees {', '.join(present)}",
        remedy='use one of these or device="auto"; for CUDA, install a CUDA build of torch and a driver',
    )


def _dtype(name: str) -> torch.dtype:
    if name == "int8":
        raise ValueError('dtype is "int8", which makes another space: mmencode.load(name, dtype="int8")')
    if name not in _DTYPES:
        raise ValueError(f"dtype is {name!r}: make it one of auto, {', '.join(_DTYPES)}")
    return _DTYPES[name]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _memory() -> str:
    try:
        return f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return ""
