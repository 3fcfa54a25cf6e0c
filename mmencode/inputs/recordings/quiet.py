"""C code that prints on stderr is run where it can't: in a thread of its own, so that nobody else is hushed.

libsndfile decodes MP3 by libmpg123, which prints a line for each damaged frame, and hands out no way to turn
that off. Descriptor 2 is the whole process's, so moving it would take words from other threads. On Linux a
thread can give up the right to write there, for itself alone and for good (seccomp(2)).
"""

from __future__ import annotations

import ctypes
import errno
import functools
import platform
import struct
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

Result = TypeVar("Result")

_STDERR = 2
_SET_NO_NEW_PRIVS = 38  # prctl(2): what a thread without rights of its own must say before
_MODE_FILTER, _SPEC_ALLOW = 1, 4  # seccomp(2): install a filter; without it old kernels slow the thread down
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # instructions of its filters
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EBADF
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in what a filter looks at


class _Machine(NamedTuple):
    architecture: int
    write: int
    writev: int
    seccomp: int


_MACHINES = {
    "x86_64": _Machine(0xC000003E, 1, 20, 317),
    "aarch64": _Machine(0xC00000B7, 64, 66, 277),
}


def quietly(task: Callable[[], Result]) -> Result:
    """Run a task in a thread that can't write to stderr, and give what it gives, or raise what it raises.

    Where there is no such thread (not on Linux, or forbidden there), the task runs here. OSError when no
    thread can be started.
    """
    machine = _machine()
    if machine is None:
        return task()
    future: Future[Result] = Future()
    try:
        threading.Thread(target=_run, args=(future, task, machine), daemon=True, name="quiet").start()
    except RuntimeError as cause:
        raise OSError(errno.EAGAIN, "no thread can be started to decode in") from cause
    return future.result()


def _run(future: Future[Any], task: Callable[[], Any], machine: _Machine) -> None:
    try:
        _hush(machine)
        future.set_result(task())
    except BaseException as failure:
        future.set_exception(failure)


@functools.cache
def _machine() -> _Machine | None:
    linux = sys.platform == "linux" and struct.calcsize("P") == 8
    return _MACHINES.get(platform.machine()) if linux else None


def _hush(machine: _Machine) -> None:
    """Take the right to write to stderr from this thread; a kernel that can't leaves it as it is."""
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_IF_EQUAL, 0, 6, machine.architecture),
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_IF_EQUAL, 1, 0, machine.write),
        (_JUMP_IF_EQUAL, 0, 3, machine.writev),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_IF_EQUAL, 0, 1, _STDERR),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code = b"".join(struct.pack("HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(struct.pack("HP", len(steps), ctypes.addressof(buffer)))
    libc = ctypes.CDLL(None)
    libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.syscall(machine.seccomp, _MODE_FILTER, _SPEC_ALLOW, program)
