"""Find the installed plugins one by one, so that a broken one hurts nobody else.

pluggy's own loader stops at the first plugin that fails and drops the second of two equal names; here each
entry point gets a plugin manager to itself, and what goes wrong in it stays in its row.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, entry_points

import pluggy
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ._version import __version__
from .errors import PluginError, SpecError
from .hookspecs import PROJECT, Hooks
from .spec import EncoderSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Plugin:
    """One entry point of one installed distribution, and what came of asking it.

    `error` is the cause when the plugin was set aside, and `specs` is empty then; `seconds` is what
    importing it took.
    """

    distribution: str
    version: str
    entry_point: str
    specs: tuple[EncoderSpec, ...] = ()
    error: Exception | None = None
    seconds: float = 0.0


def discover(entries: Iterable[EntryPoint] | None = None) -> tuple[Plugin, ...]:
    """Ask every entry point of the group `mmencode`, or those given; never raises because of one of them."""
    if entries is None:
        entries = entry_points(group=PROJECT)
    plugins = [_ask(entry) for entry in entries]
    return tuple(sorted(plugins, key=lambda plugin: (plugin.distribution, plugin.entry_point)))


def clashes(plugin: Plugin, plugins: Iterable[Plugin]) -> dict[str, tuple[str, ...]]:
    """The names of encoders, spaces and aliases that other distributions declare, too, each with those."""
    own = _names(plugin)
    owners: dict[str, set[str]] = {}
    for other in plugins:
        if other.distribution != plugin.distribution:
            for name in own & _names(other):
                owners.setdefault(name, set()).add(other.distribution)
    return {name: tuple(sorted(owners[name])) for name in sorted(owners)}


def _names(plugin: Plugin) -> set[str]:
    return {name for spec in plugin.specs for name in (spec.name, spec.space_name, *spec.aliases)}


def _ask(entry: EntryPoint) -> Plugin:
    start = time.perf_counter()
    specs: tuple[EncoderSpec, ...] = ()
    error: Exception | None = None
    try:
        _require_this_mmencode(entry.dist)
        specs = _declared(entry.load())
    except (Exception, SystemExit) as cause:
        error = cause if isinstance(cause, Exception) else PluginError(f"it called sys.exit({cause.code!r})")
    return Plugin(
        distribution=entry.dist.name if entry.dist else "unknown",
        version=entry.dist.version if entry.dist else "0",
        entry_point=entry.value,
        specs=specs,
        error=error,
        seconds=time.perf_counter() - start,
    )


def _require_this_mmencode(distribution: Distribution | None) -> None:
    """Raise PluginError unless this version is one that the distribution asks for.

    pip warns of that when it installs, and hours later somebody wonders why a plugin misbehaves.
    """
    for line in (distribution.requires if distribution else None) or ():
        requirement = Requirement(line)
        if canonicalize_name(requirement.name) == PROJECT and __version__ not in requirement.specifier:
            raise PluginError(
                f"it was built for mmencode{requirement.specifier}, and {__version__} is installed",
                remedy="install versions that fit: pip install --upgrade mmencode and the plugin",
            )


def _declared(plugin: object) -> tuple[EncoderSpec, ...]:
    """What one plugin declares; PluginError for a misspelt hook, SpecError for nonsense."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Hooks)
    manager.register(plugin)
    manager.check_pending()  # a hook that isn't ours is a misspelt one
    if not manager.get_hookcallers(plugin):
        raise PluginError(
            "it implements no hook of mmencode",
            remedy="define mmencode_encoders() and decorate it with @mmencode.hookimpl",
        )
    specs: list[EncoderSpec] = []
    for declared in manager.hook.mmencode_encoders():
        specs.extend(declared)
    _require_distinct(specs)
    return tuple(specs)


def _require_distinct(specs: list[EncoderSpec]) -> None:
    """Every spec is one, names are unique, and a space has one encoder for a modality."""
    seen: set[tuple[str, ...]] = set()
    for spec in specs:
        if not isinstance(spec, EncoderSpec):
            raise SpecError(f"mmencode_encoders gave {spec!r}", remedy="yield EncoderSpec objects only")
        for key in (("encoder", spec.name), ("space", spec.space_name, spec.modality)):
            if key in seen:
                raise SpecError(f"{' '.join(key)} is declared twice", remedy="declare it once")
            seen.add(key)
