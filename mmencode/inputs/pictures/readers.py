"""Readers of picture formats: Pillow's own and those of other packages, opened under our limit on pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib import import_module
from io import BytesIO
from types import FunctionType, ModuleType
from typing import Any

from PIL import Image, ImageFile

from ...errors import InputError
from ..limits import Limits, limit_remedy

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
_BOMB_CHECK = "_decompression_bomb_check"
SizeCheck = Callable[[tuple[int, int]], None]


def open_picture(kind: str, content: bytes, source: str, limits: Limits) -> ImageFile.ImageFile:
    """Open a picture, not decoded yet, by the reader of its format.

    PIL.Image.open isn't used: its limit on pixels is the user's own. Raises InputError where the package with
    the reader isn't installed, and whatever the reader raises.
    """
    module, name = _READERS[kind]
    try:
        found = import_module(module)
    except ImportError as cause:
        raise _missing_error(kind, source) from cause
    if not getattr(found, "SUPPORTED", True):  # Pillow, built without the library
        raise _missing_error(kind, source)
    check = partial(require_pixels, source=source, limits=limits)
    return _with_size_check(getattr(found, name), check)(BytesIO(content))


def require_pixels(size: tuple[int, int], source: str, limits: Limits) -> None:
    """Raise InputError for a picture without pixels, or with more than `limits.pixels`."""
    width, height = size
    if width * height == 0:
        raise InputError(f"it has no pixels: {width} x {height}", source=source, remedy="leave it out")
    if width * height > limits.pixels:
        raise InputError(
            f"it is {width} x {height}: {width * height} pixels, and the limit is {limits.pixels}",
            source=source,
            remedy=f"scale it down, or {limit_remedy('pixels', width * height)}",
            fault="limit",
        )


def _missing_error(kind: str, source: str) -> InputError:
    what, remedy = _PACKAGES[kind]
    return InputError(
        f"it is {what}, and no installed package reads that format",
        source=source,
        remedy=remedy,
        fault="access",
    )


def _with_size_check(reader: type[ImageFile.ImageFile], check: SizeCheck) -> type[ImageFile.ImageFile]:
    """Make a subclass of a reader whose own calls of Pillow's decompression-bomb check call ours instead.

    Pillow has one limit for the whole process, PIL.Image.MAX_IMAGE_PIXELS. It is the user's, and their other
    threads may rely on it, so it isn't changed. Instead those methods of the reader that call the check are
    copied with other globals, in which `Image` is a proxy of PIL.Image with our check.
    """
    methods = {}
    for name in _methods_that_check(reader):
        found = vars(reader)[name]
        known = found.__globals__ | {"Image": _ImageModule(check)}
        methods[name] = FunctionType(found.__code__, known, name, found.__defaults__, found.__closure__)
        methods[name].__kwdefaults__ = found.__kwdefaults__
    return type(reader.__name__, (reader,), methods) if methods else reader


@cache
def _methods_that_check(reader: type[ImageFile.ImageFile]) -> tuple[str, ...]:
    """The names of a reader's own methods that call Pillow's decompression-bomb check."""
    functions = {name: found for name, found in vars(reader).items() if isinstance(found, FunctionType)}
    return tuple(name for name, found in functions.items() if _BOMB_CHECK in found.__code__.co_names)


class _ImageModule(ModuleType):
    """A proxy of the module PIL.Image with another decompression-bomb check."""

    def __init__(self, check: SizeCheck) -> None:
        super().__init__(Image.__name__)
        self._check = check

    def __getattr__(self, name: str) -> Any:
        return getattr(Image, name)

    def _decompression_bomb_check(self, size: tuple[int, int], error_only: bool = False) -> None:
        self._check(size)
