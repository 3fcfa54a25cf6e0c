"""The path from `Space.encode` to an encoder's forward pass is the one that docs/path.md draws."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest

import mmencode
from mmencode import Space
from mmencode.encoder import Encoder
from mmencode.engine.runtime import Runtime
from mmencode.testing import FakeText, fake_specs

PAGE = Path(__file__).parents[1] / "docs" / "path.md"
FRAME = re.compile(r"^\d\. `([\w/]+\.py)`, `([\w.]+)`:", re.MULTILINE)
FRAMES = FRAME.findall(PAGE.read_text())


def _found(file: str, name: str) -> object:
    value: object = importlib.import_module("mmencode." + file.removesuffix(".py").replace("/", "."))
    for part in name.split("."):
        value = inspect.getattr_static(value, part)
    return value


def test_page_draws_at_most_six_frames():
    assert 1 < len(FRAMES) <= 6
    assert FRAMES[0] == ("spaces/space.py", "Space.encode")
    assert FRAMES[-1][1] == "Encoder.forward"


@pytest.mark.parametrize(("file", "name"), FRAMES)
def test_each_frame_is_a_function_of_the_file_that_is_named(file, name):
    function = _found(file, name)
    assert inspect.isfunction(function)
    assert Path(inspect.getfile(function)) == Path(mmencode.__file__).parent / file


def test_those_are_the_frames_that_a_call_goes_through(monkeypatch):
    seen: list[tuple[str, str]] = []
    root = Path(mmencode.__file__).parent

    class Watched(FakeText):
        def forward(self, tensors):
            frame = sys._getframe()
            while frame is not None:
                file = Path(frame.f_code.co_filename)
                if file.is_relative_to(root):
                    seen.append((file.relative_to(root).as_posix(), frame.f_code.co_qualname))
                frame = frame.f_back
            return super().forward(tensors)

    with Space("fake", fake_specs(), runtime=Runtime("cpu", workers=1)) as space:
        space.tower("text").encoder.__class__ = Watched
        space.encode("text", ["a dog"])
    assert issubclass(Watched, Encoder)
    assert seen[::-1] == FRAMES[:-1]


def test_every_file_that_the_page_names_is_there():
    named = re.findall(r"`((?:\w+/)*\w+\.py)`", PAGE.read_text())
    assert named
    assert not [name for name in named if not (Path(mmencode.__file__).parent / name).is_file()]
