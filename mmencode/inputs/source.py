"""The encoded bytes of an item are read from its path, byte string or binary file object, within limits."""

from __future__ import annotations

import inspect
import os
import re
import stat
from io import BytesIO, FileIO
from pathlib import PurePath
from typing import Any, BinaryIO

from ..errors import InputError
from ..errors.causes import describe_error, fault_of, message_of
from .limits import Limits, limit_remedy
from .signatures import kind_of_string, remedy_for

_PIECE = 2**20  # bytes of one read
_URL = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]+://")
# Without O_NONBLOCK opening a FIFO blocks; without O_NOCTTY a terminal can become the process's own.
_OPENING = os.O_RDONLY | sum(
    getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY")
)

_PATHS = (PurePath, os.DirEntry)
_STORED = frozenset(("bytes", "path"))  # what the columns of images and audio in data sets have


def describe(item: Any) -> str:
    """Name an item for messages: by its path, or by its type and size.

    Never raises, and runs none of the item's own code, which may hang.
    """
    kind = type(item)
    if kind is dict and type(path := dict.get(item, "path")) is str:  # a file as data sets hold it
        return _show_path(path)
    if issubclass(kind, (str, *_PATHS)):
        try:
            return _show_path(str.__str__(item) if issubclass(kind, str) else os.fspath(item))
        except Exception:  # a subclass has a `__fspath__` of its own
            pass
    if issubclass(kind, (bytes, bytearray, memoryview)):
        return f"{_type_name(kind)} of {_length(item)} bytes"
    return f"{_type_name(kind)} object"


def _type_name(kind: type) -> str:
    """The qualified name of a type, read by `type` itself, since a metaclass may override it."""
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
    """The path of an `os.PathLike` object as str or bytes, which messages can name; other items as given.

    Raises InputError when the object's `__fspath__` fails.
    """
    kind = type(item)
    if not hasattr(kind, "__fspath__") or issubclass(kind, (str, *_PATHS)):
        return item
    try:
        return os.fspath(item)
    except BaseException as cause:  # somebody else's code
        raise InputError(
            f"its __fspath__ failed: {describe_error(cause)}",
            source=describe(item),
            remedy="pass its path as a str",
        ) from cause


def as_source(item: Any) -> Any:
    """The path or the bytes of an item, as its reader takes them; items that are neither as given.

    A dict of bytes and a path, as data sets hold files, stands for the bytes where it has any. Raises
    InputError for one that has neither, and as `as_path`.
    """
    if not is_stored(item):
        return as_path(item)
    content, path = dict.get(item, "bytes"), dict.get(item, "path")
    if content is None and path is None:
        raise InputError(
            "it has neither bytes nor a path",
            source=describe(item),
            remedy="leave it out, or fill in one of the two",
        )
    return as_path(path) if content is None else content


def is_stored(item: Any) -> bool:
    """Whether an item is a file as data sets hold it: a dict of nothing but "bytes" and "path"."""
    return type(item) is dict and bool(item) and item.keys() <= _STORED


def _show_path(path: str | bytes) -> str:
    text = os.fsdecode(path).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 200 else f"{text[:200]}... ({len(text)} characters)"


def without_address(message: str) -> str:
    """A decoder's message without the memory addresses in it, so that it is the same every time."""
    return re.sub(r"<[\w.]+ object at \w+>", "it", message)


def is_source(item: Any) -> bool:
    """Whether an item is a path, a byte string or a file object, as `read_bytes` takes."""
    try:
        kinds = (str, os.PathLike, bytes, bytearray, memoryview)
        return issubclass(type(item), kinds) or callable(getattr(item, "read", None))
    except Exception:  # the object's own code
        return False


def read_bytes(item: Any, limits: Limits) -> bytes:
    """Read the encoded bytes of a path, byte string or binary file object, at most `limits.bytes`.

    Raises InputError for what is missing, not a file, empty or too large. A file object is read from its
    current position to its end, however short each `read` is, and left open.
    """
    source = describe(item)
    if not is_source(item):
        raise InputError(
            f"{type(item).__name__} is no file",
            source=source,
            remedy="pass a path, bytes or a binary file",
        )
    if isinstance(item, (str, os.PathLike)):
        content = _read_path(item, source, limits)
    elif isinstance(item, (bytes, bytearray, memoryview)):
        content = _read_buffer(item, source, limits)
    else:
        content = _read_file(item, source, limits)
    if not content:
        raise _empty_error(source)
    return content


def open_source(item: Any, limits: Limits) -> BinaryIO:
    """Open the encoded bytes of a path, byte string or binary file object, to be read and sought in.

    A path isn't read into memory, so that a reader may look at parts of a large file; close it afterwards.
    Raises InputError as `read_bytes` does.
    """
    if not isinstance(item, (str, os.PathLike)):
        return BytesIO(read_bytes(item, limits))
    source = describe(item)
    file = _open_path(os.fsdecode(item), source, limits)
    if not os.fstat(file.fileno()).st_size:
        file.close()
        raise _empty_error(source)
    return file


def _read_path(item: str | os.PathLike[str], source: str, limits: Limits) -> bytes:
    path = os.fsdecode(item)
    with _open_path(path, source, limits) as file:
        try:
            return _read_all(file.read, source, limits)
        except InputError:
            raise
        except (OSError, ValueError) as cause:
            raise _opening_error(path, cause, source) from cause


def _open_path(path: str, source: str, limits: Limits) -> FileIO:
    """Open a regular file of at most `limits.bytes`; InputError for anything else."""
    if _URL.match(path):
        raise InputError(
            "a string is a path, and this looks like a URL; mmencode fetches nothing",
            source=source,
            remedy="download it yourself and pass the path or the bytes",
        )
    try:
        _require_file(os.stat(path), source, limits)  # before it is opened, which has effects on some devices
        file = open(os.open(path, _OPENING), "rb", buffering=0)  # noqa: SIM115
    except InputError:
        raise
    except (OSError, ValueError) as cause:
        raise _opening_error(path, cause, source) from cause
    try:
        _require_file(os.fstat(file.fileno()), source, limits)  # it may have been replaced meanwhile
    except BaseException:
        file.close()
        raise
    return file


def _require_file(state: os.stat_result, source: str, limits: Limits) -> None:
    if not stat.S_ISREG(state.st_mode):
        kind = "a directory" if stat.S_ISDIR(state.st_mode) else "not a regular file"
        raise InputError(f"it is {kind}", source=source, remedy="pass the path of a file")
    if state.st_size > limits.bytes:
        raise _size_error(source, limits, state.st_size)


def _opening_error(path: str, cause: OSError | ValueError, source: str) -> InputError:
    kind = kind_of_string(path)
    if kind and not isinstance(cause, PermissionError):
        fact, remedy = (
            f"a string is a path, and this is {kind}",
            remedy_for(kind, "pass the bytes themselves"),
        )
        return InputError(fact, source=source, remedy=remedy)
    if isinstance(cause, (FileNotFoundError, NotADirectoryError, ValueError)):  # a null byte in it
        return InputError("there is no such file", source=source, remedy="check the path", fault="access")
    if isinstance(cause, BlockingIOError):  # such as /proc/kmsg
        return InputError("it has nothing to read now", source=source, remedy="pass a file", fault="access")
    return InputError(
        f"it can't be opened: {message_of(cause)}",
        source=source,
        remedy="check the path",
        fault=fault_of(cause, "access"),
    )


def _read_buffer(item: bytes | bytearray | memoryview, source: str, limits: Limits) -> bytes:
    try:
        if (size := memoryview(item).nbytes) > limits.bytes:
            raise _size_error(source, limits, size)
        return bytes(item)
    except ValueError as cause:
        if isinstance(cause, InputError):
            raise
        raise InputError(
            f"it can't be read: {message_of(cause)}", source=source, remedy="pass it before it is released"
        ) from cause


def _read_file(item: Any, source: str, limits: Limits) -> bytes:
    try:
        content = _read_all(item.read, source, limits)
    except InputError:
        raise
    except Exception as cause:
        closed = _ask(item, "closed") is True
        raise InputError(
            "the file is closed" if closed else f"reading it failed: {message_of(cause)}",
            source=source,
            remedy="open it again, and keep it open until it is read" if closed else "open it again",
            fault=fault_of(cause, "access"),
        ) from cause
    if not content and (place := _ask(item, "tell")):
        raise InputError(
            f"nothing is left to read: the file stands at its end, behind {place} bytes",
            source=source,
            remedy="file.seek(0) takes it back to its start",
        )
    return content


def _ask(item: Any, name: str) -> Any:
    """Get a file object's attribute, or call its method without arguments; None if that raises."""
    try:
        found = getattr(item, name)
        return found() if callable(found) else found
    except Exception:
        return None


def _read_all(read: Any, source: str, limits: Limits) -> bytes:
    """Read piece by piece to the end; InputError beyond `limits.bytes`."""
    content = BytesIO()
    while piece := _read_piece(read, source):
        if content.tell() + len(piece) > limits.bytes:
            raise _size_error(source, limits)
        content.write(piece)
    return content.getvalue()


def _read_piece(read: Any, source: str) -> bytes:
    piece = read(_PIECE)
    if isinstance(piece, bytes):
        return piece
    if isinstance(piece, (bytearray, memoryview)):
        return bytes(piece)
    if piece is None:
        raise InputError(
            "it is in non-blocking mode and has no bytes now: read() gives None",
            source=source,
            remedy="pass it in blocking mode, or once all its bytes are there",
            fault="access",
        )
    if inspect.isawaitable(piece):
        if inspect.iscoroutine(piece):
            piece.close()  # or Python warns that nobody awaited it
        raise InputError(
            "its read() has to be awaited, and mmencode awaits nothing",
            source=source,
            remedy="pass its bytes: await file.read()",
        )
    raise InputError(
        f"its read() gives {type(piece).__name__}, not bytes",
        source=source,
        remedy='open the file in binary mode: open(path, "rb")',
    )


def _empty_error(source: str) -> InputError:
    return InputError("it is empty: 0 bytes", source=source, remedy="leave it out or write it again")


def _size_error(source: str, limits: Limits, size: int | None = None) -> InputError:
    return InputError(
        f"it has more than {limits.bytes} bytes",
        source=source,
        remedy=limit_remedy("bytes", size),
        fault="limit",
    )
