"""Rows, and a browser, that several tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import browser
import numpy as np
import pytest

from mmencode import Embeddings


@pytest.fixture(scope="module")
def chromium() -> Iterator[browser.Browser]:
    if browser.found() is None:
        pytest.skip(f"no browser is installed: none of {', '.join(browser.NAMES)} is on the path")
    with browser.opened() as tab:
        yield tab


def unit(vectors: np.ndarray) -> np.ndarray:
    return np.float32(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@pytest.fixture(scope="session")
def blobs() -> Embeddings:
    """Three groups of 40 unit vectors, and a last one that is far from all of them."""
    rng = np.random.default_rng(0)
    centres = np.eye(16)[:3] * 4
    rows = np.concatenate([centre + rng.normal(0, 0.3, (40, 16)) for centre in centres])
    rows = np.concatenate([rows, 4 * np.eye(16)[15:]])
    keys = [f"group {place // 40}/{place}.png" for place in range(120)] + ["far.png"]
    return Embeddings(unit(rows), space="fake@1", modality="image", keys=keys)
