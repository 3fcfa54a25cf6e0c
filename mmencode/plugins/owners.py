"""The owner of a name of an encoder, a space or an alias that several distributions declare.

The first word of a name decides: mmencode owns the names of its own encoders, the words in HOMES belong to
the distributions listed there, and any other word to the distribution `mmencode-<word>`, or else to `<word>`.
A newcomer can't choose anything that counts but its own name; the order of names or of installation doesn't.
Where no claimant owns the word, the name is contested, and no other name of theirs is affected.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from packaging.utils import canonicalize_name

from ..errors import NameClashError
from .barring import VARIABLE
from .discovery import Plugin
from .hookspecs import PROJECT
from .spec import EncoderSpec

# First words of names in mmencode's own plugins that aren't in the names of their distributions.
HOMES = {"default": "mmencode-offline", "vae": "mmencode-diffusers"}


class SetAside(NamedTuple):
    """An encoder that can't be loaded, or not by one of its aliases, since its `name` belongs to `owner`.

    `broken` says that the owner failed to load, so that nothing is found under the name for now.
    """

    distribution: str
    version: str
    spec: EncoderSpec
    name: str
    owner: str
    broken: bool = False

    @property
    def alias(self) -> bool:
        """Whether only an alias is set aside, while the encoder can be loaded by its other names."""
        return self.name not in (self.spec.name, self.spec.space_name)

    @property
    def error(self) -> NameClashError:
        """The error for a caller who asks for the name; it names the distribution that doesn't own it."""
        what = f"the name {self.name!r}" if self.name == self.spec.name else f"its space {self.name!r}"
        if self.alias:
            what = f"its alias {self.name!r}"
        whose = f"{what} belongs to {self.owner}" + (", which failed to load" if self.broken else "")
        kind = f"the alias {self.name!r} of " if self.alias else ""
        return NameClashError(
            f"{kind}encoder {self.spec.name!r} of {self.distribution} is set aside: {whose}",
            culprit=f"{self.distribution} {self.version}",
            remedy=f"uninstall it, pip uninstall {self.distribution}, or bar it with "
            f"{VARIABLE}=-{canonicalize_name(self.distribution)}; its author should choose another name",
        )


class Owners(NamedTuple):
    """The result of settling all declarations: every name has one owner or is contested.

    specs      each with its distribution, and without aliases that belong to others
    contested  names without an owner, with the distributions that claim them
    set_aside  encoders and aliases whose name belongs to another distribution
    """

    specs: tuple[tuple[str, EncoderSpec], ...]
    contested: Mapping[str, tuple[str, ...]]
    set_aside: tuple[SetAside, ...]


def settle(plugins: Sequence[Plugin]) -> Owners:
    """Give each name to its owner, and set aside the encoders of others that claim it."""
    claims = sorted(_claims(plugins), key=lambda claim: (claim.rank, claim.name, claim.plugin.name))
    broken = {plugin.name: plugin.distribution for plugin in plugins if plugin.error is not None}
    taken, lost = _Taken(), _Lost()
    for claim in claims:
        heirs = [broken[name] for name in _owners(claim.name)[1 : claim.rank] if name in broken]
        owner = taken.better(claim)
        if owner is not None or heirs:
            lost.add(claim, owner or heirs[0], broken=owner is None)
        elif not lost.has(claim):
            taken.add(claim)
    kept = [claim for claim in claims if not lost.has(claim)]
    return Owners(tuple(_remaining(plugins, lost)), _find_contested(kept), tuple(lost.found.values()))


def owners_of(name: str) -> tuple[str, ...]:
    """The distributions that own a name if they are installed, the best owner first."""
    return tuple(owner for owner in _owners(name)[1:] if owner)


class _Claim(NamedTuple):
    """One name of one encoder; `rank` orders claims by their distribution's right to the name, from 0."""

    rank: int
    name: str
    plugin: Plugin
    spec: EncoderSpec


class _Taken:
    """The names that have been given, each with the distributions that have it and their claims."""

    def __init__(self, claims: Iterable[_Claim] = ()) -> None:
        self._at: dict[str, dict[str, _Claim]] = defaultdict(dict)
        self._below: dict[str, dict[str, _Claim]] = defaultdict(dict)  # for each family, the names inside it
        for claim in claims:
            self.add(claim)

    def add(self, claim: _Claim) -> None:
        """Give a claim its name; of a distribution's names inside a family the first, best one counts."""
        self._at[claim.name].setdefault(claim.plugin.name, claim)
        for family in _families(claim.name):
            self._below[family].setdefault(claim.plugin.name, claim)

    def better(self, claim: _Claim) -> str | None:
        """The distribution with a better right to the name, or to one inside it; None without one."""
        rivals = [*self.rivals(claim), *self._below.get(claim.name, {}).values()]
        others = [rival for rival in rivals if rival.plugin.name != claim.plugin.name]
        best = min(others, key=lambda rival: rival.rank, default=claim)
        return best.plugin.distribution if best.rank < claim.rank else None

    def rivals(self, claim: _Claim) -> Iterator[_Claim]:
        """The claims of the name, or of a family that contains it."""
        for name in (claim.name, *_families(claim.name)):
            yield from self._at.get(name, {}).values()


class _Lost:
    """The refused claims, by distribution, encoder, and alias where only an alias is refused."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str, str], SetAside] = {}

    def add(self, claim: _Claim, owner: str, *, broken: bool) -> None:
        """Refuse a claim, since the name belongs to the owner."""
        lost = SetAside(
            distribution=claim.plugin.distribution,
            version=claim.plugin.version,
            spec=claim.spec,
            name=claim.name,
            owner=owner,
            broken=broken,
        )
        self.found.setdefault((claim.plugin.name, claim.spec.name, lost.name if lost.alias else ""), lost)

    def has(self, claim: _Claim) -> bool:
        """Whether a claim, or the encoder that it is for, was refused."""
        own = (claim.plugin.name, claim.spec.name)
        return (*own, "") in self.found or (*own, claim.name) in self.found


def _claims(plugins: Iterable[Plugin]) -> Iterator[_Claim]:
    for plugin in plugins:
        for spec in plugin.specs:
            space = spec.name if spec.joins else spec.space_name  # to join a space claims no name
            for name in dict.fromkeys((spec.name, space, *spec.aliases)):
                owners = _owners(name)
                rank = owners.index(plugin.name) if plugin.name in owners else len(owners)
                yield _Claim(rank, name, plugin, spec)


def _owners(name: str) -> tuple[str, ...]:
    """The distributions that may own a name, the best first, with "" where HOMES hasn't its first word."""
    word = canonicalize_name(name.partition("/")[0])
    return PROJECT, HOMES.get(word, ""), f"{PROJECT}-{word}", word


def _families(name: str) -> list[str]:
    """The families that contain a name, as `timm/*` contains `timm/resnet50`."""
    parts = name.removesuffix("/*").split("/")
    return ["/".join(parts[:count]) + "/*" for count in range(1, len(parts))]


def _find_contested(claims: list[_Claim]) -> dict[str, tuple[str, ...]]:
    """The names that several distributions have an equal right to, each with these distributions."""
    taken = _Taken(claims)
    found: dict[str, tuple[str, ...]] = {}
    for claim in claims:
        rivals = {rival.plugin.name: rival.plugin.distribution for rival in taken.rivals(claim)}
        if len(rivals) > 1:
            found[claim.name] = tuple(sorted(rivals.values()))
    return found


def _remaining(plugins: Iterable[Plugin], lost: _Lost) -> Iterator[tuple[str, EncoderSpec]]:
    for plugin in plugins:
        for spec in plugin.specs:
            own = (plugin.name, spec.name)
            if (*own, "") not in lost.found:
                aliases = tuple(alias for alias in spec.aliases if (*own, alias) not in lost.found)
                yield plugin.distribution, spec if aliases == spec.aliases else replace(spec, aliases=aliases)
