"""Read lists of items or labels, one on each line, from a file or standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from ..arguments.lists import split_lines
from ..errors import InputError
from ..errors.causes import fault_of, message_of

MOST = 2**28  # bytes of one list


def read_lines(path: Path | None) -> list[str]:
    r"""Read the lines of a UTF-8 file, or of standard input for None, without blank lines.

    Lines end at \n or \r\n. Raises InputError for a list that can't be read, isn't UTF-8 or has more than
    MOST bytes.
    """
    source = "standard input" if path is None else str(path)
    try:
        found = split_lines(_read(path).decode("utf-8-sig"))
    except UnicodeDecodeError as cause:
        raise InputError(
            f"it can't be read: {message_of(cause)}", source=source, remedy="make it a UTF-8 file"
        ) from cause
    except (OSError, ValueError) as cause:
        raise InputError(
            f"it can't be read: {message_of(cause)}",
            source=source,
            remedy="pass a file of UTF-8 text, and a large one in several parts",
            fault=fault_of(cause, "access"),
        ) from cause
    return [line for line in found if line.strip()]


def _read(path: Path | None) -> bytes:
    if path is not None:
        with path.open("rb") as file:  # the path may be a pipe, whose size isn't known before it is read
            content = file.read(MOST + 1)
    elif sys.stdin is None:
        raise ValueError("it is closed")
    else:
        content = sys.stdin.buffer.read(MOST + 1)
    if len(content) > MOST:
        raise ValueError(f"it has more than {MOST} bytes")
    return content
