"""The installed plugins, asked one by one, so that a broken one hurts nobody else.

installed   the entry points of every distribution, whatever state its files are in
barring     which distributions are never asked, by MMENCODE_PLUGINS
undoing     what a plugin's code may not change in the process
prints      what it prints, kept away from standard output
discovery   ask each, and keep what came of it
owners      whose a name is that two distributions declare
health      what can be said of a declaration without importing its target
isolated    ask each in a process of its own, with a time limit

They are loaded when they are first used, since `import mmencode` alone asks no plugin.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .barring import VARIABLE as VARIABLE
    from .discovery import Plugin as Plugin
    from .discovery import discover as discover
    from .owners import SetAside as SetAside
    from .owners import owners_of as owners_of
    from .owners import settle as settle

_LAZY = {
    "VARIABLE": "barring",
    "Plugin": "discovery",
    "discover": "discovery",
    "SetAside": "owners",
    "owners_of": "owners",
    "settle": "owners",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'mmencode.plugins' has no attribute {name!r}")
    value = getattr(import_module(f".{_LAZY[name]}", __name__), name)
    globals()[name] = value
    return value
