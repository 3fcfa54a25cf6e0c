"""Bytes that came as text, in base64 or a data: URI with it, are decoded strictly and within limits."""

from __future__ import annotations

import binascii
import re
from typing import NoReturn

from ..errors import InputError
from .limits import Limits

_PIECE = 2**20  # characters decoded at once, between which other threads run; a multiple of 4
_HEAD = re.compile(
    r"data:([a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126})?"
    r"(?:;[a-z0-9_-]{1,40}=[a-z0-9_.+-]{1,80}){0,4};base64,",
    re.IGNORECASE,
)
_LONGEST = 700  # characters of a head
_ANY = ("", "application/octet-stream")
_KINDS = {  # the media types of a modality, as far as others are surely wrong
    "image": ("image/",),
    "audio": ("audio/", "video/", "application/ogg"),  # recordings come in containers of films, too
    "video": ("video/", "image/", "application/ogg"),
}
_SOURCE = "a data: URI"


def is_data_uri(text: str) -> bool:
    """Whether a text begins as a data: URI does, in letters of any case."""
    return text[:5].lower() == "data:"


def read_data_uri(uri: str, modality: str, limits: Limits, *, source: str = _SOURCE) -> bytes:
    """Decode the bytes that a data: URI holds in base64, at most `limits.bytes`.

    Raises InputError for anything else than `data:[type];base64,...`, for a media type of another modality,
    and for base64 as `read_base64` does. Messages hold nothing of the URI.
    """
    head = _HEAD.match(uri[:_LONGEST])
    if head is None:
        raise InputError(
            "it is no data: URI with base64",
            source=source,
            remedy="write data:image/png;base64, or the like, and the bytes in base64 behind the comma",
        )
    media, kinds = (head[1] or "").lower(), _KINDS.get(modality)
    if kinds is not None and media not in _ANY and not media.startswith(kinds):
        raise InputError(
            f"its media type isn't that of modality {modality!r}",
            source=source,
            remedy=f"say {kinds[0]}..., or ask for the modality that it is of",
        )
    return read_base64(uri, limits, start=head.end(), source=source)


def read_base64(text: str, limits: Limits, *, start: int = 0, source: str = "base64") -> bytes:
    """Decode base64 from a place of a text to its end, at most `limits.bytes`.

    It is RFC 4648's in the standard alphabet: whole groups of four, padded, without white space or line ends,
    and with zeros in unused bits, so that equal bytes are equal texts. Raises InputError for another one, and
    for an empty one.
    """
    count = len(text) - start
    if count * 3 // 4 > limits.bytes + 2:
        raise InputError(
            f"it has more than {limits.bytes} bytes", source=source, remedy="send less", fault="limit"
        )
    if count <= 0:
        raise InputError("it is empty: 0 bytes", source=source, remedy="leave it out or write it again")
    if count % 4:
        _refuse(source)
    pieces = []
    for place in range(start, len(text), _PIECE):
        piece = text[place : place + _PIECE]
        try:
            found = binascii.a2b_base64(piece.encode("ascii"), strict_mode=True)
        except ValueError:
            _refuse(source)
        if place + _PIECE < len(text) and len(found) != _PIECE // 4 * 3:  # padding before the end
            _refuse(source)
        pieces.append(found)
    content = b"".join(pieces)
    tail = content[len(content) // 3 * 3 :]
    if tail and binascii.b2a_base64(tail, newline=False).decode() != text[-4:]:
        _refuse(source)
    if len(content) > limits.bytes:
        raise InputError(
            f"it has more than {limits.bytes} bytes", source=source, remedy="send less", fault="limit"
        )
    return content


def _refuse(source: str) -> NoReturn:
    raise InputError(
        "its base64 isn't valid",
        source=source,
        remedy="encode it by RFC 4648: the standard alphabet, padded with =, without white space",
    ) from None
