"""The files of a folder that are of a modality, by their endings."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping

from ..spec import AUDIO, IMAGE

# Only a folder's files are chosen by their ending; what is named is read as what it is said to be.
ENDINGS: Mapping[str, tuple[str, ...]] = {
    IMAGE: (
        *(".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"),
        *(".mpo", ".ppm", ".pgm", ".pbm", ".pnm"),
    ),
    AUDIO: (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au"),
}


def files(folder: str, endings: tuple[str, ...], note: Callable[[str, str], None]) -> Iterator[str]:
    """A folder's files with these endings in sorted order, hidden ones left out, links followed once.

    `note` is told the path of each folder that can't be listed, and why.
    """
    for root, names in _folders(folder, note):
        chosen = (name for name in names if name.lower().endswith(endings) and not name.startswith("."))
        for name in sorted(chosen):
            yield os.path.join(root, name)


def _folders(top: str, note: Callable[[str, str], None]) -> Iterator[tuple[str, list[str]]]:
    """Each folder from `top` down once, however links lead to it, with its file names."""

    def failed(error: OSError) -> None:
        note(str(error.filename), f"it can't be listed: {error.strerror}")

    seen: set[tuple[int, int]] = set()
    for root, folders, names in os.walk(top, followlinks=True, onerror=failed):
        try:
            state = os.stat(root)
        except OSError as error:  # it went away since it was listed
            failed(error)
            continue
        if (state.st_dev, state.st_ino) in seen:
            folders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield root, names
