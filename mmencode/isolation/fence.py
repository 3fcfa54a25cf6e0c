"""A fence around torch's settings: those of the caller don't reach an encoder, and aren't changed by it.

Autocast, inference mode, function and dispatch modes and the default device belong to a thread: they are
switched off and restored. The default dtype and the random number generator belong to the process, whose
other threads may be using them: they aren't touched, and the calls that would use them are given an explicit
dtype or generator instead.

Settings of how to compute are the caller's choice and stay in force: deterministic algorithms, the precision
of matrix products, the number of threads up to that of the cores. They change a vector by rounding at most.
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

OURS = "mmencode"  # how the names of mmencode's own threads begin, which draw no random numbers

_HALVES = (torch.float16, torch.bfloat16)
# Functions that return floats by default, that infer a dtype from their values, and that cast by name.
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
    """Compute as if the caller had set nothing in torch; `device` is the type of the device that is used."""
    plain = not (
        torch._C._len_torch_function_stack()
        or torch._C._len_torch_dispatch_stack()
        or torch.is_autocast_enabled("cpu")
        or torch.is_autocast_enabled(device)
        or torch.get_default_dtype() is not torch.float32
    )
    return nullcontext() if plain else _switch_off_settings(device)


@contextmanager
def _switch_off_settings(device: str) -> Iterator[None]:
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
    """Make weights as ordinary tensors, as if the caller had set nothing in torch, nor inference mode."""
    with torch.inference_mode(False), plain_torch():
        yield


def float32_by_default() -> AbstractContextManager[object]:
    """Give float32 to tensors that this thread makes without a dtype, whatever torch's default dtype is."""
    default = torch.get_default_dtype()
    return nullcontext() if default is torch.float32 else _Float32(default)


@contextmanager
def _without_function_modes() -> Iterator[None]:
    """Switch off the function modes of this thread; one is the default device, which is the CPU meanwhile."""
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
    """A mode in which torch gives float32 where it would give the default dtype.

    Code may also look up the default dtype and ask for it by name, as torchvision's `to_tensor` does; so a
    half precision dtype that is the default is replaced by float32 where it is named.
    """

    def __init__(self, default: torch.dtype) -> None:
        super().__init__()
        self._default = default

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call `func`, and call it again with float32 where the result's dtype came from the default."""
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
    """Whether an argument has or is a floating dtype, which the result takes instead of the default."""
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
    """Draw this thread's random numbers from a generator of its own, so that the process's doesn't advance.

    They are the numbers that the process's generator would give, as it is or seeded with `seed`. Other
    threads keep drawing from the process's generator meanwhile. Where the block seeds the process's
    generator (torch.manual_seed), the seed is applied to the block's own generator, and the process's is put
    back, though a thread that draws from it in that moment is disturbed.
    """
    numbers = _OwnNumbers(seed)
    try:
        with numbers:
            yield
    finally:
        numbers.restore()


class _OwnNumbers(TorchFunctionMode):
    """A mode that passes its own generator to calls that would draw from the process's on the CPU."""

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
        """Call `func`, with the mode's generator where it draws on the CPU and names none."""
        kwargs = dict(kwargs or {})
        # transformers puts functions of its own in the place of torch.nn.init's, with the same arguments.
        draws = func in _DRAWS or "generator" in kwargs
        if draws and kwargs.get("generator") is None and self._on_cpu(args, kwargs):
            self._adopt_seed()
            kwargs["generator"] = self._own
        return func(*args, **kwargs)

    def restore(self) -> None:
        """Restore the process's generator, where no thread of the caller's can have advanced it meanwhile."""
        self._adopt_seed()
        alone = not [
            thread
            for thread in threading.enumerate()
            if thread is not threading.current_thread() and not thread.name.startswith(OURS)
        ]
        if alone:
            torch.set_rng_state(self._before)

    def _adopt_seed(self) -> None:
        """Seed this generator in place of the process's, where that was seeded since the last look."""
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
