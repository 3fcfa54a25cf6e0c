"""Whose a name is that several distributions claim, for an encoder, a space or an alias.

A name belongs by its first word: that of mmencode's own encoders to mmencode, the words below to who brought
them, any other word to the distribution `mmencode-<word>`, or else to `<word>`. Nothing that a newcomer can
choose but its own name counts, neither the order of names nor that of installation. Where no claimant owns
the word, nobody can know who was first: then the name that both claim is contested, and it alone.
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

# Words of mmencode's own plugins that the names of their distributions don't tell.
HOMES = {"default": "mmencode-offline", "vae": "mmencode-diffusers"}


class SetAside(NamedTuple):
    """An encoder that isn't to be had, or only an alias of it, since its `name` belongs to `owner`.

    `broken` says that the owner couldn't be loaded, so that its name leads nowhere for now.
    """

    distribution: str
    version: str
    spec: EncoderSpec
    name: str
    owner: str
    broken: bool = False

    @property
    def alias(self) -> bool:
        """Whether only the alias is set aside, and the encoder works by its other names."""
        return self.name not in (self.spec.name, self.spec.space_name)

    @property
    def error(self) -> NameClashError:
        """The error for whoever asks for it, which names the newcomer."""
        what = f"the name {self.name!r}" if self.name == self.spec.name else f"its space {self.name!r}"
        if self.alias:
            what = f"its alias {self.name!r}"
        whose = f"{what} belongs to {self.owner}" + (", which failed to load" if self.broken else "")
        kind = f"the alias {self.name!r} of " if self.alias else ""
        return NameClashError(
            f"{kind}encoder {self.spec.name!r} of {self.distribution} is set aside: {whose}",
            culprit=f"{self.distribution} {self.version}",
            remedy=f"uninstall the newcomer, pip uninstall {self.distribution}, or bar it with "
            f"{VARIABLE}=-{canonicalize_name(self.distribution)}; its author finds a name of its own",
        )


class Owners(NamedTuple):
    """What is left of all declarations once every name has one owner or is contested.

    specs      with their distributions, without the aliases that belong to others
    contested  names that nobody owns, with the distributions that claim them
    """

    specs: tuple[tuple[str, EncoderSpec], ...]
    contested: Mapping[str, tuple[str, ...]]
    set_aside: tuple[SetAside, ...]


def settle(plugins: Sequence[Plugin]) -> Owners:
    """Give each name to its owner, and set aside what others declare in its place."""
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
    return Owners(tuple(_left(plugins, lost)), _contested(kept), tuple(lost.found.values()))


def owners_of(name: str) -> tuple[str, ...]:
    """The distributions that own a name if they are installed, the first of them best."""
    return tuple(owner for owner in _owners(name)[1:] if owner)


class _Claim(NamedTuple):
    """One name of one encoder; `rank` is how good its distribution's right to the name is, 0 the best."""

    rank: int
    name: str
    plugin: Plugin
    spec: EncoderSpec


class _Taken:
    """The names that were given, each with the distributions that have it and their ranks."""

    def __init__(self, claims: Iterable[_Claim] = ()) -> None:
        self._at: dict[str, dict[str, _Claim]] = defaultdict(dict)
        self._below: dict[str, dict[str, _Claim]] = defaultdict(dict)  # a family, and names inside it
        for claim in claims:
            self.add(claim)

    def add(self, claim: _Claim) -> None:
        """Give the name; of a distribution's names inside a family the one with the best rank counts."""
        self._at[claim.name].setdefault(claim.plugin.name, claim)
        for family in _families(claim.name):
            self._below[family].setdefault(claim.plugin.name, claim)

    def better(self, claim: _Claim) -> str | None:
        """The distribution with the best right to the name or to what it would stand before, if better."""
        rivals = [*self.rivals(claim), *self._below.get(claim.name, {}).values()]
        others = [rival for rival in rivals if rival.plugin.name != claim.plugin.name]
        best = min(others, key=lambda rival: rival.rank, default=claim)
        return best.plugin.distribution if best.rank < claim.rank else None

    def rivals(self, claim: _Claim) -> Iterator[_Claim]:
        """The claims of this name, or of a family that it is in."""
        for name in (claim.name, *_families(claim.name)):
            yield from self._at.get(name, {}).values()


class _Lost:
    """The claims that were refused, by distribution, encoder and, where only that is refused, alias."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str, str], SetAside] = {}

    def add(self, claim: _Claim, owner: str, *, broken: bool) -> None:
        """Refuse a claim."""
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
        """Whether the name or its encoder was refused."""
        own = (claim.plugin.name, claim.spec.name)
        return (*own, "") in self.found or (*own, claim.name) in self.found


def _claims(plugins: Iterable[Plugin]) -> Iterator[_Claim]:
    for plugin in plugins:
        for spec in plugin.specs:
            for name in dict.fromkeys((spec.name, spec.space_name, *spec.aliases)):
                owners = _owners(name)
                rank = owners.index(plugin.name) if plugin.name in owners else len(owners)
                yield _Claim(rank, name, plugin, spec)


def _owners(name: str) -> tuple[str, ...]:
    """The distributions that may own a name, the best first; "" where mmencode knows no home for its word."""
    word = canonicalize_name(name.partition("/")[0])
    return PROJECT, HOMES.get(word, ""), f"{PROJECT}-{word}", word


def _families(name: str) -> list[str]:
    """The families that a name is inside of."""
    parts = name.removesuffix("/*").split("/")
    return ["/".join(parts[:count]) + "/*" for count in range(1, len(parts))]


def _contested(claims: list[_Claim]) -> dict[str, tuple[str, ...]]:
    """Names that several distributions have an equal right to, each with those."""
    taken = _Taken(claims)
    found: dict[str, tuple[str, ...]] = {}
    for claim in claims:
        rivals = {rival.plugin.name: rival.plugin.distribution for rival in taken.rivals(claim)}
        if len(rivals) > 1:
            found[claim.name] = tuple(sorted(rivals.values()))
    return found


def _left(plugins: Iterable[Plugin], lost: _Lost) -> Iterator[tuple[str, EncoderSpec]]:
    for plugin in plugins:
        for spec in plugin.specs:
            own = (plugin.name, spec.name)
            if (*own, "") not in lost.found:
                aliases = tuple(alias for alias in spec.aliases if (*own, alias) not in lost.found)
                yield plugin.distribution, spec if aliases == spec.aliases else replace(spec, aliases=aliases)
