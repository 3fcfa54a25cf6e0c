"""Encode photographs and sounds as data URIs, so that the page needs no other file."""

from __future__ import annotations

from collections.abc import Collection as Names

from ...plugins.spec import IMAGE
from .sections import Collection


def media(collection: Collection, names: Names[str]) -> dict[str, str]:
    """Make a data URI of each named item: a small JPEG of an image, the whole file of a sound."""
    from ...pages.previews import embed_sound, make_thumbnail

    show = make_thumbnail if collection.modality == IMAGE else embed_sound
    return {name: show(item) for name, item in collection.items.items() if name in names}
