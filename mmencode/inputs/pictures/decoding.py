"""From the bytes of a file to an image: its header first, then what that asks for, then its pixels."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from PIL import Image, ImageFile

from ...errors import InputError
from ..gate import common_gate
from ..limits import PIXELS, Limits, raising
from . import boxes, jpeg, jxl, netpbm, png, tiff, webp
from .header import Header, Parser
from .orientation import orientation_of, upright
from .plugins import opened, require_pixels
from .refusals import undecodable, unrecognised
from .samples import rgb

# What people keep photographs in. Left out on purpose: formats whose readers start other programs (EPS) or
# that nobody has looked at in years. The first bytes choose the reader, never a file's ending.
FORMATS = ("JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "Netpbm", "AVIF", "HEIC", "JPEG XL")

_STARTS: Mapping[str, re.Pattern[bytes]] = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "WEBP": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
    "GIF": re.compile(rb"GIF8[79]a"),
    "BMP": re.compile(rb"BM"),
    "TIFF": re.compile(rb"II\*\0|MM\0\*|MM\*\0|II\0\*|MM\0\+|II\+\0"),
    "PNM": netpbm.START,
    "PPM": re.compile(rb"P[0yfF]"),
    "JXL": re.compile(re.escape(jxl.BARE) + b"|" + re.escape(jxl.BOXED)),
}
_PARSERS: Mapping[str, Parser] = {
    "JPEG": jpeg.header,
    "PNG": png.header,
    "WEBP": webp.header,
    "TIFF": tiff.header,
    "PNM": netpbm.header,
    "AVIF": boxes.header,
    "HEIF": boxes.header,
    "JXL": jxl.header,
}
_EAGER = ("WEBP", "JXL", "PNM")  # which cost memory, or all their work, as soon as they are opened
_KNOWN = (*_EAGER, "AVIF", "HEIF")  # whose size is checked before they are opened
_WITH_METADATA = ("WEBP", "AVIF")  # whose readers say which way up their pictures are

_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}  # of a pixel; 4 for others
_LINE = 24  # bytes that Pillow takes for each line, however short, with those of an image made of it
# Bytes a pixel besides: of a decoder in Python, and of what Pillow keeps to put in a frame's place.
_BESIDES = {"bmp_rle": 3, "gif": 1}
_SLOW = 16  # times fewer pixels may be in a BMP in run lengths, which Pillow undoes in Python
# No coding of photographs takes less than a byte for so many pixels. What does is flat, or made to cost
# much, and may take only such a part of what others may; but who raises the limit on pixels trusts them.
_SPARSE, _PART = 250, 8
_PASSES = 20  # over as many pixels as the largest picture may have


def decode(content: bytes, source: str, limits: Limits, least: int = 0) -> Image.Image:
    """An upright RGB image of the file's first picture; InputError for what is none, or would take too much.

    With `least`, a JPEG may be decoded at a half, a quarter or an eighth, its shorter side no smaller.
    """
    kind = _kind(content)
    if not kind:
        raise unrecognised(content, source, FORMATS)
    header = Header(content=content)
    try:
        header = _header(kind, content)
        return _decoded(kind, header, len(content), source, limits, least)
    except InputError:
        raise
    except Exception as cause:  # whatever a decoder raises at untrusted bytes, the item is at fault
        raise undecodable(cause, source, header.layout) from cause


def _decoded(kind: str, header: Header, length: int, source: str, limits: Limits, least: int) -> Image.Image:
    if kind in _KNOWN:
        need = _need(header, None, length, source, limits)
    if kind in _EAGER:
        with common_gate.holding(need, limits.wait, source):
            content = header.unpack(header.content) if header.unpack else header.content
            image = opened(kind, content, source, limits)
            require_pixels(image.size, source, limits)  # whatever the header said
            return _pixels(image, kind, header, source, limits)
    image = opened(kind, header.content, source, limits)
    require_pixels(image.size, source, limits)
    if least and kind == "JPEG":
        shrink = min(image.size) / least
        image.draft(None, (int(image.width / shrink), int(image.height / shrink)))
    need = _need(header, image, length, source, limits)
    with common_gate.holding(need, limits.wait, source):
        return _pixels(image, kind, header, source, limits)


def require_header(image: Image.Image, source: str, limits: Limits) -> None:
    """Raise InputError where an image that Pillow has opened, and not loaded yet, would take too much.

    Its file is read again, from its start; where it can't be, the image's size and mode have to do.
    """
    if not isinstance(image, ImageFile.ImageFile) or not (image.tile or image.format == "WEBP"):
        return
    try:
        if image.tell():  # the header is that of the first picture
            return
        file: Any = image.fp
        place = file.tell()
        file.seek(0)
        content = file.read(limits.bytes + 1)
        file.seek(place)
        kind = _kind(content)
        header = _header(kind, content)
    except Exception:  # somebody else's file object, and what a parser makes of damaged bytes
        return
    _need(header, image, len(content), source, limits)


def memory_of(size: tuple[int, int], mode: str, turned: bool = False) -> int:
    """About how many bytes a decoded image takes while it is turned upright and becomes RGB."""
    each = _BYTES.get(mode, 4)
    most = max(each * (2 if turned else 1), each + (0 if mode == "RGB" else 4))
    return size[0] * size[1] * most + _LINE * max(size)


def _kind(content: bytes) -> str:
    return next((kind for kind, start in _STARTS.items() if start.match(content)), "") or boxes.kind(content)


def _header(kind: str, content: bytes) -> Header:
    try:
        return _PARSERS[kind](content) if kind in _PARSERS else Header(content=content)
    except (struct.error, IndexError) as cause:
        raise ValueError("its header is damaged") from cause


def _need(header: Header, image: ImageFile.ImageFile | None, length: int, source: str, limits: Limits) -> int:
    """About how many bytes decoding takes, from the header alone; InputError when that is too much.

    `image` is None as long as it isn't opened, which some readers spend much on; `length` is the file's.
    """
    size, mode = (header.size, "RGBA") if image is None else (image.size, image.mode)
    pixels = size[0] * size[1]
    coded = max(header.coded, pixels)
    if image is None and not coded:
        raise ValueError("its size can't be read")
    if image is not None or pixels:
        require_pixels(size, source, limits)
    _require_scans(header, source, limits)
    decoder = image.tile[0][0] if image is not None and image.tile else ""
    _require_fast(decoder, pixels, source, limits)
    each = _BYTES.get(mode, 4) + _BESIDES.get(decoder, 0)
    need = header.fixed + header.each * coded + each * pixels + _LINE * size[1]
    need = max(need, memory_of(size, mode, header.orientation != 1))
    part = _PART if coded > _SPARSE * length and limits.pixels <= PIXELS else 1
    if need > limits.memory // part:
        why = f": a file of {length} bytes for {coded} pixels may take 1/{part} of Limits.memory" * (part > 1)
        raise InputError(
            f"decoding it takes about {need} bytes of memory, and the limit is {limits.memory // part}{why}",
            source=source,
            remedy=f"scale it down, or {raising('memory', need * part)}",
            fault="limit",
        )
    return need


def _require_scans(header: Header, source: str, limits: Limits) -> None:
    """Raise InputError where decoding would go over the picture too often."""
    if header.scans > limits.scans:
        raise InputError(
            f"it is a JPEG of {header.scans} scans, passes over the picture; the limit is {limits.scans}",
            source=source,
            remedy=f"save it anew without them, or {raising('scans', header.scans)}",
            fault="limit",
        )
    passed = header.scans * header.size[0] * header.size[1]
    if header.scans > 1 and passed > _PASSES * limits.pixels:
        raise InputError(
            f"it is a JPEG of {header.scans} scans, passes over {passed} pixels in all; the limit is "
            f"{_PASSES * limits.pixels}, {_PASSES} times Limits.pixels",
            source=source,
            remedy=f"save it anew without them, or {raising('pixels', -(-passed // _PASSES))}",
            fault="limit",
        )


def _require_fast(decoder: str, pixels: int, source: str, limits: Limits) -> None:
    if decoder == "bmp_rle" and pixels > limits.pixels // _SLOW:
        raise InputError(
            f"it is a BMP in run lengths, which are undone slowly, of {pixels} pixels; the limit is "
            f"{limits.pixels // _SLOW}, 1/{_SLOW} of Limits.pixels",
            source=source,
            remedy=f"save it anew, as PNG, or {raising('pixels', pixels * _SLOW)}",
            fault="limit",
        )


def _pixels(
    image: ImageFile.ImageFile, kind: str, header: Header, source: str, limits: Limits
) -> Image.Image:
    image.load()
    orientation = header.orientation
    if kind in _WITH_METADATA or getattr(image, "jpeg", False):  # a JPEG inside of a JPEG XL
        exif, xmp = image.info.get("exif"), image.info.get("xmp")
        orientation = orientation_of(*(found if isinstance(found, bytes) else b"" for found in (exif, xmp)))
    samples = header.samples if header.samples.top else replace(header.samples, top=65535.0)
    low = None if samples.key is None else _lower_bytes(kind, header, source, limits)
    turned = upright(image, orientation)
    return rgb(turned, samples, low and upright(low, orientation))


def _lower_bytes(kind: str, header: Header, source: str, limits: Limits) -> Image.Image:
    """The colours' lower eight bits of sixteen: what Pillow takes for the upper ones in the other order."""
    image = opened(kind, header.content, source, limits)
    image.tile = [(*tile[:3], "RGB;16L") for tile in image.tile]  # type: ignore[misc]
    image.load()
    return image
