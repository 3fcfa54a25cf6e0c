"""Make the copy of a network, piece by piece."""

from __future__ import annotations

import copy
import functools
import sys
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ...errors import EncoderError
from ...errors.causes import describe_error
from .kinds import (
    CACHED,
    CONTAINERS,
    MUTABLE,
    REFERENCES,
    attributes,
    blank,
    content,
    is_idle,
    referent,
)
from .reach import Reach

M = TypeVar("M", bound=nn.Module)
T = TypeVar("T")

# The types of containers, subclasses before their bases.
_BASES: tuple[Any, ...] = (tuple, frozenset, OrderedDict, defaultdict, *MUTABLE)


def structural_copy(module: M) -> M:
    """Copy a network into new modules whose parameters share the memory of the original's.

    Changes to the copy (mode, dtype, device, packed layers, gradients) don't reach the original, and the
    weights take no memory twice. Buffers and other tensors are copied, since a forward pass may change them,
    and so are the weights of embeddings with `max_norm`, which a forward pass changes as well. Modules that
    occur in several places, and tied parameters, stay one.

    The values in the attributes of modules are copied with them: lists, dicts and other containers, bound
    methods, hooks, partials, closures, weak references, and objects that hold modules or tensors. Everything
    else is shared: tokenizers, locks, and objects whose class defines how it is copied. A scripted module is
    copied with its weights.

    Raises EncoderError for parameters that are sharded over several processes.
    """
    return _make_whole(_Copy(module), module)


def snapshot(module: M) -> M:
    """Copy a network with its weights, by the rules of `structural_copy`."""
    return _make_whole(_Copy(module, apart=True), module)


def _make_whole(whole: _Copy, module: M) -> M:
    with torch.inference_mode(False), torch.no_grad():
        found: M = whole.new(module)
        whole.fill()
    return found


class _Copy:
    """The copy of one network while it is made: the new object for each old one."""

    def __init__(self, root: nn.Module, *, apart: bool = False) -> None:
        self._reach = Reach(root)
        self._apart = apart
        self._new: dict[int, Any] = {}
        self._unfilled: list[Callable[[], object]] = []
        self._changing = {
            id(value.weight)
            for value in self._reach.values.values()
            if issubclass(type(value), nn.Embedding | nn.EmbeddingBag) and value.max_norm is not None
        }

    def new(self, value: Any) -> Any:
        """The object that replaces a value in the copy; its content may not be filled in yet."""
        key = id(value)
        if key not in self._reach.touched:
            return value
        if key not in self._new:
            self._new[key] = self._make(value)
        return self._new[key]

    def fill(self) -> None:
        """Fill in the content of all objects that were made."""
        while self._unfilled:
            self._unfilled.pop()()

    def _to_fill(self, shell: T, fill: Callable[[], object]) -> T:
        """Return an empty object now and fill it later, so that circles of references end."""
        self._unfilled.append(fill)
        return shell

    def _give(self, shell: Any, held: Mapping[str, Any]) -> None:
        for name, part in held.items():
            object.__setattr__(shell, name, self.new(part))

    def _make(self, value: Any) -> Any:
        kind = type(value)
        if issubclass(kind, Tensor):
            return self._tensor(value)
        if issubclass(kind, nn.Module):
            return self._module(value)
        if issubclass(kind, CONTAINERS):
            return self._container(value)
        if kind in _CALLABLES:
            return _CALLABLES[kind](self, value)
        shell = blank(kind)
        return self._to_fill(shell, lambda: self._give(shell, attributes(value)))

    def _module(self, module: Any) -> Any:
        kind = type(module)
        compiler: Any = sys.modules.get("torch._dynamo.eval_frame")
        if issubclass(kind, torch.jit.ScriptModule):
            return _deep(module)
        if compiler is not None and issubclass(kind, compiler.OptimizedModule):
            inner = self.new(module._orig_mod)
            self.fill()  # since the compiler reads the inner module
            return kind(inner, module.dynamo_ctx)
        shell, held = object.__new__(kind), attributes(module)
        held.pop("_compiled_call_impl", None)  # left by module.compile(), and bound to the original
        held |= {name: part.copy() for name, part in held.items() if is_idle(name, part)}
        return self._to_fill(shell, lambda: self._give(shell, held))

    def _tensor(self, tensor: Tensor) -> Tensor:
        kind = type(tensor)
        if is_lazy(tensor):
            return copy.deepcopy(tensor)  # it has no numbers yet
        if kind.__module__.startswith("torch.distributed"):
            raise EncoderError(
                f"the network has a {kind.__name__}, of which each process holds a part",
                remedy="gather the parameters into an ordinary network, and make the encoder of that",
            )
        if not isinstance(tensor, nn.Parameter):
            return tensor if tensor.is_mkldnn else tensor.detach().clone()
        bare = tensor.detach().clone() if self._apart or id(tensor) in self._changing else tensor.detach()
        trained = tensor.requires_grad and not bare.is_inference()  # on which torch refuses to set it
        if issubclass(kind, nn.Parameter):
            made = Tensor._make_subclass(kind, bare, trained)
        else:  # a tensor of another type that is marked as a parameter
            made = nn.Parameter(bare, trained)
        return self._to_fill(made, lambda: self._give(made, attributes(tensor)))

    def _container(self, value: Any) -> Any:
        kind = type(value)
        base = next(base for base in _BASES if issubclass(kind, base))
        if base in (tuple, frozenset):
            shell = base.__new__(kind, [self.new(part) for part in value])
        else:
            shell = base.__new__(kind)
            self._unfilled.append(lambda: self._pour(base, value, shell))
        if kind is not base:
            self._unfilled.append(lambda: self._give(shell, attributes(value)))
        return shell

    def _pour(self, base: Any, value: Any, shell: Any) -> None:
        """Put the members of a container into its copy by the base class, whatever a subclass overrides."""
        if base is defaultdict:
            shell.default_factory = self.new(value.default_factory)
        if issubclass(base, dict):
            for key, part in base.items(value):
                base.__setitem__(shell, self.new(key), self.new(part))
        elif base is deque:
            deque.__init__(shell, map(self.new, value), value.maxlen)
        else:
            base.__init__(shell, map(self.new, base.__iter__(value)))

    def _function(self, old: types.FunctionType) -> types.FunctionType:
        """A function with the same code over the copy's cells."""
        closure = old.__closure__ and tuple(self.new(cell) for cell in old.__closure__)
        made = types.FunctionType(old.__code__, old.__globals__, old.__name__, None, closure)
        made.__qualname__, made.__module__, made.__doc__ = old.__qualname__, old.__module__, old.__doc__
        made.__annotations__ = old.__annotations__

        def fill() -> None:
            made.__defaults__ = self.new(old.__defaults__)
            made.__kwdefaults__ = self.new(old.__kwdefaults__)
            made.__dict__.update(self.new(old.__dict__))

        return self._to_fill(made, fill)

    def _cell(self, old: types.CellType) -> types.CellType:
        cell = types.CellType()

        def fill() -> None:
            for held in content(old):
                cell.cell_contents = self.new(held)

        return self._to_fill(cell, fill)

    def _partial(self, old: functools.partial[Any]) -> functools.partial[Any]:
        given = [self.new(part) for part in old.args]
        options = {name: self.new(part) for name, part in old.keywords.items()}
        return functools.partial(self.new(old.func), *given, **options)

    def _method(self, old: types.MethodType) -> types.MethodType:
        return types.MethodType(self.new(old.__func__), self.new(old.__self__))

    def _cache(self, old: Any) -> Any:
        """An empty cache with the same parameters."""
        return functools.lru_cache(**old.cache_parameters())(self.new(old.__wrapped__))

    def _reference(self, old: Any) -> Any:
        there = self.new(referent(old))
        return weakref.ref(there) if type(old) is weakref.ref else weakref.proxy(there)


_CALLABLES: dict[Any, Callable[[_Copy, Any], Any]] = {
    types.FunctionType: _Copy._function,
    types.CellType: _Copy._cell,
    types.MethodType: _Copy._method,
    functools.partial: _Copy._partial,
    CACHED: _Copy._cache,
    **dict.fromkeys(REFERENCES, _Copy._reference),
}


def _deep(module: Any) -> Any:
    try:
        return copy.deepcopy(module)
    except Exception as cause:  # torch raises many types where it can't copy
        raise EncoderError(
            f"a {type(module).__name__} can't be copied: {describe_error(cause)}",
            remedy="have the target build the network anew each time, or make the encoder of an eager one",
        ) from cause
