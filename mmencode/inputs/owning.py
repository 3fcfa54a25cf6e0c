"""Items that are taken ahead of their turn are copied, since an iterator may reuse one buffer for all."""

from __future__ import annotations

import io
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import count, islice
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFile

from ..errors import InputError
from .audio import Waveform
from .pictures import ORIENTATION_TAG
from .source import describe

# Exact types only: a subclass may be mutable.
_NEVER_CHANGE = frozenset(
    (
        *(str, bytes, int, float, complex, bool, type(None), range),
        *(PosixPath, WindowsPath, PurePosixPath, PureWindowsPath),
    )
)
_SOURCES = (list, tuple, deque, range, np.ndarray, np.memmap, torch.Tensor)
_ARRAYS = (np.ndarray, np.memmap)
_TENSORS = (torch.Tensor, torch.nn.Parameter)
_LOADED = ("JPEG", "PNG")  # formats whose decoded pixels are all that encoding needs
_DEPTH = 8
_PARTS = 4096  # parts of one item that are measured
_RECENT = 256
_END = object()


def is_fixed(items: Any) -> bool:
    """Whether the items are all in memory already, so that taking one can't change another."""
    return type(items) in _SOURCES


def own(item: Any) -> tuple[Any, bool]:
    """Return the item, or a copy if somebody else could change it; False beside it if it can't be copied.

    A picture or a file that has no other reference than the caller's argument can't be changed by anybody, so
    it isn't copied. For that the caller must not bind the item to a name: `own(next(source))`.
    """
    if type(item) in _NEVER_CHANGE:
        return item, True
    try:
        if _references(item) <= _UNSHARED and _is_private(item):
            return item, True
        return _copy(item, _DEPTH), True
    except BaseException as cause:  # an item's own code may do anything
        if isinstance(cause, KeyboardInterrupt):
            raise
        return item, False


def own_each(items: Iterable[Any]) -> Iterator[Any]:
    """Yield the items of an iterable, each as it was when it was taken, so that many can be taken ahead.

    Raises InputError for an object that can't be copied and comes a second time: the iterable has changed
    the first by then.
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
        held = [] if owned else list(_find_uncopyable(item, _DEPTH))
        if any(part is other for part in held for other in recent):
            raise InputError(
                "the iterable gives the same object again, and the one before is still to be read",
                source=describe(item),
                remedy="let it give paths, bytes, arrays, or a new object each time",
                index=index,
            )
        recent += held
        yield item


def size_in_bytes(item: Any, depth: int = 3) -> int:
    """The memory that an undecoded item or its parts take: bytes, arrays and tensors; 0 for all others."""
    kind = type(item)
    if kind in (bytes, bytearray):
        return len(item)
    if kind in _ARRAYS or kind in _TENSORS or kind is memoryview:
        try:
            return int(item.nbytes)
        except (RuntimeError, ValueError):  # a sparse tensor can't say, nor a view that was released
            return 0
    if kind is Waveform:
        return size_in_bytes(item.samples)
    parts: Iterable[Any] = item[:_PARTS] if depth and kind in (tuple, list) else ()
    if depth and kind is dict:  # as data sets hold files and recordings
        parts = islice(item.values(), _PARTS)
    return sum(size_in_bytes(part, depth - 1) for part in parts)


class _NotCopyable(Exception):
    """An item is of a type that can't be copied safely."""


def _copy(item: Any, depth: int) -> Any:
    """Copy an item deeply; raise _NotCopyable for any type but the known ones."""
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
    raise _NotCopyable


def _find_uncopyable(item: Any, depth: int) -> Iterator[Any]:
    """Find the objects that keep an item from being copied: itself, or those in it."""
    if depth and type(item) in (list, tuple):
        for part in item:
            yield from _find_uncopyable(part, depth - 1)
        return
    try:
        _copy(item, depth)
    except BaseException as cause:  # an item's own code may do anything
        if isinstance(cause, KeyboardInterrupt):
            raise
        yield item


def _is_plain(image: ImageFile.ImageFile) -> bool:
    """Whether a picture is decoded and upright, so that a copy of its pixels is all that encoding needs."""
    decoded = image.format in _LOADED and not image.tile
    return decoded and image.getexif().get(ORIENTATION_TAG, 1) == 1


def _is_private(item: Any) -> bool:
    """Whether the file that an item reads from can be reached through the item only."""
    if type(item) is io.BytesIO:
        return True
    if type(item) is io.BufferedReader:
        return type(item.raw) is io.FileIO
    return isinstance(item, ImageFile.ImageFile) and bool(getattr(item, "_exclusive_fp", False))


def _references(item: Any) -> int:
    """The reference count of an item, including the callers' own references; huge where Python has none."""
    return sys.getrefcount(item) if hasattr(sys, "getrefcount") else sys.maxsize


def _references_of_argument(item: Any) -> int:
    """The reference count that `own` sees of an item that nothing but its argument refers to."""
    return _references(item)


_UNSHARED = _references_of_argument(object())
