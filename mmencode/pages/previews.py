"""Previews of items for a page: small pictures, recordings and texts, or the reason why there is none."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..inputs import Limits, reader
from ..inputs.source import describe, read_bytes
from ..plugins.spec import AUDIO, IMAGE, TEXT

THUMBNAIL = (320, 240)
SOUND_BYTES = 2**20
PAGE_BYTES = 24 * 2**20

# The formats that browsers play, by the first bytes of the file; a name may lie.
_SOUNDS = {
    "audio/wav": (b"RIFF",),
    "audio/flac": (b"fLaC",),
    "audio/ogg": (b"OggS",),
    "audio/mpeg": (b"ID3", *(bytes((0xFF, second)) for second in (0xE2, 0xE3, 0xF2, 0xF3, 0xFA, 0xFB))),
}


@dataclass(frozen=True, slots=True)
class Preview:
    """The preview of an item: a picture or sound as a data URI, its words, or a `fault` that prevents it."""

    picture: str = ""
    sound: str = ""
    words: str = ""
    fault: str = ""

    @property
    def size(self) -> int:
        """The number of bytes that the preview adds to a page."""
        return len(self.picture) + len(self.sound)


def make_previews(
    items: Iterable[tuple[str, Any]], *, limits: Limits | None = None, most: int = PAGE_BYTES
) -> Iterator[Preview]:
    """Make a preview of each `(modality, item)` in turn; media beyond `most` bytes in all are left out.

    Items are read by mmencode.inputs, within the limits; one that can't be read gives a fault.
    """
    limits = Limits() if limits is None else limits
    size = 0
    for modality, item in items:
        found = make_preview(modality, item, limits)
        if size + found.size > most:
            found = Preview(fault=f"left out: the page holds {most / 2**20:g} MiB of pictures and sounds")
        size += found.size
        yield found


def make_preview(modality: str, item: Any, limits: Limits) -> Preview:
    """Make the preview of one item; sounds over SOUND_BYTES, or that browsers can't play, give a fault."""
    try:
        if modality == IMAGE:
            return Preview(picture=make_thumbnail(item, limits=limits))
        if modality == AUDIO:
            return Preview(sound=embed_sound(item, limits=limits, most=SOUND_BYTES))
    except InputError as error:
        return Preview(fault=error.fact)
    return Preview(words=str(item)) if modality == TEXT else Preview(fault=f"{modality} can't be shown")


def make_thumbnail(
    item: Any, size: tuple[int, int] = THUMBNAIL, *, limits: Limits | None = None, quality: int = 80
) -> str:
    """Shrink an image to fit `size`, as the data URI of a JPEG; InputError when it can't be read."""
    image = reader(IMAGE, least=2 * max(size))(item, Limits() if limits is None else limits)
    image.thumbnail(size)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    return _data_uri("image/jpeg", content.getvalue())


def embed_sound(item: Any, *, limits: Limits | None = None, most: int | None = None) -> str:
    """Embed a recording, unchanged, as a data URI; InputError for other formats and over `most` bytes."""
    content = read_bytes(item, Limits() if limits is None else limits)
    kind = next((kind for kind, starts in _SOUNDS.items() if content.startswith(starts)), "")
    if not kind:
        raise InputError(
            "no player: browsers play wav, flac, ogg and mp3",
            source=describe(item),
            remedy="convert it to one of them",
        )
    if most is not None and len(content) > most:
        raise InputError(
            f"no player: it has {len(content) / 2**20:.1f} MiB, and a page takes {most / 2**20:g}",
            source=describe(item),
            remedy="open the file itself",
        )
    return _data_uri(kind, content)


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
