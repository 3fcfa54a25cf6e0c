"""Checkpoints of torch.save are checked before torch reads them: tensors only, no larger than the file.

`torch.load(weights_only=True)` runs no code of a checkpoint, but it unpacks compressed entries of any size,
and lets a pickle of some bytes ask for a tensor or a byte array of terabytes.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ..errors import WeightsError
from ..errors.causes import describe_error

_LARGEST = 2**24  # bytes of a pickle: that of a state dict takes about 140 for each tensor
_LEGACY = 4  # pickles before the storages: a magic number, a version, facts about the machine, the object
_TENSORS = re.compile(
    r"collections OrderedDict|argparse Namespace|(builtins|__builtin__) set"
    r"|torch\._utils _rebuild_(tensor|tensor_v2|parameter)|torch\.serialization _get_layout"
    r"|torch (\w+Storage|Size|device|u?int\d+|b?float\d+|bool|complex\d+)"
)
_BY_NAME = ("STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4")
REMEDY = (
    "a local file must be a whole safetensors file or state dict of this architecture, and hold tensors and "
    "no code, as torch.save(model.state_dict(), path) writes it"
)


def require_tensors_only(path: Path) -> set[str]:
    """Raise WeightsError for a file that holds more than tensors, or would unpack to more than its size.

    Returns the globals that its pickle refers to, as "module name". Nothing in it is run or unpacked.
    """
    try:
        names = set(_globals_in_archive(path) if zipfile.is_zipfile(path) else _globals_in_legacy_file(path))
    except WeightsError:
        raise
    except Exception as cause:  # zipfile, struct and pickletools each fail in their own way
        raise WeightsError(
            f"{str(path)!r} can't be read as a checkpoint: {describe_error(cause)}",
            remedy=REMEDY,
        ) from cause
    if strange := sorted(name.replace(" ", ".") for name in names if not _TENSORS.fullmatch(name)):
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        raise WeightsError(
            f"{str(path)!r} holds more than tensors: {', '.join(strange[:3])}{more}",
            remedy=f"code of a checkpoint is never run: {REMEDY}",
        )
    return names


def require_stored(path: Path) -> list[zipfile.ZipInfo]:
    """The entries of a zip archive; WeightsError if it is compressed, or a program (TorchScript)."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if any("/code/" in entry.filename for entry in entries):
        raise WeightsError(
            f"{str(path)!r} is a TorchScript archive, a program with weights",
            remedy="save its tensors, if you trust it: torch.save(torch.jit.load(path).state_dict(), other)",
        )
    total, size = sum(entry.file_size for entry in entries), path.stat().st_size
    if total > size or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise WeightsError(
            f"{str(path)!r} has {size} bytes, and would unpack to {total}",
            remedy="weights aren't compressed: torch.save and numpy.savez write them as they are",
        )
    return entries


def _globals_in_archive(path: Path) -> Iterator[str]:
    entries = require_stored(path)
    names = [entry.filename for entry in entries if entry.filename.endswith("/data.pkl")]
    if len(names) != 1:
        raise WeightsError(f"{str(path)!r} is a zip archive, and no checkpoint of torch", remedy=REMEDY)
    with zipfile.ZipFile(path) as archive, archive.open(names[0]) as file:
        yield from _globals_in_pickle(file)


def _globals_in_legacy_file(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        for _ in range(_LEGACY):
            yield from _globals_in_pickle(file)
            if not file.peek(1):  # a pickle alone, which torch.save didn't write
                return


def _globals_in_pickle(file: IO[bytes]) -> Iterator[str]:
    """Yield the globals that a pickle refers to, without running it."""
    start = file.tell()
    for operation, argument, place in pickletools.genops(file):
        if place is not None and place - start > _LARGEST:
            raise WeightsError(f"its pickle is longer than {_LARGEST} bytes", remedy=REMEDY)
        if operation.name == "GLOBAL":
            yield str(argument)
        elif operation.name in _BY_NAME:
            raise ValueError(f"its pickle uses {operation.name}, which torch.save doesn't write")
