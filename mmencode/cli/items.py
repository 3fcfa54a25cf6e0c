"""From what stands on the command line to the items of a batch: files, folders, texts, lists of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import typer

from ..errors import InputError, MmencodeError
from ..spec import AUDIO, IMAGE, TEXT

# Only a folder's files are chosen by their ending; what is named is read as what it is said to be.
ENDINGS = {
    IMAGE: (
        *(".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"),
        *(".mpo", ".ppm", ".pgm", ".pbm", ".pnm"),
    ),
    AUDIO: (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au"),
}


@dataclass(slots=True)
class Items:
    """The items of a batch, and the folders that couldn't be read."""

    batch: list[str] = field(default_factory=list)
    errors: list[InputError] = field(default_factory=list)


def gather(modality: str, arguments: Sequence[str], list_file: Path | None = None) -> Items:
    """The items that the arguments name: texts as they are, files, and the files of folders.

    `-` is standard input and `list_file` a file, both with one item on each line, blank lines left out.
    Raises MmencodeError when no item is found.
    """
    if not arguments and list_file is None:
        raise typer.BadParameter("name some items, or pass --file, or - for standard input")
    named = [item for argument in arguments for item in (_lines(None) if argument == "-" else [argument])]
    if list_file is not None:
        named += _lines(list_file)
    if not named:
        raise MmencodeError("there are no items: every line is blank", remedy="put one on each line")
    if modality == TEXT:
        return Items(named)
    found = Items()
    for item in named:
        if os.path.isdir(item):
            _walk(modality, item, found)
        else:
            found.batch.append(item)
    if not found.batch and not found.errors:
        raise MmencodeError(
            f"no {modality} files in {', '.join(named)}",
            remedy=f"in folders, these count: {' '.join(_endings(modality))}; name other files one by one",
        )
    return found


def _endings(modality: str) -> tuple[str, ...]:
    if modality not in ENDINGS:
        raise typer.BadParameter(
            f"folders are searched for {' and '.join(ENDINGS)}, not {modality!r}: name the files one by one"
        )
    return ENDINGS[modality]


def _lines(path: Path | None) -> list[str]:
    """The lines that aren't blank of a UTF-8 file, or of standard input."""
    source = "standard input" if path is None else str(path)
    try:
        content = sys.stdin.buffer.read() if path is None else path.read_bytes()
        lines = content.decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as cause:
        raise InputError(
            f"it can't be read: {cause}", source=source, remedy="make it a UTF-8 file"
        ) from cause
    return [line for line in lines if line.strip()]


def _walk(modality: str, folder: str, found: Items) -> None:
    """Add a folder's files in sorted order, hidden ones left out, links followed once."""
    endings = _endings(modality)

    def note(error: OSError) -> None:
        reason = f"it can't be listed: {error.strerror}"
        found.errors.append(InputError(reason, source=str(error.filename), remedy="check its permissions"))

    for root, names in _folders(folder, note):
        chosen = (name for name in names if name.lower().endswith(endings) and not name.startswith("."))
        found.batch += [os.path.join(root, name) for name in sorted(chosen)]


def _folders(top: str, onerror: object) -> Iterator[tuple[str, list[str]]]:
    """Each folder below `top` once, however links lead to it, with its file names."""
    seen: set[tuple[int, int]] = set()
    for root, folders, names in os.walk(top, followlinks=True, onerror=onerror):  # type: ignore[arg-type]
        state = os.stat(root)
        if (state.st_dev, state.st_ino) in seen:
            folders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield root, names
