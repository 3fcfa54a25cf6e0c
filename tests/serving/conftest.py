"""Spaces that tests of servers share, served on loopback."""

from __future__ import annotations

from dataclasses import replace

import pytest
from servers import run_server

import mmencode
from mmencode.testing import fake_multi_specs, fake_specs


@pytest.fixture(scope="session")
def default_space():
    with mmencode.load("default") as space:
        yield space


@pytest.fixture(scope="session")
def served(default_space):
    """The default space, served without keys."""
    with run_server(default_space) as found:
        yield found


@pytest.fixture
def http(served):
    with served.client() as client:
        yield client


@pytest.fixture(scope="session")
def small_space():
    """Three fakes of 8 numbers, of which texts may be cut to 4."""
    specs = [replace(spec, widths=(4,)) if spec.modality == "text" else spec for spec in fake_specs()]
    with mmencode.Space("fake", specs) as space:
        yield space


@pytest.fixture(scope="session")
def fused_space(small_space):
    """The fakes with a composite of pictures and texts."""
    return small_space.fuse("image+text")


@pytest.fixture(scope="session")
def multi_space():
    """The fakes of late interaction, with many vectors for each item."""
    with mmencode.Space("fake-multi", fake_multi_specs()) as space:
        yield space
