"""The memory that a process keeps beside weights and items: compiled operations, and what was freed."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import MutableMapping
from contextlib import suppress

CAPACITY, MOST = "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256"


def keep_few_operations(environment: MutableMapping[str, str] | None = None) -> None:
    """Have oneDNN keep 256 compiled operations instead of 1024; once torch is imported it does nothing.

    One is compiled for each shape of a batch, and a server's batches have hundreds of shapes. What the user
    has set in the environment stays as it is.
    """
    environment = os.environ if environment is None else environment
    if "torch" not in sys.modules:
        environment.setdefault(CAPACITY, MOST)


def trim() -> None:
    """Give memory back to the system that was freed, where the C library keeps it: glibc's.

    Packing frees weights in pieces of some MiB, and batches their activations, which would stay with the
    process (tests/benchmarks/towers.py, serving_soak.py).
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)
