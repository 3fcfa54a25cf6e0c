"""What an exception out of foreign code says: in words that are safe to print, and whose fault it is."""

from __future__ import annotations

import errno
from typing import Any

from .errors import Fault

LONGEST = 500  # characters of a foreign message that are worth printing
_CUT = "..."
_LACKING = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOLCK),
}
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")


def words(cause: BaseException, most: int = LONGEST) -> str:
    """The exception's message on one line, cut after `most` characters, with control characters escaped.

    Never raises, whatever the exception's own `__str__` does; one without a message gives its type's name.
    """
    try:
        said = str(cause)
    except BaseException as failure:  # its author's code, which may do anything
        said = f"(its message can't be read: {type(failure).__name__})"
    said = said[: 4 * most].strip()  # before anything that takes its time
    line = " ".join(said.split())
    printable = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in line)
    return (printable if len(printable) <= most else printable[:most] + _CUT) or type(cause).__name__


def named(cause: BaseException, most: int = LONGEST) -> str:
    """The same after the name of the exception's type: `ValueError: no such thing`."""
    kind, said = type(cause).__name__, words(cause, most)
    return kind if said == kind else f"{kind}: {said}"


def fault_of(cause: BaseException, otherwise: Fault) -> Fault:
    """Whose fault an exception is: the process's or the file system's where it says so, else `otherwise`.

    A decoder's OSError has no number, so that it stays the content's. A warning that was made an error
    (`python -W error`) is the process's, whatever it warns of.
    """
    if out_of_memory(cause) or isinstance(cause, Warning):
        return "process"
    if isinstance(cause, OSError) and cause.errno is not None:
        return "process" if cause.errno in _LACKING else "access"
    return otherwise


def out_of_memory(cause: Any) -> bool:
    """Whether an exception says that memory ran out; torch has a type of its own for that on GPUs only."""
    if isinstance(cause, MemoryError) or type(cause).__name__ == "OutOfMemoryError":
        return True
    return isinstance(cause, RuntimeError) and any(said in words(cause) for said in _OUT_OF_MEMORY)
