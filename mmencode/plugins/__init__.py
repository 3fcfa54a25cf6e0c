"""Everything that installed plugins declare; each plugin is asked alone, so that a broken one hurts no other.

spec             the declaration of one encoder
modality         the declaration of one modality
core_modalities  text, image and audio, which are mmencode's own
hookspecs        the hooks that a plugin implements
requirements     lines in pip's notation
packages         packages that are missing, and optional imports
places           paths to weights in the names of encoders
installed        the entry points of every distribution, whatever state its files are in
barring          the distributions that are never asked, by MMENCODE_PLUGINS
prints           standard output that is redirected while foreign code runs
undoing          changes of the process by a plugin's code, which are undone
discovery        ask each plugin, and keep its declarations or the reason why it failed
owners           the distribution that owns a name which several declare
modality_owners  the distribution that owns a modality which several declare
registry         all declarations by name
modalities       the modality of a name
targets          build an encoder from its declaration
health           faults of a declaration that show without importing its target
isolated         ask each plugin in a process of its own, with a time limit

They are loaded when they are first used, since `import mmencode` alone asks no plugin.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .barring import VARIABLE as VARIABLE
    from .discovery import Plugin as Plugin
    from .discovery import discover as discover
    from .modality_owners import ModalitySetAside as ModalitySetAside
    from .modality_owners import settle_modalities as settle_modalities
    from .owners import SetAside as SetAside
    from .owners import owners_of as owners_of
    from .owners import settle as settle

_LAZY = {
    "VARIABLE": "barring",
    "Plugin": "discovery",
    "discover": "discovery",
    "ModalitySetAside": "modality_owners",
    "SetAside": "owners",
    "owners_of": "owners",
    "settle": "owners",
    "settle_modalities": "modality_owners",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'mmencode.plugins' has no attribute {name!r}")
    value = getattr(import_module(f".{_LAZY[name]}", __name__), name)
    globals()[name] = value
    return value
