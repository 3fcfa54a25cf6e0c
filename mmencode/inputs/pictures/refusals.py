"""Errors for files that can't be decoded as pictures: what they are instead, and what to do about it."""

from __future__ import annotations

import re

from PIL import Image, ImageFile

from ...errors import InputError
from ...errors.causes import describe_error, fault_of, message_of
from ..signatures import kind_of_bytes, remedy_for
from ..source import without_address

_BY_PILLOW = re.compile(
    "a Windows (icon|cursor)|a macOS icon|a JPEG 2000|a Photoshop|a DDS|a QOI|an SGI|a Sun|an XPM|an IFF"
)


def unknown_format_error(content: bytes, source: str, formats: tuple[str, ...]) -> InputError:
    """The InputError for bytes that no reader recognises."""
    kind = kind_of_bytes(content)
    what = kind or f"nothing known: it begins with {content[:8].hex(' ')}"
    return InputError(
        f"it can't be decoded as an image: it is {what}",
        source=source,
        remedy=_remedy(kind, f"the formats read are {', '.join(formats)}"),
    )


def decoding_error(cause: Exception, source: str, layout: str = "") -> InputError:
    """The InputError for what a decoder raised; `layout` names the file's layout if it is unusual."""
    said = without_address(describe_error(cause))
    remedy = "it may be truncated or damaged: fetch it again"
    if layout:
        said = f"it is {layout}; {said}"
    if layout and isinstance(cause, SyntaxError):
        remedy = "save it as PNG, or with 8 bits a sample, or pass its pixels as an array"
    return InputError(
        f"it can't be decoded as an image: {said}",
        source=source,
        remedy=remedy,
        fault=fault_of(cause, "content"),
    )


def file_closed_error(image: Image.Image, cause: Exception, source: str) -> InputError | None:
    """The InputError for an image whose file was closed before it was decoded; None for other causes."""
    waiting = isinstance(image, ImageFile.ImageFile) and image.tile and image.fp is None
    if not waiting and not (
        isinstance(cause, (ValueError, AttributeError)) and "closed" in message_of(cause)
    ):
        return None
    return InputError(
        "the image was closed before its pixels were read",
        source=source,
        remedy="call its load() while it is open, or pass its path",
        fault="access",
    )


def _remedy(kind: str, otherwise: str) -> str:
    if "recording" in kind:
        return 'encode it as "audio"'
    if "video" in kind or kind.startswith(("an MP4", "an ASF")):
        return "take a frame out of it: ffmpeg -i FILE -frames:v 1 frame.png"
    if kind.startswith(("a PDF", "a PostScript", "an SVG", "a DjVu")):
        return "render it to PNG, and pass that"
    if "raw file" in kind:
        return "develop it to JPEG or TIFF, and pass that"
    if _BY_PILLOW.match(kind):
        return "open it with Pillow, if you trust it, and pass the image: PIL.Image.open(path)"
    return remedy_for(kind, otherwise)
