"""What the tests of sources and outputs share."""

from __future__ import annotations

import json

import pytest

import mmencode


@pytest.fixture(scope="module")
def space():
    return mmencode.load("default", device="cpu", dtype="float32")


@pytest.fixture
def write_lines():
    def write(path, rows):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write
