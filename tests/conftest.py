"""Fixtures that several test files share.

Nothing here imports torch before a fixture needs it, so that a test of what is torch-free starts at once.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from mmencode.plugins import Plugin
from mmencode.plugins.modality import ModalitySpec
from mmencode.plugins.registry import Registry, registry
from mmencode.plugins.spec import EncoderSpec

if TYPE_CHECKING:
    from mmencode.spaces.space import Space

# The processes of pytest-xdist share the cores. In each, torch takes all of them unless it is told before it
# is imported, which another conftest.py may do.
_PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if _PROCESSES > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // _PROCESSES)))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("slow") and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))
        if item.get_closest_marker("gpu") and not _has_gpu():
            item.add_marker(pytest.mark.skip(reason="gpu: torch sees no CUDA device"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep what was imported and collected from the garbage collector, whose every run takes a second else.

    A forked process sees everything again: LanceDB's handler of exits is looked for among all objects.
    """
    gc.collect()
    gc.freeze()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=gc.unfreeze)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture
def space() -> Iterator[Space]:
    from mmencode.engine.runtime import Runtime
    from mmencode.spaces.space import Space
    from mmencode.testing import fake_specs

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

    def make(**distributions: tuple[EncoderSpec | ModalitySpec, ...] | Exception) -> Registry:
        plugins = [
            Plugin(
                distribution=name,
                version="1.0",
                entry_point=f"{name}.plugin",
                specs=tuple(one for one in _specs(content) if isinstance(one, EncoderSpec)),
                modalities=tuple(one for one in _specs(content) if isinstance(one, ModalitySpec)),
                error=content if isinstance(content, Exception) else None,
                seconds=0.002,
            )
            for name, content in distributions.items()
        ]
        return Registry(tuple(plugins))

    return make


@pytest.fixture
def install(
    make_registry: Callable[..., Registry], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., None]]:
    """Make these the installed plugins, distribution=specs; an exception instead is a failed plugin."""

    def do(**distributions: tuple[EncoderSpec | ModalitySpec, ...] | Exception) -> None:
        plugins = make_registry(**distributions).plugins
        monkeypatch.setattr("mmencode.plugins.discover", lambda: plugins)
        _forget_what_is_installed()

    yield do
    _forget_what_is_installed()


def _specs(
    content: tuple[EncoderSpec | ModalitySpec, ...] | Exception,
) -> tuple[EncoderSpec | ModalitySpec, ...]:
    return () if isinstance(content, Exception) else content


def _forget_what_is_installed() -> None:
    registry.cache_clear()
    loading = sys.modules.get("mmencode.spaces.loading")  # imports torch, and has nothing to forget before
    if loading is not None:
        loading.shared.cache_clear()
