"""Distributions written by hand, found beside those that are installed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from distributions import Site

from mmencode.plugins import Plugin, discover
from mmencode.plugins.registry import Registry


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A folder of distributions at the head of the path; its modules are forgotten afterwards."""
    monkeypatch.delenv("MMENCODE_PLUGINS", raising=False)
    found = Site(tmp_path / "site")
    monkeypatch.syspath_prepend(found.folder)
    before = set(sys.modules)
    yield found
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


@pytest.fixture
def found(site: Site) -> Callable[[], dict[str, Plugin]]:
    """Discover the plugins of the site, by distribution, and see to it that mmencode's own are well."""

    def discover_site() -> dict[str, Plugin]:
        plugins = {plugin.distribution: plugin for plugin in discover()}
        assert plugins["mmencode"].error is None
        assert plugins["mmencode-offline"].error is None
        return plugins

    return discover_site


@pytest.fixture
def registry(site: Site) -> Callable[[], Registry]:
    """Everything that is declared, the site's distributions included."""
    return lambda: Registry(discover())
