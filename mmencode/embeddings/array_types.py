"""The types of numpy arrays in annotations: one name for each kind of number."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]  # of any type
Vectors = np.ndarray[Any, np.dtype[np.float32]]  # rows of a space, and scores between them
Numbers = np.ndarray[Any, np.dtype[np.float64]]  # sums, statistics and what is fitted to scores
Positions = np.ndarray[Any, np.dtype[np.int64]]  # places of rows or items, and counts of them
Flags = np.ndarray[Any, np.dtype[np.bool_]]
