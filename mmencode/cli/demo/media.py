"""Items as data URIs, so that a page can show them without any other file."""

from __future__ import annotations

from collections.abc import Collection as Names

from ...plugins.spec import IMAGE
from .sections import Collection


def media(collection: Collection, names: Names[str]) -> dict[str, str]:
    """A data URI for each of the named items: images as small JPEGs, sounds as they are."""
    from ...pages.previews import sound, thumbnail

    show = thumbnail if collection.modality == IMAGE else sound
    return {name: show(item) for name, item in collection.items.items() if name in names}
