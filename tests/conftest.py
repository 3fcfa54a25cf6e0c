"""Fixtures that several test files share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from mmencode.plugins import Plugin
from mmencode.registry import Registry
from mmencode.runtime import Runtime
from mmencode.space import Space
from mmencode.spec import EncoderSpec
from mmencode.testing import fake_specs


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "slow" in item.keywords and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))
        if "gpu" in item.keywords and not _has_gpu():
            item.add_marker(pytest.mark.skip(reason="gpu: torch sees no CUDA device"))


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture
def space() -> Iterator[Space]:
    with Space("fake", fake_specs(), runtime=Runtime("cpu", batch_size=4, workers=2)) as fake:
        yield fake


@pytest.fixture
def threads_end() -> Iterator[None]:
    """Fail when a thread that the test started is still there three seconds after it."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 3
    while (left := set(threading.enumerate()) - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not left


@pytest.fixture
def make_registry() -> Callable[..., Registry]:
    """A registry of plugins, distribution=specs; an exception in place of specs is a failed plugin."""

    def make(**distributions: tuple[EncoderSpec, ...] | Exception) -> Registry:
        plugins = [
            Plugin(distribution=name, version="1.0", entry_point=name, error=content)
            if isinstance(content, Exception)
            else Plugin(distribution=name, version="1.0", entry_point=name, specs=content)
            for name, content in distributions.items()
        ]
        return Registry(tuple(plugins))

    return make
