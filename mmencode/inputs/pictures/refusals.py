"""The words for files that aren't read as pictures: what they are instead, and what to do about it."""

from __future__ import annotations

import re

from PIL import Image, ImageFile

from ...errors import InputError
from ...errors.causes import describe_error, fault_of, message_of
from ..signatures import kind_of_bytes, remedy_for

_BY_PILLOW = re.compile(
    "a Windows (icon|cursor)|a macOS icon|a JPEG 2000|a Photoshop|a DDS|a QOI|an SGI|a Sun|an XPM|an IFF"
)


def unrecognised(content: bytes, source: str, formats: tuple[str, ...]) -> InputError:
    """The error for bytes that no reader knows."""
    kind = kind_of_bytes(content)
    what = kind or f"nothing known: it begins with {content[:8].hex(' ')}"
    return InputError(
        f"it can't be decoded as an image: it is {what}",
        source=source,
        remedy=_remedy(kind, f"the formats read are {', '.join(formats)}"),
    )


def undecodable(cause: Exception, source: str, layout: str = "") -> InputError:
    """The error for what a decoder raised; `layout` says what the file is where that is unusual."""
    # without addresses, so that the message is the same every time
    said = re.sub(r"<[\w.]+ object at \w+>", "it", describe_error(cause))
    remedy = "it may be truncated or damaged: fetch it again"
    if layout:
        said = f"it is {layout}; {said}"
    if layout and isinstance(cause, SyntaxError):
        remedy = "save it anew, as PNG or with 8 bits a sample, or pass its pixels as an array"
    return InputError(
        f"it can't be decoded as an image: {said}",
        source=source,
        remedy=remedy,
        fault=fault_of(cause, "content"),
    )


def closed(image: Image.Image, cause: Exception, source: str) -> InputError | None:
    """The error for an image whose file was closed before its pixels were read; None for other causes."""
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
