"""Every Python example in README and docs runs, and prints what it says."""

from __future__ import annotations

import contextlib
import doctest
import sys
import unittest
from pathlib import Path

import pytest

pytest.importorskip("mmencode_offline", reason="the examples run on the default space")
sybil = pytest.importorskip("sybil", reason="sybil runs the examples: pip install sybil")
from sybil.parsers.myst import PythonCodeBlockParser, SkipParser  # noqa: E402

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "plugins").glob("*/README.md"))
SLOW = [ROOT / "docs" / name for name in ("from-scratch.md", "making-spaces.md", "uses.md")]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.slow] if page in SLOW else []) for page in PAGES],
    ids=[page.relative_to(ROOT).as_posix() for page in PAGES],
)
def test_examples_of_the_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    parsers = [PythonCodeBlockParser(doctest_optionflags=FLAGS), SkipParser()]
    examples = sybil.Sybil(parsers=parsers, path=str(page.parent), patterns=[page.name])
    before = set(sys.modules)
    for example in examples.parse(page):
        with contextlib.suppress(unittest.SkipTest):  # those that the page itself marks, with the reason
            example.evaluate()
    for name in set(sys.modules) - before:  # modules that an example wrote into its folder
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def test_every_field_and_hook_stands_in_the_page_about_plugins():
    from dataclasses import fields

    from mmencode.plugins.hookspecs import Hooks
    from mmencode.plugins.spec import EncoderSpec

    page = (ROOT / "docs" / "plugins.md").read_text()
    hooks = [name for name in vars(Hooks) if name.startswith("mmencode_")]
    missing = [
        name for name in [*hooks, *(field.name for field in fields(EncoderSpec))] if f"`{name}" not in page
    ]
    assert not missing


def test_every_module_stands_in_the_map_of_the_package():
    page = (ROOT / "docs" / "contributing.md").read_text()
    parts = [path for path in (ROOT / "mmencode").iterdir() if not path.name.startswith("_")]
    names = [path.name if path.suffix else f"{path.name}/" for path in parts if path.name != "py.typed"]
    assert [name for name in names if name not in page] == []
