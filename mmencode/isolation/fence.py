"""A fence around torch's settings: what a caller has set doesn't reach an encoder, and stays as it is.

Autocast, inference mode, function and dispatch modes and the default device belong to a thread, so they are
put aside and brought back. The default dtype and the random numbers belong to the process, whose other
threads may be using them, so they are left alone: the calls that would use them are told something else.

Settings of how to compute are the caller's to choose and are heeded: deterministic algorithms, the precision
of products, the number of threads. They move a vector by rounding at most.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import _disable_current_modes

OURS = "mmencode"  # the name of our own threads, which draw no random numbers

_HALVES = (torch.float16, torch.bfloat16)
# What gives floats whatever it is given, what does so for floats, and what is told a dtype by its name.
_FLOATS = frozenset(
    (
        *(torch.empty, torch.zeros, torch.ones, torch.eye, torch.linspace, torch.logspace),
        *(torch.rand, torch.randn, torch.normal, torch.empty_strided),
        *(torch.hann_window, torch.hamming_window, torch.blackman_window, torch.bartlett_window),
        *(torch.kaiser_window, torch.fft.fftfreq, torch.fft.rfftfreq),
    )
)
_INFERRED = frozenset(
    [torch.tensor, torch.as_tensor, torch.asarray, torch.full, torch.arange, torch.scalar_tensor]
)
_CASTS = frozenset([Tensor.to, Tensor.type, Tensor.view, Tensor.double, Tensor.half, Tensor.bfloat16])
_DRAWS = frozenset(
    (
        *(torch.rand, torch.randn, torch.randint, torch.randperm, torch.normal, torch.bernoulli),
        *(torch.multinomial, Tensor.bernoulli, Tensor.multinomial, Tensor.uniform_, Tensor.normal_),
        *(Tensor.random_, Tensor.bernoulli_, Tensor.exponential_, Tensor.cauchy_, Tensor.geometric_),
        *(Tensor.log_normal_, nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_),
    )
)


def plain_torch(device: str = "cpu") -> AbstractContextManager[None]:
    """Compute as in a fresh thread of a process that set nothing; `device` is the type of device used."""
    plain = not (
        torch._C._len_torch_function_stack()
        or torch._C._len_torch_dispatch_stack()
        or torch.is_autocast_enabled("cpu")
        or torch.is_autocast_enabled(device)
        or torch.get_default_dtype() is not torch.float32
    )
    return nullcontext() if plain else _fenced(device)


@contextmanager
def _fenced(device: str) -> Iterator[None]:
    with ExitStack() as stack:
        if torch._C._len_torch_function_stack():
            stack.enter_context(_without_function_modes())
        if torch._C._len_torch_dispatch_stack():
            stack.enter_context(_disable_current_modes())
        for kind in {"cpu", device}:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        stack.enter_context(float32_by_default())
        yield


@contextmanager
def plain_load() -> Iterator[None]:
    """The same where weights are made, which must be ordinary tensors whatever the caller's mode."""
    with torch.inference_mode(False), plain_torch():
        yield


def float32_by_default() -> AbstractContextManager[object]:
    """In this thread, tensors that aren't told their dtype have float32, whatever the default is."""
    default = torch.get_default_dtype()
    return nullcontext() if default is torch.float32 else _Float32(default)


@contextmanager
def _without_function_modes() -> Iterator[None]:
    """Put the modes of this thread aside; the default device is one, and is the CPU meanwhile."""
    theirs = [torch._C._pop_torch_function_stack() for _ in range(torch._C._len_torch_function_stack())]
    torch._C._push_on_torch_function_stack(DeviceContext("cpu"))
    try:
        yield
    finally:
        for _ in range(torch._C._len_torch_function_stack()):
            torch._C._pop_torch_function_stack()
        for mode in reversed(theirs):
            torch._C._push_on_torch_function_stack(mode)


class _Float32(TorchFunctionMode):
    """Gives float32 where torch would give the default dtype.

    A half as the default is also asked for by its name, as in torchvision's `to_tensor`, which looks up what
    the default is; it stands for float32, too.
    """

    def __init__(self, default: torch.dtype) -> None:
        super().__init__()
        self._default = default

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call `func`, and once more where what it gave shows that the default came in."""
        kwargs = dict(kwargs or {})
        if self._default in _HALVES and func in (Tensor.to, Tensor.type):
            args = [torch.float32 if value is self._default else value for value in args]
            kwargs = {k: torch.float32 if value is self._default else value for k, value in kwargs.items()}
        if func in _FLOATS and kwargs.get("dtype") is None:
            if not any(isinstance(value, Tensor) for value in args):
                kwargs["dtype"] = torch.float32
            return func(*args, **kwargs)
        result = func(*args, **kwargs)
        if not isinstance(result, Tensor) or result.dtype is not self._default or func in _CASTS:
            return result
        if any(_says_dtype(value) for value in (*args, *kwargs.values())):
            return result
        if func in _INFERRED:
            return func(*args, **kwargs | {"dtype": torch.float32})
        result = func(*map(_as_float, args), **{name: _as_float(value) for name, value in kwargs.items()})
        return result.float()


def _says_dtype(value: Any) -> bool:
    """Whether an argument brings a dtype of floats along, so that the default has no say."""
    if isinstance(value, list | tuple):
        return any(map(_says_dtype, value))
    if isinstance(value, Tensor):
        return value.is_floating_point() or value.is_complex()
    return isinstance(value, torch.dtype) or hasattr(value, "dtype")


def _as_float(value: Any) -> Any:
    whole = isinstance(value, Tensor) and value.dtype is not torch.bool
    return value.float() if whole else value


@contextmanager
def own_numbers(seed: int | None = None) -> Iterator[None]:
    """Let what is built in this thread draw its numbers apart: the process's generator doesn't move.

    They are the numbers that the process's generator would give, as it is or seeded with `seed`. Other
    threads go on drawing meanwhile, none of them any number twice. Where the builder seeds that generator,
    which disturbs whoever draws from it in that moment, its seed is taken over, and undone.
    """
    numbers = _OwnNumbers(seed)
    try:
        with numbers:
            yield
    finally:
        numbers.settle()


class _OwnNumbers(TorchFunctionMode):
    """Names a generator to all that would draw from the process's."""

    def __init__(self, seed: int | None) -> None:
        super().__init__()
        self._before = self._theirs = torch.get_rng_state()
        self._own = torch.Generator()
        self._own.set_state(self._before)
        if seed is not None:
            self._own.manual_seed(seed)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call `func`, with our generator where it draws on a CPU and names none."""
        kwargs = dict(kwargs or {})
        # transformers puts functions of its own in the place of torch.nn.init's, with the same arguments.
        draws = func in _DRAWS or "generator" in kwargs
        if draws and kwargs.get("generator") is None and self._on_cpu(args, kwargs):
            self._heed_seed()
            kwargs["generator"] = self._own
        return func(*args, **kwargs)

    def settle(self) -> None:
        """Put the process's generator back where nobody but what was built here can have moved it."""
        self._heed_seed()
        alone = not [
            thread
            for thread in threading.enumerate()
            if thread is not threading.current_thread() and not thread.name.startswith(OURS)
        ]
        if alone:
            torch.set_rng_state(self._before)

    def _heed_seed(self) -> None:
        """Where the process's generator was seeded since we looked, by what is built: seed ours instead."""
        now = torch.get_rng_state()
        if torch.equal(now, self._theirs):
            return
        if torch.equal(now, torch.Generator().manual_seed(torch.initial_seed()).get_state()):
            self._own.set_state(now)
            torch.set_rng_state(self._theirs)
        else:
            self._theirs = now

    def _on_cpu(self, args: Any, kwargs: Any) -> bool:
        if any(isinstance(value, torch.Generator) for value in args):
            return False
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        device = kwargs.get("device") or (tensors[0].device if tensors else torch.empty(0).device)
        return torch.device(device).type in ("cpu", "meta")
