"""What the conformance files of this plugin share: classes that declare a tiny checkpoint, made when used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mmencode


class Checkpoint:
    """A tiny checkpoint by its kind, `transformers/<family><checkpoint>`."""

    __test__ = False
    family = ""
    kind = ""

    @pytest.fixture(autouse=True, scope="class")
    def declare(self, request: pytest.FixtureRequest, checkpoint: Callable[[str], Path]) -> None:
        self.check(request.cls, f"transformers/{self.family}{checkpoint(self.kind)}")

    def check(self, cls: Any, name: str) -> None:
        """Have this encoder checked."""
        cls.spec = mmencode.registry()[name]
