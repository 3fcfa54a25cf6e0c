"""Where an item's bytes come from: a path, a byte string or a binary file object."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from ..causes import fault_of, words
from ..errors import InputError
from .limits import Limits, raising


def describe(item: Any) -> str:
    """How an item is called in messages: its path, or what kind of object it is."""
    if isinstance(item, (str, os.PathLike)):
        return _shown(os.fspath(item))
    if isinstance(item, (bytes, bytearray, memoryview)):
        return f"{type(item).__name__} of {len(item)} bytes"
    return f"{type(item).__module__}.{type(item).__qualname__} object".removeprefix("builtins.")


def _shown(path: str | bytes) -> str:
    text = os.fsdecode(path).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 200 else f"{text[:200]}... ({len(text)} characters)"


def without_address(cause: Exception) -> str:
    """A decoder's words without the address of our buffer, so that messages are the same every time."""
    return re.sub(r"<[\w.]+ object at \w+>", "it", str(cause))


def is_source(item: Any) -> bool:
    """Whether `read_bytes` takes this item."""
    kinds = (str, os.PathLike, bytes, bytearray, memoryview)
    return isinstance(item, kinds) or callable(getattr(item, "read", None))


def read_bytes(item: Any, limits: Limits) -> bytes:
    """The encoded bytes of a path, byte string or binary file object, never more than `limits.bytes`.

    Raises InputError for what is missing, not a file, empty or too large. A file object is read from where
    it stands and left open.
    """
    source = describe(item)
    if isinstance(item, (str, os.PathLike)):
        content = _read_path(item, source, limits)
    elif isinstance(item, (bytes, bytearray, memoryview)):
        if memoryview(item).nbytes > limits.bytes:
            raise _too_large(source, limits)
        content = bytes(item)
    else:
        content = _read_file(item, source, limits)
    if not content:
        raise InputError("it is empty: 0 bytes", source=source, remedy="leave it out or write it again")
    if len(content) > limits.bytes:
        raise _too_large(source, limits)
    return content


def _read_path(item: str | os.PathLike[str], source: str, limits: Limits) -> bytes:
    if "://" in source:
        raise InputError(
            "a string is a path, and this looks like a URL; mmencode fetches nothing",
            source=source,
            remedy="download it yourself and pass the path or the bytes",
        )
    try:
        path = Path(os.fsdecode(item))
        if not path.exists():
            raise InputError("there is no such file", source=source, remedy="check the path", fault="access")
        if not path.is_file():
            kind = "a directory" if path.is_dir() else "not a regular file"
            raise InputError(f"it is {kind}", source=source, remedy="pass the path of a file")
        if path.stat().st_size > limits.bytes:
            raise _too_large(source, limits)
        with path.open("rb") as file:
            return file.read(limits.bytes + 1)
    except (OSError, ValueError) as cause:
        if isinstance(cause, InputError):
            raise
        raise InputError(
            f"it can't be opened: {words(cause)}",
            source=source,
            remedy="check the path",
            fault=fault_of(cause, "access"),
        ) from cause


def _read_file(item: Any, source: str, limits: Limits) -> bytes:
    try:
        content = item.read(limits.bytes + 1)
    except Exception as cause:
        raise InputError(
            f"reading it failed: {words(cause)}",
            source=source,
            remedy="open it again",
            fault=fault_of(cause, "access"),
        ) from cause
    if not isinstance(content, bytes):
        raise InputError(
            f"its read() gives {type(content).__name__}, not bytes",
            source=source,
            remedy='open the file in binary mode: open(path, "rb")',
        )
    return content


def _too_large(source: str, limits: Limits) -> InputError:
    return InputError(
        f"it has more than {limits.bytes} bytes",
        source=source,
        remedy=raising("bytes"),
        fault="limit",
    )
