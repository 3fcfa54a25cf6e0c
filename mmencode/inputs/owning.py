"""Items that are drawn ahead, while their source may go on to use the same buffer, frame or file again."""

from __future__ import annotations

import io
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFile

from ..errors import InputError
from .audio import Waveform
from .source import describe

# By their exact types: what a subclass does is its author's business.
_NEVER_CHANGE = frozenset(
    (
        *(str, bytes, int, float, complex, bool, type(None), range),
        *(PosixPath, WindowsPath, PurePosixPath, PureWindowsPath),
    )
)
_SOURCES = (list, tuple, deque, range, np.ndarray, np.memmap, torch.Tensor)
_ARRAYS = (np.ndarray, np.memmap)
_TENSORS = (torch.Tensor, torch.nn.Parameter)
_LOADED = ("JPEG", "PNG")  # pictures whose copies, once they are decoded, are all that they are
_ORIENTATION = 0x0112
_DEPTH = 8
_RECENT = 256
_END = object()


def is_fixed(items: Any) -> bool:
    """Whether the items lie there already, so that drawing one doesn't change another."""
    return type(items) in _SOURCES


def own(item: Any) -> tuple[Any, bool]:
    """The item, or a copy where its source could change it; False when it could and can't be copied.

    A picture or a file that nobody but the caller of this function refers to can't be changed by anybody, so
    that it is read later, by another thread. Whoever calls this mustn't have a name for the item.
    """
    if type(item) in _NEVER_CHANGE:
        return item, True
    try:
        if _holders(item) <= _ALONE and _is_private(item):
            return item, True
        return _copy(item, _DEPTH), True
    except BaseException as cause:  # an item's own code may do anything
        if isinstance(cause, KeyboardInterrupt):
            raise
        return item, False


def kept(items: Iterable[Any]) -> Iterator[Any]:
    """The items of a source of which many are drawn before the first is read, as they were when they came.

    InputError where one comes again that can't be copied, since by then its source has changed it.
    """
    if is_fixed(items):
        yield from items
        return
    recent: deque[Any] = deque(maxlen=_RECENT)
    source = iter(items)
    for index in count():
        item, owned = own(next(source, _END))
        if item is _END:
            return
        if not owned and any(item is other for other in recent):
            raise InputError(
                "the iterable gives the same object again, and the one before is still to be read",
                source=describe(item),
                remedy="let it give paths, bytes, arrays, or a new object each time",
                index=index,
            )
        if not owned:
            recent.append(item)
        yield item


def weight(item: Any) -> int:
    """How many bytes an item holds before it is read, where that is plain to see; else 0."""
    kind = type(item)
    if kind in (bytes, bytearray):
        return len(item)
    if kind in _ARRAYS or kind in _TENSORS or kind is memoryview:
        try:
            return int(item.nbytes)
        except (RuntimeError, ValueError):  # a sparse tensor can't say, nor a view that was released
            return 0
    if kind is Waveform:
        return weight(item.samples)
    return sum(map(weight, item[:2])) if kind is tuple else 0


class _CantCopy(Exception):
    """There is no telling how such an item is copied."""


def _copy(item: Any, depth: int) -> Any:
    """A copy that shares nothing that can change; _CantCopy for whatever isn't known through and through."""
    kind = type(item)
    if kind in _NEVER_CHANGE or issubclass(kind, np.generic):
        return item
    if kind in _ARRAYS and not item.dtype.hasobject:
        return np.array(item)
    if kind in _TENSORS:
        return item.detach().clone()
    if kind in (bytearray, memoryview):
        return bytearray(item)
    if kind is Waveform:
        return Waveform(_copy(item.samples, depth), _copy(item.rate, depth))
    if kind is Image.Image or (isinstance(item, ImageFile.ImageFile) and _is_plain(item)):
        return item.copy()
    if depth and kind in (list, tuple):
        return kind(_copy(part, depth - 1) for part in item)
    if depth and kind is dict:
        return {key: _copy(part, depth - 1) for key, part in item.items()}
    raise _CantCopy


def _is_plain(image: ImageFile.ImageFile) -> bool:
    """Whether a picture from a file is decoded, and nothing of its file matters but the pixels."""
    decoded = image.format in _LOADED and not image.tile
    return decoded and image.getexif().get(_ORIENTATION, 1) == 1


def _is_private(item: Any) -> bool:
    """Whether nobody can get at what this item reads from, but through the item."""
    if type(item) is io.BytesIO:
        return True
    if type(item) is io.BufferedReader:
        return type(item.raw) is io.FileIO
    return isinstance(item, ImageFile.ImageFile) and bool(getattr(item, "_exclusive_fp", False))


def _holders(item: Any) -> int:
    """How many refer to an item, each name on the way here included."""
    return sys.getrefcount(item) if hasattr(sys, "getrefcount") else sys.maxsize


def _with_one_holder(item: Any) -> int:
    """The number of holders that `own` sees of an item that only its caller's call refers to."""
    return _holders(item)


_ALONE = _with_one_holder(object())
