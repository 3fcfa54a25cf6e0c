"""An index of fakes, and vectors to put in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmencode import Embeddings, Index, Space

pytest.importorskip("lancedb", reason="an index is on LanceDB: pip install 'mmencode[index]'")


@pytest.fixture
def index(tmp_path: Path, space: Space) -> Iterator[Index]:
    with Index.create(tmp_path / "index", space) as made:
        yield made


@pytest.fixture
def vectors(space: Space) -> Callable[..., Embeddings]:
    """Random vectors of the space with these keys."""

    def make(*keys: str, modality: str = "image", seed: int = 0, dim: int = 8) -> Embeddings:
        rows = np.random.default_rng(seed).standard_normal((len(keys), dim)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return Embeddings(rows, space=space.id, modality=modality, keys=keys)

    return make


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve small images, two of them in a folder of their own, and one that is none."""
    top = tmp_path / "photos"
    (top / "sub").mkdir(parents=True)
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(top / ("sub" if number > 9 else "") / f"{number:02}.png")
    (top / "broken.png").write_bytes(b"no image")
    return top
