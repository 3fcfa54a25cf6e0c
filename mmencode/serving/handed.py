"""Items that a client hands over: words, the name of a file below allowed folders, or a data: URI."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..errors import InputError, MmencodeError
from ..inputs import Limits, split_part
from ..inputs.data_uris import is_data_uri, read_data_uri
from ..inputs.parts import name_part
from ..plugins.modalities import find_modality

_LONGEST = 80  # characters of a media type


class Folders:
    """Folders whose files clients may name; links are resolved first, so that none leads out of them."""

    roots: tuple[str, ...]

    def __init__(self, folders: Iterable[str | os.PathLike[str]] = ()) -> None:
        """Take the folders that are allowed now; MmencodeError for what is no folder."""
        self.roots = tuple(os.path.realpath(os.fsdecode(folder)) for folder in folders)
        for root in self.roots:
            if not os.path.isdir(root):
                raise MmencodeError(f"there is no folder {root}", remedy="name one that is there")

    def resolve(self, modality: str, name: str) -> str:
        """Resolve the name of a file, with a part such as #page=3, below an allowed folder.

        Raises InputError for any other file, whether it is there or not.
        """
        path, number = split_part(modality, name)
        try:
            real = os.path.realpath(path)
            allowed = any(os.path.commonpath((root, real)) == root for root in self.roots)
        except ValueError:  # a null byte, or another drive of Windows
            allowed = False
        if not allowed or not os.path.isfile(real):
            among = ", ".join(self.roots) or "none"
            raise InputError(
                "it is no file below a folder that the owner of this server allows",
                source="a file",
                remedy=f"name a file below one of the allowed folders ({among}), or pass a data URI",
                fault="access",
            )
        spec = find_modality(modality)
        return real if number is None or spec is None else name_part(spec, real, number)


@dataclass(frozen=True, slots=True)
class Handed:
    """An item with its modality, as `Space.encode` takes it."""

    modality: str
    item: Any


def take_item(
    *, text: str, file: str, address: str, modality: str, folders: Folders, limits: Limits
) -> Handed:
    """Take the one item that is given: words, the name of a file, or a data URI.

    Words are of modality text unless another one is named whose items are words, such as molecule. The
    modality of a data URI may be left out where it is the main type of its media type. Raises InputError.
    """
    if text:
        modality = modality or "text"
        _require_kind(modality, inline=True)
        return Handed(modality, text)
    if file:
        if not modality:
            raise InputError(
                "a file needs its modality", source="a file", remedy="pass the modality, such as image"
            )
        _require_kind(modality, inline=False)
        return Handed(modality, folders.resolve(modality, file))
    if is_data_uri(address):
        modality = modality or address[len("data:") : _LONGEST].partition("/")[0].lower()
        _require_kind(modality, inline=False, source="a data: URI")
    return Handed(modality, read_data_uri(address, modality, limits))


def _require_kind(modality: str, *, inline: bool, source: str = "an item") -> None:
    """Raise InputError where a modality's items aren't words, or are nothing else."""
    spec = find_modality(modality)
    if spec is not None and spec.inline == inline:
        return
    if spec is None:
        fact, remedy = (
            "its modality isn't known here",
            "pass the modality of the item, such as image or audio",
        )
    elif inline:
        fact, remedy = f"an item of {modality} is no text", "pass a file or a data URI"
    else:
        fact, remedy = f"an item of {modality} is a text", "pass it as text"
    raise InputError(fact, source=source, remedy=remedy)
