"""An encoder's forward pass through torch.compile, where that works."""

from __future__ import annotations

import getpass
import os
import tempfile
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from ..encoder import Encoder, Tensors
from ..errors.causes import describe_error, message_of, out_of_memory

_CACHE = "TORCHINDUCTOR_CACHE_DIR"


def name_cache() -> None:
    """Tell torch's compiler where its cache may lie, where torch can't find that out.

    To import it, as timm does, asks for the user's name and makes a folder of that name. In a container that
    runs under some number there is no name, and perhaps no folder that can be written to. Then the variable
    that torch sets itself names one.
    """
    if _CACHE in os.environ:
        return
    name = _user()
    try:
        folder = os.path.join(tempfile.gettempdir(), f"torchinductor_{name or os.getuid()}")
        if os.path.isdir(folder) and not os.access(folder, os.W_OK):
            os.environ[_CACHE] = tempfile.mkdtemp(prefix="torchinductor_")
        elif not name:
            os.environ[_CACHE] = folder
    except OSError:  # there is no place for any: to compile fails, if anybody asks for it; to import doesn't
        os.environ[_CACHE] = os.path.abspath(os.sep)


def _user() -> str:
    """The user's name, or nothing."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # which of them depends on the version of Python
        return ""


def _first_line(cause: Exception) -> str:
    """The part of what the compiler says that people can do something with."""
    try:
        line = str(cause).strip().partition("\n")[0]
    except Exception:
        return describe_error(cause)
    return f"{type(cause).__name__}: {message_of(Exception(line))}"


def _hint() -> str:
    """A remedy for the one failure of the compiler that is known to have one."""
    return "" if _user() else "; torch's compiler asks for the user's name: set LOGNAME to any"


class Compiled:
    """An encoder's forward pass, compiled when first called; plain, with a warning, where that fails.

    Sizes that vary are compiled once for all. On a CPU it is slower than packed layers, which it can't have:
    0.76 to 0.88 times (tests/benchmarks/gains.py). It is meant for GPUs, where it hasn't been measured.
    """

    def __init__(self, encoder: Encoder, name: str) -> None:
        self._encoder, self._name = encoder, name
        self._compiled: Callable[[Tensors], Tensor] | None = None
        self._works = True  # until a call shows that it doesn't

    def __call__(self, tensors: Tensors) -> Tensor:
        """Features `[b, width]`, as the encoder itself gives them but for rounding."""
        if not self._works:
            return self._plain(tensors)
        try:
            if self._compiled is None:
                name_cache()
                self._compiled = torch.compile(self._encoder)
            features: Tensor = self._compiled(tensors)
        except Exception as cause:
            if out_of_memory(cause):
                raise
            features = self._plain(tensors)  # what is wrong with the batch itself is raised here
            self._works = False
            warnings.warn(
                f"torch.compile fails on encoder {self._name!r}, so it runs as it is: "
                f"{_first_line(cause)}{_hint()}",
                RuntimeWarning,
                stacklevel=2,
            )
        return features

    def _plain(self, tensors: Tensors) -> Tensor:
        features: Tensor = self._encoder(tensors)
        return features
