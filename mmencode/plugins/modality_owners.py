"""The owner of a modality that several distributions declare, and the endings that each keeps.

As for encoders, a name decides who owns it, not the order of installation: `text`, `image` and `audio` are
mmencode's, and any other word belongs to the distribution `mmencode-<word>`, or else to `<word>`. Where no
claimant owns it, it is contested, and nobody's items of that modality are read. The endings of mmencode's own
modalities can't be taken; two modalities of plugins may share one, since a folder is walked for one of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from packaging.utils import canonicalize_name

from ..errors import NameClashError
from .barring import VARIABLE
from .core_modalities import CORE
from .discovery import Plugin
from .hookspecs import PROJECT
from .modality import ModalitySpec
from .owners import owners_of

_ENDINGS = {
    ending: spec.name
    for spec in CORE.values()
    for ending in (*spec.endings, *(optional[0] for optional in spec.optional))
}


class ModalitySetAside(NamedTuple):
    """A modality, or one ending of it, that a distribution declares and that belongs to `owner`.

    `broken` says that the owner failed to load.
    """

    distribution: str
    version: str
    name: str
    owner: str
    ending: str = ""
    broken: bool = False

    @property
    def error(self) -> NameClashError:
        """The error that says what was set aside, and names the distribution that doesn't own it."""
        what = f"the ending {self.ending!r} of modality" if self.ending else "modality"
        whose = f"it belongs to {self.owner}" + (", which failed to load" if self.broken else "")
        return NameClashError(
            f"{what} {self.name!r} of {self.distribution} is set aside: {whose}",
            culprit=f"{self.distribution} {self.version}",
            remedy="its author should leave it out, or choose another name; "
            f"{VARIABLE}=-{canonicalize_name(self.distribution)} bars the distribution",
        )


class Modalities(NamedTuple):
    """The modalities of all plugins, where each name has one owner or is contested.

    owned      by name, the distribution and the modality, with the endings that are its own
    contested  names without an owner, with the distributions that claim them
    set_aside  modalities and endings that belong to another
    """

    owned: Mapping[str, tuple[str, ModalitySpec]]
    contested: Mapping[str, tuple[str, ...]]
    set_aside: tuple[ModalitySetAside, ...]


def settle_modalities(plugins: Iterable[Plugin]) -> Modalities:
    """Give each modality to its owner, and set aside what others declare under its name."""
    plugins = tuple(plugins)
    broken = {plugin.name: plugin.distribution for plugin in plugins if plugin.error is not None}
    claims: dict[str, list[tuple[Plugin, ModalitySpec]]] = defaultdict(list)
    for plugin in plugins:
        for spec in plugin.modalities:
            claims[spec.name].append((plugin, spec))
    owned: dict[str, tuple[str, ModalitySpec]] = {name: (PROJECT, spec) for name, spec in CORE.items()}
    contested: dict[str, tuple[str, ...]] = {}
    lost: list[ModalitySetAside] = []
    for name, rivals in sorted(claims.items()):
        rank = min(_rank(name, plugin) for plugin, _ in rivals)
        best = [] if name in CORE else [rival for rival in rivals if _rank(name, rival[0]) == rank]
        heir = next((broken[heir] for heir in owners_of(name)[:rank] if heir in broken), "")
        owner = PROJECT if name in CORE else heir or best[0][0].distribution
        if len({plugin.name for plugin, _ in best}) > 1 and not heir:
            contested[name] = tuple(sorted(plugin.distribution for plugin, _ in best))
        elif best and not heir:
            kept, taken = _without_taken_endings(*best[0])
            owned[name] = (owner, kept)
            lost += taken
        kept_apart = [] if heir else best
        lost += [
            ModalitySetAside(plugin.distribution, plugin.version, name, owner, broken=bool(heir))
            for plugin, spec in rivals
            if (plugin, spec) not in kept_apart and plugin.name != PROJECT
        ]
    return Modalities(owned, contested, tuple(lost))


def _rank(name: str, plugin: Plugin) -> int:
    """The place of a distribution among those with a right to the name; the last for all others."""
    owners = owners_of(name)
    return owners.index(plugin.name) if plugin.name in owners else len(owners)


def _without_taken_endings(plugin: Plugin, spec: ModalitySpec) -> tuple[ModalitySpec, list[ModalitySetAside]]:
    """Leave out of a modality the endings that belong to mmencode's own, and say which."""
    declared = [*spec.endings, *(optional[0] for optional in spec.optional)]
    taken = [ending for ending in declared if ending in _ENDINGS]
    if not taken:
        return spec, []
    kept = replace(
        spec,
        endings=tuple(ending for ending in spec.endings if ending not in _ENDINGS),
        optional=tuple(optional for optional in spec.optional if optional[0] not in _ENDINGS),
    )
    return kept, [
        ModalitySetAside(plugin.distribution, plugin.version, spec.name, PROJECT, ending) for ending in taken
    ]
