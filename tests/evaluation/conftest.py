"""Labelled images on disk, of a few bytes each."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def picture(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three classes of 5, 3 and 2 photographs, with what belongs to none."""
    top = tmp_path / "photos"
    sizes = {"cat": 5, "fire engine": 3, "n01": 2}
    for number, (name, size) in enumerate(sizes.items()):
        for item in range(size):
            picture(top / name / f"{item}.png", 10 * number + item)
    picture(top / "n01" / ".hidden.png", 99)
    picture(top / ".trash" / "0.png", 99)
    (top / "README.md").write_text("no class")
    return top


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """Write a table: its header, then its rows."""

    def write(*rows: Sequence[str], name: str = "table.csv") -> Path:
        path = tmp_path / name
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
        return path

    return write
