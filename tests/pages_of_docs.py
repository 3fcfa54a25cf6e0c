"""The pages whose Python examples are executed, and how those of one page run, one after the other."""

from __future__ import annotations

import contextlib
import doctest
import os
import sys
import unittest
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import sybil
from sybil.parsers.myst import PythonCodeBlockParser, SkipParser

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += sorted((ROOT / "plugins").glob("*/README.md"))
SLOW = {"docs/from-scratch.md", "docs/making-spaces.md", "docs/uses.md", "docs/video.md"}
# Pages whose examples need other libraries, which `.ci/run hosts` installs: by the modules that they import.
HOSTS = {
    "docs/adapters.md": (
        "mmencode_adapters",
        "chromadb",
        "mteb",
        "qdrant_client",
        "sqlite_vec",
        "apsw",
        "duckdb",
    ),
    "docs/cluster.md": ("ray",),
    "plugins/mmencode-adapters/README.md": ("mmencode_adapters",),
    "docs/folder-to-index.md": ("duckdb",),
    "docs/hosts.md": ("langchain_core", "langchain_mmencode", "llama_index.core", "haystack", "llm"),
    "plugins/langchain-mmencode/README.md": ("langchain_core", "langchain_mmencode"),
    "plugins/llama-index-embeddings-mmencode/README.md": ("llama_index.core",),
    "plugins/llm-mmencode/README.md": ("llm", "llm_mmencode"),
    "plugins/mmencode-haystack/README.md": ("haystack",),
}
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
FENCE = "```python"


@dataclass(frozen=True)
class Block:
    """One fenced block of Python on a page: an example, and a test."""

    page: Path
    line: int

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Every fenced block of Python on the page, by the line of its fence, from top to bottom."""
    lines = page.read_text().splitlines()
    return [Block(page, line) for line, text in enumerate(lines, 1) if text.startswith(FENCE)]


def statements(page: Path) -> list[sybil.Example]:
    """Every statement of the page that is executed, and the marks of those that aren't."""
    parsers = [PythonCodeBlockParser(doctest_optionflags=FLAGS), SkipParser()]
    return list(sybil.Sybil(parsers=parsers, path=str(page.parent), patterns=[page.name]).parse(page))


class Reading:
    """A page being read from the top: its blocks share a namespace and a folder.

    A block runs once whatever stands above it has run, so that each can be asked for alone, and so that the
    processes of pytest-xdist may share a page.
    """

    def __init__(self, page: Path, folder: Path) -> None:
        self.page = page
        self._folder = folder
        self._modules = set(sys.modules)
        self._left = statements(page)
        self._ends = {one.line: two.line for one, two in pairwise(blocks(page))}
        self._failed: sybil.Example | None = None

    def read(self, block: Block) -> None:
        """Run the page from where it was left to the end of the block; SkipTest where the page skips that."""
        skipped: unittest.SkipTest | None = None
        while self._left and self._left[0].line < self._ends.get(block.line, sys.maxsize):
            statement = self._left.pop(0)
            if self._failed is None:
                why = self._evaluate(statement)
                skipped = why if statement.line >= block.line else None
        if self._failed is not None:
            place = f"{self.page.relative_to(ROOT).as_posix()}:{self._failed.line}"
            raise AssertionError(f"not reached, for {place} failed")
        if skipped is not None:
            raise skipped

    def _evaluate(self, statement: sybil.Example) -> unittest.SkipTest | None:
        """Run one statement; where the page skips it, return why."""
        try:
            with self._inside():
                statement.evaluate()
        except unittest.SkipTest as why:
            return why
        except BaseException:
            self._failed = statement
            raise
        return None

    @contextlib.contextmanager
    def _inside(self) -> Iterator[None]:
        """Be in the page's folder, import from it, and keep there what a library would keep for its user."""
        cwd, path = Path.cwd(), list(sys.path)
        os.chdir(self._folder)
        sys.path.insert(0, str(self._folder))
        try:
            with patch.dict(os.environ, LLM_USER_PATH=str(self._folder / "llm")):
                yield
        finally:
            os.chdir(cwd)
            sys.path[:] = path

    def close(self) -> None:
        """Forget the modules that an example wrote into the page's folder, and the plugins among them."""
        for name in set(sys.modules) - self._modules:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(self._folder)):
                del sys.modules[name]
        if list(self._folder.glob("*.dist-info")):
            from mmencode import registry

            registry.cache_clear()
