"""Pillow's readers, and those that other packages bring, each by what it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib import import_module
from io import BytesIO
from types import FunctionType, ModuleType
from typing import Any

from PIL import Image, ImageFile

from ...errors import InputError
from ..limits import Limits, raising

_READERS: Mapping[str, tuple[str, str]] = {
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "WEBP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "PNM": ("PIL.PpmImagePlugin", "PpmImageFile"),
    "PPM": ("PIL.PpmImagePlugin", "PpmImageFile"),
    "AVIF": ("PIL.AvifImagePlugin", "AvifImageFile"),
    "HEIF": ("pillow_heif", "HeifImageFile"),
    "JXL": ("pillow_jxl.JpegXLImagePlugin", "JXLImageFile"),
}
_PACKAGES = {
    "HEIF": ("a HEIC picture", "pip install 'mmencode[heif]'"),
    "JXL": ("a JPEG XL picture", "pip install 'mmencode[jxl]'"),
    "AVIF": ("an AVIF picture", "pip install -U pillow"),
    "WEBP": ("a WebP picture", "pip install -U pillow"),
}
_GUARD = "_decompression_bomb_check"
Guard = Callable[[tuple[int, int]], None]


def opened(kind: str, content: bytes, source: str, limits: Limits) -> ImageFile.ImageFile:
    """The picture, its header read by its own reader: never by PIL.Image.open, whose limits are the user's.

    Raises InputError where the package that has the reader isn't installed, and whatever the reader raises.
    """
    module, name = _READERS[kind]
    try:
        found = import_module(module)
    except ImportError as cause:
        raise _missing(kind, source) from cause
    if not getattr(found, "SUPPORTED", True):  # Pillow, built without the library
        raise _missing(kind, source)
    guard = partial(require_pixels, source=source, limits=limits)
    return _guarded(getattr(found, name), guard)(BytesIO(content))


def require_pixels(size: tuple[int, int], source: str, limits: Limits) -> None:
    """Raise InputError for a picture without pixels, or with more than the limit."""
    width, height = size
    if width * height == 0:
        raise InputError(f"it has no pixels: {width} x {height}", source=source, remedy="leave it out")
    if width * height > limits.pixels:
        raise InputError(
            f"it is {width} x {height}: {width * height} pixels, and the limit is {limits.pixels}",
            source=source,
            remedy=f"scale it down, or {raising('pixels', width * height)}",
            fault="limit",
        )


def _missing(kind: str, source: str) -> InputError:
    what, remedy = _PACKAGES[kind]
    return InputError(
        f"it is {what}, and nothing that is installed reads those",
        source=source,
        remedy=remedy,
        fault="access",
    )


def _guarded(reader: type[ImageFile.ImageFile], guard: Guard) -> type[ImageFile.ImageFile]:
    """The reader with this guard against bombs in place of Pillow's, where it asks that one itself.

    Pillow's knows one limit for the whole process, the user's: their other threads may count on it, so that
    it stays as it is, and what the reader's methods see in place of PIL.Image is a module with our guard.
    """
    methods = {}
    for name in _asking(reader):
        found = vars(reader)[name]
        known = found.__globals__ | {"Image": _Pillow(guard)}
        methods[name] = FunctionType(found.__code__, known, name, found.__defaults__, found.__closure__)
        methods[name].__kwdefaults__ = found.__kwdefaults__
    return type(reader.__name__, (reader,), methods) if methods else reader


@cache
def _asking(reader: type[ImageFile.ImageFile]) -> tuple[str, ...]:
    """The reader's own methods that ask the guard."""
    functions = {name: found for name, found in vars(reader).items() if isinstance(found, FunctionType)}
    return tuple(name for name, found in functions.items() if _GUARD in found.__code__.co_names)


class _Pillow(ModuleType):
    """PIL.Image, but for its guard."""

    def __init__(self, guard: Guard) -> None:
        super().__init__(Image.__name__)
        self._guard = guard

    def __getattr__(self, name: str) -> Any:
        return getattr(Image, name)

    def _decompression_bomb_check(self, size: tuple[int, int], error_only: bool = False) -> None:
        self._guard(size)
