"""The threads that torch's operations take, bounded for one thread, and nothing of the process changed.

OpenMP and MKL keep these numbers for each thread. `torch.set_num_threads` would also decide for all threads
that begin later, the user's among them.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch


def take_at_most(threads: int) -> None:
    """Have torch's operations in this thread, which must be mmencode's own, take no more threads than these.

    Items are preprocessed in as many threads as there are cores: each with a team of its own as large as
    torch's, they would be cores times cores.
    """
    torch.get_num_threads()  # torch gives a thread its number when first asked, and would do it later else
    for set_number in _setters():
        set_number(threads)


@contextmanager
def at_most(cores: int) -> Iterator[None]:
    """Have torch's operations in this thread take no more threads than cores, and then as many as before.

    The number that a caller has set is heeded below that. Where torch's libraries don't let it be set by
    thread, as on Windows, it stays what it is.
    """
    if (before := torch.get_num_threads()) <= cores or not _setters():
        yield
        return
    found = [set_number(cores) for set_number in _setters()]
    try:
        yield
    finally:
        for set_number, last in zip(_setters(), found, strict=True):
            set_number(before if last is None else last)


@functools.cache
def _setters() -> tuple[Callable[[int], Any], ...]:
    """The functions of OpenMP and MKL that set a thread's own number, in the libraries that torch loaded.

    That of OpenMP returns nothing; MKL's returns the number before, which is 0 where OpenMP's decides.
    """
    found: list[Callable[[int], Any]] = []
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(torch._C.__file__)  # and what it depends on is looked through
        library.omp_set_num_threads.restype = None
        found.append(library.omp_set_num_threads)
        library.MKL_Set_Num_Threads_Local.restype = ctypes.c_int
        found.append(library.MKL_Set_Num_Threads_Local)
    return tuple(found)
