"""Arrays by name: `.safetensors` and `.npz`. Nothing is ever unpickled, nor unpacked beyond bounds."""

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
from .record import ARRAYS, Array, Record, require_bounded, require_kind

HEADER = 2**25  # bytes of JSON that are read before anything else
_KEYS = ("keys", "key_ends")
_FACTS = "metadata"


def write_safetensors(file: BinaryIO, record: Record) -> None:
    """The arrays as tensors, the facts as metadata."""
    from safetensors.numpy import save

    file.write(save(_with_keys(record), dict(record.facts)))


def read_safetensors(file: BinaryIO, source: str, kind: str) -> Record:
    """What `write_safetensors` wrote; the library takes no more memory than the file has bytes."""
    from safetensors import safe_open

    length = int.from_bytes(file.read(8), "little")
    if length > min(HEADER, size_of(file)):
        raise ValueError(
            f"its header has {length} bytes, of a file of {size_of(file)} and of {HEADER} at most"
        )
    with safe_open(source, framework="numpy") as content:
        facts = require_kind(content.metadata() or {}, kind, source)
        names = [name for name in content.keys() if name in (*ARRAYS, *_KEYS)]  # noqa: SIM118 (no mapping)
        return _without_keys({name: content.get_tensor(name) for name in names}, facts)


def write_npz(file: BinaryIO, record: Record) -> None:
    """The arrays, and the facts as one text."""
    content: dict[str, Any] = {**_with_keys(record), _FACTS: np.array(json.dumps(dict(record.facts)))}
    np.savez(file, **content)


def read_npz(file: BinaryIO, source: str, kind: str) -> Record:
    """What `write_npz` wrote, and only what it says in its directory that it holds."""
    if not zipfile.is_zipfile(file):
        raise ValueError("it is no archive of arrays")
    with zipfile.ZipFile(file) as archive:
        parts = {part.filename.removesuffix(".npy"): part for part in archive.infolist()}
        wanted = {name: part for name, part in parts.items() if name in (*ARRAYS, *_KEYS, _FACTS)}
        require_bounded(sum(part.file_size for part in wanted.values()), size_of(file))
        facts = json.loads(str(_member(archive, wanted.pop(_FACTS)))) if _FACTS in wanted else {}
        facts = require_kind(facts, kind, source)
        return _without_keys({name: _member(archive, part) for name, part in wanted.items()}, facts)


def _member(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> Array:
    """One array of an archive, which must have the size that its header and the directory say."""
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
        content = bytearray(file.read(size))  # which, unlike bytes, makes an array that can be written to
        if len(content) != size or file.read(1):  # at the end, the checksum is compared
            raise ValueError(f"{part.filename} ends early")
    found = np.frombuffer(content, dtype) if size else np.empty(prod(shape), dtype)
    return found.reshape(shape, order="F" if by_columns else "C")


# Keys beside arrays: all their bytes in a row, and where each ends.


def _with_keys(record: Record) -> dict[str, Array]:
    arrays = {name: np.ascontiguousarray(array) for name, array in record.arrays.items()}
    if record.keys is not None:
        encoded = _encoded(record.keys)
        arrays["keys"] = np.frombuffer(b"".join(encoded), np.uint8)
        arrays["key_ends"] = np.cumsum([len(key) for key in encoded], dtype=np.int64)
    return arrays


def _encoded(keys: Sequence[str]) -> list[bytes]:
    """The bytes of keys; file names that are no UTF-8 keep theirs."""
    try:
        return [key.encode("utf-8", "surrogateescape") for key in keys]
    except UnicodeEncodeError as cause:
        raise ValueError(
            f"the key {cause.object!r} isn't Unicode text, nor a file's name: give another key"
        ) from cause


def _without_keys(arrays: Mapping[str, Array], facts: Mapping[str, str]) -> Record:
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
