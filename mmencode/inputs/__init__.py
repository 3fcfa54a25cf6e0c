"""Raw items become safe values here and nowhere else: str, RGB `PIL.Image`, or `Waveform`.

The modality is always said by the caller; nothing is guessed from endings, and a string is never a URL.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..plugins.spec import AUDIO, IMAGE, TEXT
from . import audio, image, text
from .limits import Limits
from .source import as_path
from .waveform import Waveform

__all__ = ["Limits", "Waveform", "reader"]

Reader = Callable[[Any, Limits], Any]


def reader(modality: str, least: int = 0) -> Reader:
    """The function that makes a safe value of an item of this modality.

    Items of a modality that a plugin declares are passed on as they are. With `least`, a JPEG may be decoded
    at a reduced scale, as long as its shorter side keeps that many pixels.
    """
    if modality == TEXT:
        return text.read
    if modality == IMAGE:
        return partial(_read_media, partial(image.read, least=least) if least else image.read)
    if modality == AUDIO:
        return partial(_read_media, audio.read)
    return _pass_on


def _read_media(read: Reader, item: Any, limits: Limits) -> Any:
    """Read an item, which may be an `os.PathLike` object of any class."""
    return read(as_path(item), limits)


def _pass_on(item: Any, limits: Limits) -> Any:
    return item
