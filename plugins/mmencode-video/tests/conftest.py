"""Fixtures of the tests of videos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of a small timm classifier of pictures, which stands for any image tower."""
    import timm
    import torch
    from safetensors.torch import save_file

    path = tmp_path_factory.mktemp("tower") / "tower.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_file(timm.create_model("test_vit").state_dict(), path)
    return path


@pytest.fixture(scope="session")
def tower(clip: Path) -> str:
    """The name of a space of pictures."""
    return f"timm/test_vit/{clip}"


@pytest.fixture(scope="session")
def space_with_videos(tower: str) -> Iterator[Any]:
    """A space of pictures that videos joined by one line."""
    from mmencode_video import join_video

    import mmencode

    with mmencode.load(tower, device="cpu", dtype="float32") as space:
        yield join_video(space)
