"""Exceptions of foreign code in words that are safe to print, and whose fault they are."""

from __future__ import annotations

import errno
from typing import Any

from . import Fault, MissingPackageError

LONGEST = 500  # characters of a foreign message that are worth printing
_CUT = "..."
_LACKING = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOLCK),
}
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "_STATUS_ALLOC_FAILED")
# The errors of CUDA that stay, as its documentation of cudaError_t says: only another process can go on.
_BROKEN = (
    *("device-side assert", "illegal memory access", "misaligned address", "illegal instruction"),
    *("unspecified launch failure", "hardware stack error", "invalid program counter"),
    *("operation not supported on global/shared address space", "uncorrectable ECC error"),
    *("launch timed out", "uncorrectable NVLink error"),
)


def message_of(cause: BaseException, most: int = LONGEST) -> str:
    """The exception's message on one line, cut after `most` characters, with control characters escaped.

    It never raises, whatever the exception's own `__str__` does. An exception without a message gives the
    name of its type.
    """
    try:
        said = str(cause)
    except BaseException as failure:  # its author's code, which may do anything
        said = f"(its message can't be read: {_kind(failure)})"
    return printable(said, most) or _kind(cause)


def describe_error(cause: BaseException, most: int = LONGEST) -> str:
    """Say the exception's type and its message on one safe line: `ValueError: no such thing`."""
    kind, said = _kind(cause), message_of(cause, most)
    return kind if said == kind else f"{kind}: {said}"


def quote(value: object, most: int = LONGEST) -> str:
    """Give the `repr` of a foreign object on one safe line, or its type where its `repr` raises."""
    try:
        return printable(repr(value), most)
    except BaseException as failure:  # its author's code, too
        return f"<{_kind(value)} whose repr raises {_kind(failure)}>"


def printable(said: str, most: int = LONGEST) -> str:
    """The text on one line, cut after `most` characters, with control characters escaped."""
    safe = escape_unprintable(" ".join(said[: 4 * most].split()))  # cut first, since the text may be vast
    return safe if len(safe) <= most else safe[:most] + _CUT


def escape_unprintable(text: str) -> str:
    """Escape control characters, tabs, line ends and lone surrogates, which names of files may hold."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _kind(value: object) -> str:
    """The name of the object's type, made safe to print: the type may be foreign, too."""
    return printable(str(type.__dict__["__name__"].__get__(type(value))), 100)


def fault_of(cause: BaseException, otherwise: Fault) -> Fault:
    """The fault behind an exception: "process" or "access" where the exception says so, else `otherwise`.

    A decoder's OSError has no errno, so that it counts as `otherwise`. A warning that was turned into an
    error (`python -W error`) is the fault of the process, whatever it warns of, and so is a package that is
    missing.
    """
    if out_of_memory(cause) or isinstance(cause, (Warning, MissingPackageError)):
        return "process"
    if isinstance(cause, OSError) and cause.errno is not None:
        return "process" if cause.errno in _LACKING else "access"
    return otherwise


def device_broke(cause: Any) -> bool:
    """Whether an exception says that a CUDA device does nothing more for this process."""
    said = message_of(cause) if isinstance(cause, RuntimeError) else ""
    return "CUDA error" in said and any(words in said for words in _BROKEN)


def out_of_memory(cause: Any) -> bool:
    """Whether an exception says that memory ran out; torch has an exception type for that on GPUs only."""
    if isinstance(cause, MemoryError) or type(cause).__name__ == "OutOfMemoryError":
        return True
    return isinstance(cause, RuntimeError) and any(said in message_of(cause) for said in _OUT_OF_MEMORY)
