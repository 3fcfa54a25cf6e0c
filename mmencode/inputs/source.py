"""Where an item's bytes come from: a path, a byte string or a binary file object."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePath
from typing import Any

from ..causes import fault_of, named, words
from ..errors import InputError
from .limits import Limits, raising

_PATHS = (PurePath, os.DirEntry)


def describe(item: Any) -> str:
    """How an item is called in messages: its path, or what kind of object it is.

    Never raises, and runs none of the item's own code, which may hang.
    """
    kind = type(item)
    if issubclass(kind, (str, *_PATHS)):
        try:
            return _shown(str.__str__(item) if issubclass(kind, str) else os.fspath(item))
        except Exception:  # a subclass has a `__fspath__` of its own
            pass
    if issubclass(kind, (bytes, bytearray, memoryview)):
        return f"{_name(kind)} of {_length(item)} bytes"
    return f"{_name(kind)} object"


def _name(kind: type) -> str:
    """A type's name in full, by what `type` itself knows of it, for a metaclass may know otherwise."""
    name = str(type.__dict__["__qualname__"].__get__(kind))
    module = type.__dict__["__module__"].__get__(kind)
    return f"{module}.{name}" if isinstance(module, str) and module != "builtins" else name


def _length(item: Any) -> int:
    if isinstance(item, memoryview):
        try:
            return item.nbytes
        except ValueError:  # it was released
            return 0
    return bytes.__len__(item) if isinstance(item, bytes) else bytearray.__len__(item)


def as_path(item: Any) -> Any:
    """The path itself of an object that stands for one, so that messages can name it; else the item.

    InputError when the object's own code doesn't give it.
    """
    kind = type(item)
    if issubclass(kind, (str, *_PATHS)) or not hasattr(kind, "__fspath__"):
        return item
    try:
        return os.fspath(item)
    except BaseException as cause:  # somebody else's code
        raise InputError(
            f"its path can't be had: {named(cause)}", source=describe(item), remedy="pass its path as a str"
        ) from cause


def _shown(path: str | bytes) -> str:
    text = os.fsdecode(path).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 200 else f"{text[:200]}... ({len(text)} characters)"


def without_address(cause: Exception) -> str:
    """A decoder's words without the address of our buffer, so that messages are the same every time."""
    return re.sub(r"<[\w.]+ object at \w+>", "it", str(cause))


def is_source(item: Any) -> bool:
    """Whether `read_bytes` takes this item."""
    try:
        kinds = (str, os.PathLike, bytes, bytearray, memoryview)
        return issubclass(type(item), kinds) or callable(getattr(item, "read", None))
    except Exception:  # the object's own code
        return False


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
