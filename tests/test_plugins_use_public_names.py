"""The plugins in this repository import public names of mmencode only, as anybody's plugin should."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/**/py.typed"))
MODULES = {
    "mmencode",
    *(
        f"mmencode.{name}"
        for name in ("checkpoints", "encoder", "errors", "evaluation", "inputs", "pooling", "testing")
    ),
}
FAMILIES = "mmencode.encoders."  # modules of the built-in encoders, whose public classes plugins may extend


def imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Each import from mmencode as its module and name; a module that is imported itself has no name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((one.name, "") for one in node.names if one.name.partition(".")[0] == "mmencode")
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "mmencode":
            yield from ((node.module or "", one.name) for one in node.names if node.level == 0)


def is_public(module: str, name: str) -> bool:
    """Whether a module is public, and so is the name in it."""
    if module not in MODULES and not module.startswith(FAMILIES):
        return False
    listed = getattr(import_module(module), "__all__", None)
    return not name.startswith("_") and (not name or listed is None or name in listed)


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.relative_to(ROOT / "plugins").as_posix())
def test_plugin_imports_public_names_only(plugin):
    private = [
        f"{path.relative_to(ROOT)}: {name or module} of {module}"
        for path in sorted(plugin.rglob("*.py"))
        for module, name in imported(ast.parse(path.read_text(encoding="utf-8")))
        if not is_public(module, name)
    ]
    assert private == []


@pytest.mark.parametrize(
    "line",
    [
        "from mmencode.inputs.weights import read_state",
        "from mmencode import _atomic",
        "from mmencode.encoder import _tensors",
        "from mmencode.encoder import nn",
        "import mmencode.plugins.spec",
    ],
)
def test_the_rule_finds_a_private_name(line):
    assert not any(is_public(*found) for found in imported(ast.parse(line)))
