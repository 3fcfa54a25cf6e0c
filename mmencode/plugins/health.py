"""Faults of declarations that can be found without importing their targets, for `mmencode plugins`."""

from __future__ import annotations

import ast
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from importlib.machinery import ModuleSpec

from ..errors.causes import describe_error
from .core_modalities import CORE
from .discovery import Plugin
from .spec import SHIPPED

KNOWN = tuple(CORE)
# Calls by which a module may bind names that aren't in its source.
_DYNAMIC = {"globals", "vars", "exec", "setattr"}
LONGEST = 2**21  # characters of a module that is parsed
LIKE = 0.85  # similarity to a known modality from which another is taken for a misspelling of it


def find_faults(plugin: Plugin) -> Iterator[str]:
    """Find faults of a plugin's declarations that would show when an encoder is loaded, each once."""
    own = {spec.name for spec in plugin.modalities}
    looks = [(name, getattr(spec, name), _LOOKS[name]) for spec in plugin.specs for name in _LOOKS]
    looks += [(name, getattr(spec, name), _target_fault) for spec in plugin.modalities for name in _TARGETS]
    for name, value, look in dict.fromkeys(looks):
        if value and not (name == "modality" and value in own) and (fault := look(value)):
            yield f"{name} {value!r}: {fault}"


def _modality_fault(modality: str) -> str:
    near = get_close_matches(modality, KNOWN, n=1, cutoff=LIKE)
    return f"is it meant to be {near[0]!r}?" if near and modality not in KNOWN else ""


def _target_fault(target: str) -> str:
    """Say why "package.module:function" can't be found; "" where it may be there."""
    module, _, function = target.partition(":")
    try:
        found = find_module(module)
    except Exception as cause:  # a finder's or a file's fault
        return f"module {module} can't be searched for: {describe_error(cause, 100)}"
    if found is None:
        return f"there is no module {module}"
    try:
        source = found.loader.get_source(found.name) if found.loader else ""  # type: ignore[attr-defined]
        if source is None or len(source) > LONGEST:
            return ""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as cause:
        return f"module {module} can't be imported: {describe_error(cause, 100)}"
    except Exception:  # an extension, say, which has no source
        return ""
    name = function.partition(".")[0]
    there = _names(tree) & {name, "*", "__getattr__"}
    return "" if there else f"module {module} has no {name}"


def _projection_fault(projection: str) -> str:
    """Say why a projection, a file or a function, can't be found; "" where it may be there."""
    return (_resource_fault if projection.endswith(SHIPPED) else _target_fault)(projection)


def _resource_fault(resource: str) -> str:
    """Say why "package:file" can't be found; "" where it may be there."""
    package, _, file = resource.partition(":")
    try:
        found = find_module(package)
    except Exception as cause:
        return f"package {package} can't be searched for: {describe_error(cause, 100)}"
    if found is None:
        return f"there is no package {package}"
    folders = _folders(sys.modules.get(package), found)
    if folders is None:
        return f"{package} is no package"
    on_disk = [folder for folder in folders if os.path.isdir(folder)]
    there = any(os.path.isfile(os.path.join(folder, file)) for folder in on_disk)
    return f"package {package} has no file {file}" if on_disk and not there else ""


def find_module(module: str) -> ModuleSpec | None:
    """Find a module's import spec without importing the module or the packages around it.

    importlib.util.find_spec imports those packages, and so runs their code.
    """
    path: list[str] | None = None
    found: ModuleSpec | None = None
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        name = ".".join(parts[:count])
        loaded = sys.modules.get(name)
        found = getattr(loaded, "__spec__", None) or _search(name, path)
        if found is None:
            return None
        path = _folders(loaded, found)
        if path is None and module not in sys.modules and count < len(parts):
            return None
    return found


def _folders(loaded: object, found: ModuleSpec) -> list[str] | None:
    """The folders in which a package's modules are searched for; None for a module that is no package."""
    locations = getattr(loaded, "__path__", None) or found.submodule_search_locations
    return None if locations is None else list(locations)


def _search(name: str, path: list[str] | None) -> ModuleSpec | None:
    finders = (getattr(finder, "find_spec", None) for finder in list(sys.meta_path))
    try:
        found = (find_in(name, path) for find_in in finders if find_in)
        return next((spec for spec in found if spec is not None), None)
    except KeyError:  # a namespace package looks for the package that it is in, which isn't imported
        inside = [os.path.join(folder, name.rpartition(".")[2]) for folder in path or ()]
        namespace = ModuleSpec(name, None, is_package=True)
        namespace.submodule_search_locations = [folder for folder in inside if os.path.isdir(folder)]
        return namespace


def _names(tree: ast.Module) -> set[str]:
    """The names that a module binds when it is imported; with "*" where its code may bind any name."""
    found: set[str] = set()
    left: list[ast.AST] = list(tree.body)
    while left:
        node = left.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Store):
                found.add(node.id)
            elif node.id in _DYNAMIC:
                found.add("*")
        elif isinstance(node, ast.Attribute) and node.attr == "modules":
            found.add("*")
        left += ast.iter_child_nodes(node)
    return found


_TARGETS = ("reader", "value", "count", "probes", "samples", "preview", "single")
_LOOKS: dict[str, Callable[[str], str]] = {
    "modality": _modality_fault,
    "target": _target_fault,
    "offers": _target_fault,
    "projection": _projection_fault,
    "catalogue": _resource_fault,
    "card": _resource_fault,
}
