"""Pillow's readers, and those that other packages bring, each by what it reads."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from io import BytesIO
from types import FunctionType, ModuleType
from typing import Any

from PIL import Image, ImageFile

from ...errors import InputError

_READERS: Mapping[str, tuple[str, str]] = {
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "WEBP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
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


def opened(kind: str, content: bytes, source: str) -> ImageFile.ImageFile:
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
    reader: type[ImageFile.ImageFile] = getattr(found, name)
    return _without_guard(reader)(BytesIO(content))


def _missing(kind: str, source: str) -> InputError:
    what, remedy = _PACKAGES[kind]
    return InputError(
        f"it is {what}, and nothing that is installed reads those",
        source=source,
        remedy=remedy,
        fault="access",
    )


def _without_guard(reader: type[ImageFile.ImageFile]) -> type[ImageFile.ImageFile]:
    """The reader without Pillow's guard against bombs, which knows one limit for the whole process.

    Some readers ask that guard themselves. It is the user's: their other threads may count on it, so that
    it stays as it is, and what those readers see instead is a module without it.
    """
    names = _asking(reader)
    if not names:
        return reader
    unguarded = _Unguarded(Image.__name__)
    methods = {}
    for name in names:
        found = vars(reader)[name]
        known = found.__globals__ | {"Image": unguarded}
        methods[name] = FunctionType(found.__code__, known, name, found.__defaults__, found.__closure__)
    return type(reader.__name__, (reader,), methods)


@cache
def _asking(reader: type[ImageFile.ImageFile]) -> tuple[str, ...]:
    """The reader's own methods that ask the guard."""
    functions = {name: found for name, found in vars(reader).items() if isinstance(found, FunctionType)}
    return tuple(name for name, found in functions.items() if _GUARD in found.__code__.co_names)


class _Unguarded(ModuleType):
    """PIL.Image, but for its guard."""

    def __getattr__(self, name: str) -> Any:
        return getattr(Image, name)

    def _decompression_bomb_check(self, *_: Any, **__: Any) -> None:
        """Nothing: the limits are checked before."""
