"""Files of named arrays, `.safetensors` and `.npz`; nothing is unpickled, nor unpacked beyond bounds."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from ..._atomic import size_of
from ..array_types import Array
from .record import ARRAY_NAMES, Record, require_bounded, require_kind

HEADER = 2**25  # bytes of JSON that are read before anything else
_KEYS = ("keys", "key_ends")
_FACTS = "metadata"


def write_safetensors(file: BinaryIO, record: Record) -> None:
    """Write the arrays as tensors and the facts as metadata."""
    from safetensors.numpy import save

    file.write(save(_arrays_of(record), dict(record.facts)))


def read_safetensors(file: BinaryIO, source: str, kind: str) -> Record:
    """Read what `write_safetensors` wrote; the library takes no more memory than the file has bytes."""
    from safetensors import safe_open

    length = int.from_bytes(file.read(8), "little")
    if length > min(HEADER, size_of(file)):
        raise ValueError(
            f"its header has {length} bytes, of a file of {size_of(file)} and of {HEADER} at most"
        )
    with safe_open(source, framework="numpy") as content:
        facts = require_kind(content.metadata() or {}, kind, source)
        names = [name for name in content.keys() if name in (*ARRAY_NAMES, *_KEYS)]  # noqa: SIM118 (no mapping)
        return _record_of({name: content.get_tensor(name) for name in names}, facts)


def write_npz(file: BinaryIO, record: Record) -> None:
    """Write the arrays, and the facts as an array of one text."""
    content: dict[str, Any] = {**_arrays_of(record), _FACTS: np.array(json.dumps(dict(record.facts)))}
    np.savez(file, **content)


def read_npz(file: BinaryIO, source: str, kind: str) -> Record:
    """Read what `write_npz` wrote, within the sizes that the archive's directory declares."""
    if not zipfile.is_zipfile(file):
        raise ValueError("it is no archive of arrays")
    with zipfile.ZipFile(file) as archive:
        parts = {part.filename.removesuffix(".npy"): part for part in archive.infolist()}
        wanted = {name: part for name, part in parts.items() if name in (*ARRAY_NAMES, *_KEYS, _FACTS)}
        require_bounded(sum(part.file_size for part in wanted.values()), size_of(file))
        facts = json.loads(str(_read_member(archive, wanted.pop(_FACTS)))) if _FACTS in wanted else {}
        facts = require_kind(facts, kind, source)
        return _record_of({name: _read_member(archive, part) for name, part in wanted.items()}, facts)


def _read_member(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> Array:
    """Read one array of an archive, of just the size that its header and the directory declare."""
    if part.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{part.filename} is compressed in a way that no array is")
    with archive.open(part) as file:
        version = npy.read_magic(file)
        headers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        if version not in headers:
            raise ValueError(f"{part.filename} has the version {version}")
        shape, by_columns, dtype = headers[version](file)
        if dtype.hasobject:
            raise ValueError("Object arrays cannot be loaded when allow_pickle=False")
        size = prod(shape) * dtype.itemsize
        if size != part.file_size - file.tell():
            raise ValueError(f"{part.filename} hasn't the size of an array of {dtype} {list(shape)}")
        content = bytearray(file.read(size))  # an array over bytes would be read-only
        if len(content) != size or file.read(1):  # reading to the end compares the checksum
            raise ValueError(f"{part.filename} ends early")
    found = np.frombuffer(content, dtype) if size else np.empty(prod(shape), dtype)
    return found.reshape(shape, order="F" if by_columns else "C")


# Keys are kept as two arrays: all their bytes in a row, and where each key ends.


def _arrays_of(record: Record) -> dict[str, Array]:
    arrays = {name: np.ascontiguousarray(array) for name, array in record.arrays.items()}
    if record.keys is not None:
        encoded = _encode(record.keys)
        arrays["keys"] = np.frombuffer(b"".join(encoded), np.uint8)
        arrays["key_ends"] = np.cumsum([len(key) for key in encoded], dtype=np.int64)
    return arrays


def _encode(keys: Sequence[str]) -> list[bytes]:
    """Encode keys as UTF-8; names of files that aren't UTF-8 keep their bytes."""
    try:
        return [key.encode("utf-8", "surrogateescape") for key in keys]
    except UnicodeEncodeError as cause:
        raise ValueError(
            f"the key {cause.object!r} is neither Unicode text nor a file's name: give another key"
        ) from cause


def _record_of(arrays: Mapping[str, Array], facts: Mapping[str, str]) -> Record:
    if "keys" not in arrays:
        return Record(arrays, facts)
    found = Record(arrays, facts)
    content = found.array("keys", np.uint8).tobytes()
    bounds = [0, *found.array("key_ends", np.int64).tolist()]
    if bounds != sorted(bounds) or bounds[-1] != len(content):
        raise ValueError("its keys don't end where it says they do")
    keys = [content[start:end] for start, end in pairwise(bounds)]
    return Record(
        {name: array for name, array in arrays.items() if name not in _KEYS},
        facts,
        tuple(key.decode("utf-8", "surrogateescape") for key in keys),
    )
