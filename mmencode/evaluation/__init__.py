"""Measures of a space on somebody's own data: zero-shot classification, retrieval, and reports of both."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from ..spaces.recall import recall
from .bootstrap import Sampling
from .classification import zero_shot
from .figures import ClassFigure, Confusion, Figure
from .labelled import Labelled, read_labelled_folder, read_labelled_table
from .matching import retrieval
from .origin import LeftOut, Origin
from .paired import Paired, read_paired_table
from .report import Report

__all__ = [
    "ClassFigure",
    "Confusion",
    "Figure",
    "Labelled",
    "LeftOut",
    "Origin",
    "Paired",
    "Report",
    "Sampling",
    "read_labelled_folder",
    "read_labelled_table",
    "read_paired_table",
    "recall",
    "retrieval",
    "zero_shot",
]

# Former names, each for one release after its renaming.
_RENAMED = {
    "labelled_folder": read_labelled_folder,
    "labelled_table": read_labelled_table,
    "paired_table": read_paired_table,
}


if not TYPE_CHECKING:  # a type checker would take any name for one that is there

    def __getattr__(name: str) -> object:
        if name not in _RENAMED:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        new = _RENAMED[name]
        message = f"{__name__}.{name} is called {new.__name__} now; the old name goes in a later release"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return new
