"""The kinds of value that a network consists of, and the values that each kind holds."""

from __future__ import annotations

import copyreg
import functools
import io
import threading
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Values of these types hold no other values, so that a copy may share them.
ATOMS = frozenset(
    {
        *(type(None), bool, int, float, complex, str, bytes, bytearray, range, slice, type(...), type),
        *(torch.dtype, torch.device, torch.Size, types.ModuleType, types.BuiltinFunctionType),
    }
)
MUTABLE = (list, dict, set, deque)
CONTAINERS = (*MUTABLE, tuple, frozenset)
CACHED = type(functools.lru_cache(len))
_INTERNAL = frozenset(vars(nn.Module()))
_OPAQUE = (nn.Module, Tensor, *CONTAINERS, type, threading.Thread, io.IOBase, BaseException)
REFERENCES = (weakref.ref, *weakref.ProxyTypes)


def parts(value: Any, *, keys: bool = True) -> Iterable[Any]:
    """Every value that a value holds directly; the keys of a dict only with `keys`."""
    kind = type(value)
    if issubclass(kind, CONTAINERS):
        return _members(value, kind, keys)
    if kind is types.MethodType:
        return value.__self__, value.__func__
    if kind is types.FunctionType:
        return *(value.__closure__ or ()), value.__defaults__, value.__kwdefaults__, value.__dict__
    if kind is types.CellType:
        return content(value)
    if kind is functools.partial:
        return value.func, value.args, value.keywords
    if kind is CACHED:
        return (value.__wrapped__,)
    if issubclass(kind, torch.jit.ScriptModule):
        return ()  # its content lies outside of Python
    if issubclass(kind, nn.Module):
        return [part for name, part in attributes(value).items() if not is_idle(name, part)]
    if issubclass(kind, Tensor) or is_object(kind):
        return attributes(value).values()
    return ()


def is_idle(name: str, part: Any) -> bool:
    """Whether an attribute is one of the containers that torch keeps in every module, and is empty."""
    return name in _INTERNAL and type(part) in (dict, OrderedDict, set) and not part


def _members(value: Any, kind: type, keys: bool) -> Iterable[Any]:
    if issubclass(kind, dict):
        held = [*dict.values(value), *(dict.keys(value) if keys else ())]
        held += [value.default_factory] if issubclass(kind, defaultdict) else []
    else:
        held = list(value)
    if ATOMS.issuperset(map(type, held)):  # mostly a vocabulary
        held = []
    return held if kind in CONTAINERS else [*held, *attributes(value).values()]


def content(cell: types.CellType) -> list[Any]:
    """The value in a closure's cell, as a list; an empty one before the variable is bound."""
    try:
        return [cell.cell_contents]
    except ValueError:
        return []


def referent(reference: Any) -> Any:
    """The object that a weak reference or proxy refers to; None when it is gone."""
    try:
        return reference() if type(reference) is weakref.ref else reference.__init__.__self__
    except ReferenceError:
        return None


def attributes(value: Any) -> dict[str, Any]:
    """The attributes of an object, from its dict and its slots."""
    found = dict(getattr(value, "__dict__", {}))
    for name in copyreg._slotnames(type(value)):  # type: ignore[attr-defined]
        try:
            found[name] = object.__getattribute__(value, name)
        except AttributeError:
            continue
    return found


def is_object(kind: type) -> bool:
    """Whether objects of a class are copied attribute by attribute, where they hold modules or tensors.

    Classes that define their own pickling, as loggers do, or a `__del__`, are shared instead.
    """
    if issubclass(kind, _OPAQUE):
        return False
    if kind is types.SimpleNamespace:
        return True
    plain = all(getattr(kind, way) is getattr(object, way) for way in ("__reduce__", "__reduce_ex__"))
    if not plain or hasattr(kind, "__del__"):
        return False
    try:
        blank(kind)
    except TypeError:  # a class of an extension
        return False
    return True


def blank(kind: type) -> Any:
    """Make an object of a class without its attributes, by no code of the class."""
    return types.SimpleNamespace() if kind is types.SimpleNamespace else object.__new__(kind)
