"""Fixtures that the tests of documents share."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import mmencode_documents
import pytest
from mmencode_documents.renderers import renderers

import mmencode
from mmencode.plugins import Plugin
from mmencode.testing import fake_multi_specs, fake_specs


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the fakes and pages installed, and no other plugins."""
    specs = {
        "mmencode-documents": tuple(mmencode_documents.mmencode_encoders()),
        "fakes": (*fake_specs(), *fake_multi_specs()),
    }
    plugins = [
        Plugin(
            distribution=name,
            version="1.0",
            entry_point=f"{name}.plugin",
            specs=found,
            modalities=tuple(mmencode_documents.mmencode_modalities()) if "documents" in name else (),
            error=None,
            seconds=0.001,
        )
        for name, found in specs.items()
    ]
    monkeypatch.setattr("mmencode.plugins.discover", lambda: plugins)
    _forget()
    yield
    _forget()


def _forget() -> None:
    mmencode.registry.cache_clear()
    loading = sys.modules.get("mmencode.spaces.loading")
    if loading is not None:
        loading.shared.cache_clear()


@pytest.fixture(autouse=True)
def _processes_end() -> Iterator[None]:
    """End the processes that a test started."""
    yield
    renderers().close()
