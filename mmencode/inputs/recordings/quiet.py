"""Decoders that print on stderr run in a thread that can't write there, so that no other thread is silenced.

libsndfile decodes MP3 by libmpg123, which prints a line for each damaged frame, and offers no way to turn
that off. File descriptor 2 belongs to the whole process, so redirecting it would lose other threads' output.
On Linux a thread can give up the right to write to it, for itself alone and for good (seccomp(2)).
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

T = TypeVar("T")

_STDERR = 2
_SET_NO_NEW_PRIVS = 38  # prctl(2): required of unprivileged threads before they install a filter
_MODE_FILTER, _SPEC_ALLOW = 1, 4  # seccomp(2): install a filter; no slow mitigations on old kernels
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # opcodes of classic BPF, in which filters are written
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EBADF
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data, which a filter examines


class _Machine(NamedTuple):
    architecture: int
    write: int
    writev: int
    seccomp: int


_MACHINES = {
    "x86_64": _Machine(0xC000003E, 1, 20, 317),
    "aarch64": _Machine(0xC00000B7, 64, 66, 277),
}


def run_quietly(task: Callable[[], T]) -> T:
    """Run a task in a thread that can't write to stderr; return its result, or raise its error.

    Off Linux the task runs in the calling thread. Raises OSError when no thread can be started.
    """
    machine = _machine()
    if machine is None:
        return task()
    future: Future[T] = Future()
    try:
        threading.Thread(target=_run, args=(future, task, machine), daemon=True, name="quiet").start()
    except RuntimeError as cause:
        raise OSError(errno.EAGAIN, "no thread can be started to decode in") from cause
    return future.result()


def _run(future: Future[Any], task: Callable[[], Any], machine: _Machine) -> None:
    try:
        _block_stderr(machine)
        future.set_result(task())
    except BaseException as failure:
        future.set_exception(failure)


@functools.cache
def _machine() -> _Machine | None:
    linux = sys.platform == "linux" and struct.calcsize("P") == 8
    return _MACHINES.get(platform.machine()) if linux else None


def _block_stderr(machine: _Machine) -> None:
    """Make write(2) and writev(2) to stderr fail in this thread; without effect on kernels that forbid it."""
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
