"""Items as data URIs, so that a page can show them without any other file."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection as Names
from pathlib import Path

from ...spec import IMAGE
from .sections import Collection

_THUMBNAIL = (320, 240)


def media(collection: Collection, names: Names[str]) -> dict[str, str]:
    """A data URI for each of the named items: images as small JPEGs, sounds as they are."""
    show = _thumbnail if collection.modality == IMAGE else _sound
    return {name: show(item) for name, item in collection.items.items() if name in names}


def _thumbnail(item: Path | bytes) -> str:
    from ...inputs import Limits, reader

    image = reader(IMAGE)(item, Limits())
    image.thumbnail(_THUMBNAIL)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=80)
    return _data_uri("image/jpeg", content.getvalue())


def _sound(item: Path | bytes) -> str:
    return _data_uri("audio/wav", item if isinstance(item, bytes) else item.read_bytes())


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
