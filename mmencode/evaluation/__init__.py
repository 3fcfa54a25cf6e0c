"""How good a space is on somebody's own data: zero-shot classification, retrieval, and reports of them."""

from __future__ import annotations

from ..spaces.recall import recall
from .bootstrap import Sampling
from .classification import zero_shot
from .labelled import Labelled, labelled_folder, labelled_table
from .matching import retrieval
from .origin import LeftOut, Origin
from .paired import Paired, paired_table
from .report import ClassFigure, Confusion, Figure, Report

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
    "labelled_folder",
    "labelled_table",
    "paired_table",
    "recall",
    "retrieval",
    "zero_shot",
]
