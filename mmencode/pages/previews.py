"""Items as a page can hold them: small pictures, players and words, or the reason why there is none."""

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

# What browsers play, by the first bytes of the file: its name says nothing.
_SOUNDS = {
    "audio/wav": (b"RIFF",),
    "audio/flac": (b"fLaC",),
    "audio/ogg": (b"OggS",),
    "audio/mpeg": (b"ID3", *(bytes((0xFF, second)) for second in (0xE2, 0xE3, 0xF2, 0xF3, 0xFA, 0xFB))),
}


@dataclass(frozen=True, slots=True)
class Preview:
    """What shows an item: a picture or a sound as a data URI, words, or why there is nothing to show."""

    picture: str = ""
    sound: str = ""
    words: str = ""
    fault: str = ""

    @property
    def size(self) -> int:
        """How many bytes it adds to a page."""
        return len(self.picture) + len(self.sound)


def previews(
    items: Iterable[tuple[str, Any]], *, limits: Limits | None = None, most: int = PAGE_BYTES
) -> Iterator[Preview]:
    """What shows each `(modality, item)` in turn; beyond `most` bytes of media, that they were left out.

    Items are read by mmencode.inputs, within the limits; those that can't be read are faults.
    """
    limits = Limits() if limits is None else limits
    size = 0
    for modality, item in items:
        found = preview(modality, item, limits)
        if size + found.size > most:
            found = Preview(fault=f"left out: the page holds {most / 2**20:g} MiB of pictures and sounds")
        size += found.size
        yield found


def preview(modality: str, item: Any, limits: Limits) -> Preview:
    """What shows one item; sounds of more than SOUND_BYTES, and those that no browser plays, are faults."""
    try:
        if modality == IMAGE:
            return Preview(picture=thumbnail(item, limits=limits))
        if modality == AUDIO:
            return Preview(sound=sound(item, limits=limits, most=SOUND_BYTES))
    except InputError as error:
        return Preview(fault=error.fact)
    return Preview(words=str(item)) if modality == TEXT else Preview(fault=f"{modality} can't be shown")


def thumbnail(
    item: Any, size: tuple[int, int] = THUMBNAIL, *, limits: Limits | None = None, quality: int = 80
) -> str:
    """An image that fits into `size`, as a data URI of a JPEG; InputError when it can't be read."""
    image = reader(IMAGE, least=2 * max(size))(item, Limits() if limits is None else limits)
    image.thumbnail(size)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    return _data_uri("image/jpeg", content.getvalue())


def sound(item: Any, *, limits: Limits | None = None, most: int | None = None) -> str:
    """A recording as it is, as a data URI; InputError where that can't be, or is over `most` bytes."""
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
