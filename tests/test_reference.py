"""The reference lists every public name, and each of them is used in an example that runs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module

import pytest

pytest.importorskip("sybil", reason="sybil finds the examples: pip install sybil")
from pages_of_docs import PAGES, ROOT, statements

MODULES = [
    "mmencode",
    *(
        f"mmencode.{name}"
        for name in (
            "checkpoints",
            "encoder",
            "errors",
            "evaluation",
            "index",
            "inputs",
            "pooling",
            "scale",
            "testing",
        )
    ),
]
NAMES = [f"{module}.{name}" for module in MODULES for name in import_module(module).__all__]
DIRECTIVE = re.compile(r"^\.\. auto\w+:: (\S+)$", re.MULTILINE)
DOCUMENTED = {
    name
    for page in sorted((ROOT / "docs" / "reference").glob("*.md"))
    for name in DIRECTIVE.findall(page.read_text())
}


def _words(source: str) -> Iterator[str]:
    """Every name that the code uses, imports or takes an attribute by."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield from node.name.split(".")


def _executed() -> Iterator[str]:
    """The names in what the pages run, and the kinds of errors that they expect."""
    for page in PAGES:
        for statement in statements(page):
            source = getattr(statement.parsed, "source", statement.parsed)
            if isinstance(source, str):
                yield from _words(source)
                yield from re.findall(
                    r"^(?:mmencode\.errors\.)?(\w+Error):", _output(statement), re.MULTILINE
                )


def _output(statement) -> str:
    return getattr(statement.parsed, "want", "") + (getattr(statement.parsed, "exc_msg", "") or "")


USED = set(_executed())


def _value(name: str) -> object:
    module, _, last = name.rpartition(".")
    return getattr(import_module(module), last)


VALUES = {name: _value(name) for name in NAMES}


def _same(name: str) -> set[str]:
    """All public names of what one of them stands for: two modules may give it, or an old name be kept."""
    return {other for other, value in VALUES.items() if value is VALUES[name]}


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_stands_in_the_reference(name):
    assert DOCUMENTED & _same(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_used_in_an_example_that_runs(name):
    assert USED & {other.rpartition(".")[2] for other in _same(name)}


@pytest.mark.parametrize("module", MODULES)
def test_what_a_public_module_defines_without_an_underscore_is_public(module):
    found = import_module(module)
    own = {
        name
        for name, value in vars(found).items()
        if not name.startswith("_") and callable(value) and getattr(value, "__module__", "") == module
    }
    assert own <= set(found.__all__)
