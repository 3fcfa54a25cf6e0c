"""Previews of items for a page: small pictures, recordings and texts, or the reason why there is none."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import EncoderError, InputError, NameClashError
from ..errors.causes import message_of
from ..inputs import Limits
from ..inputs.showing import is_late, show_item, shows
from ..inputs.source import describe
from ..plugins.spec import AUDIO, IMAGE

THUMBNAIL = (320, 240)
TALL = (320, 427)  # of what is higher than wide, such as the page of a document
SOUND_BYTES = 2**20
PAGE_BYTES = 24 * 2**20

_FAULTS = (InputError, NameClashError, EncoderError)  # the last for a target that isn't there

# The formats that browsers play, by the first bytes of the file; a name may lie.
_SOUNDS = {
    "audio/wav": (b"RIFF",),
    "audio/flac": (b"fLaC",),
    "audio/ogg": (b"OggS",),
    "audio/mpeg": (b"ID3", *(bytes((0xFF, second)) for second in (0xE2, 0xE3, 0xF2, 0xF3, 0xFA, 0xFB))),
}


@dataclass(frozen=True, slots=True)
class Preview:
    """The preview of an item: a picture or sound as a data URI, its words, or a `fault` that prevents it.

    tall   whether the picture is higher than wide
    """

    picture: str = ""
    tall: bool = False
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

    Items are read by mmencode.inputs, within the limits; one that can't be read gives a fault. Where a plugin
    takes longer than `limits.wait` for one, it isn't asked about others of that modality.
    """
    limits = Limits() if limits is None else limits
    size = 0
    slow: dict[str, str] = {}
    for modality, item in items:
        try:
            found = Preview(fault=slow[modality]) if modality in slow else _preview(modality, item, limits)
        except _FAULTS as error:
            found = Preview(fault=error.fact)
            if is_late(error):
                slow[modality] = error.fact
        if size + found.size > most:
            found = Preview(fault=f"left out: the page holds {most / 2**20:g} MiB of pictures and sounds")
        size += found.size
        yield found


def make_preview(modality: str, item: Any, limits: Limits) -> Preview:
    """Make the preview of one item, as its modality is shown; what prevents one gives a fault.

    That is an item that can't be read, and a sound over SOUND_BYTES or that browsers can't play.
    """
    try:
        return _preview(modality, item, limits)
    except _FAULTS as error:
        return Preview(fault=error.fact)


def _preview(modality: str, item: Any, limits: Limits) -> Preview:
    how = shows(modality)
    if how == "picture":
        shown = show_item(modality, item, limits, least=2 * max(TALL))
        tall = shown.height > shown.width
        return Preview(picture=_shrink(shown, TALL if tall else THUMBNAIL, 80, item), tall=tall)
    if how == "sound":
        return Preview(sound=embed_sound(item, limits=limits, most=SOUND_BYTES, modality=modality))
    return Preview(words=show_item(modality, item, limits))


def make_thumbnail(
    item: Any,
    size: tuple[int, int] = THUMBNAIL,
    *,
    limits: Limits | None = None,
    quality: int = 80,
    modality: str = IMAGE,
) -> str:
    """Shrink the picture that is shown of an item to fit `size`, as the data URI of a JPEG.

    Raises InputError when it can't be read.
    """
    shown = show_item(modality, item, Limits() if limits is None else limits, least=2 * max(size))
    return _shrink(shown, size, quality, item)


def _shrink(shown: Any, size: tuple[int, int], quality: int, item: Any) -> str:
    """Shrink a picture in place to fit a size, as the data URI of a JPEG."""
    try:
        shown.thumbnail(size)
        content = io.BytesIO()
        shown.save(content, "JPEG", quality=quality)
    except (OSError, ValueError) as cause:  # a picture that a plugin gave, of no pixels say
        raise InputError(
            f"no thumbnail: {message_of(cause)}", source=describe(item), remedy="open the file itself"
        ) from cause
    return _data_uri("image/jpeg", content.getvalue())


def embed_sound(
    item: Any, *, limits: Limits | None = None, most: int | None = None, modality: str = AUDIO
) -> str:
    """Embed the recording that is heard of an item, unchanged, as a data URI.

    Raises InputError for formats that browsers don't play, and over `most` bytes.
    """
    content = show_item(modality, item, Limits() if limits is None else limits)
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
