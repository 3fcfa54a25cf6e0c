"""Checkpoints that several test files share, each made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import tiny_clips
import tiny_late
import tiny_omni
import tiny_pages

import mmencode

_HOMES = (tiny, tiny_clips, tiny_late, tiny_omni, tiny_pages)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a checkpoint by the name of the function, in one of these modules, that makes it."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            home = next(module for module in _HOMES if hasattr(module, name))
            getattr(home, name)(made[name])
        return made[name]

    return get


@pytest.fixture
def load() -> Any:
    """Spaces by their names, on the CPU in float32, closed after the test."""
    opened = []

    def do(name: str, **options: Any) -> mmencode.Space:
        opened.append(mmencode.load(name, device="cpu", dtype="float32", **options))
        return opened[-1]

    yield do
    for space in opened:
        space.close()
