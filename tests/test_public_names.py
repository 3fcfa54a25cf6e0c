"""The public names: `__all__` lists what there is, what a type checker sees, and what loads lazily."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import mmencode

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ast.parse((ROOT / "mmencode" / "__init__.py").read_text())


def _imported(body: list[ast.stmt]) -> dict[str, str]:
    """Each name that the statements import, to the module that it comes from."""
    return {
        alias.asname or alias.name: node.module or ""
        for node in body
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
    }


def _typed() -> dict[str, str]:
    """Each name of the block that only a type checker reads, to its module."""
    (block,) = [node for node in SOURCE.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name)]
    return _imported(block.body)


def test_a_type_checker_sees_each_lazy_name_where_it_is_loaded_from():
    renamed = {old: mmencode._LAZY[new] for old, new in mmencode._RENAMED.items()}
    assert _typed() == {**mmencode._LAZY, **renamed, "pooling": ""}


def test_all_lists_what_is_imported_at_once_and_what_is_lazy():
    assert set(mmencode.__all__) == {*_imported(SOURCE.body), *_typed()} - set(mmencode._RENAMED)
    assert len(mmencode.__all__) == len(set(mmencode.__all__))


def test_dir_gives_exactly_the_public_names():
    assert dir(mmencode) == sorted(mmencode.__all__)


def test_a_star_import_gives_exactly_the_public_names():
    code = "import mmencode; given = {}; exec('from mmencode import *', given); del given['__builtins__']"
    code += "; assert set(given) == set(mmencode.__all__), set(given) ^ set(mmencode.__all__)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
