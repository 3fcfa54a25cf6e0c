"""The registry of encoders: a read-only mapping from name to spec over all installed plugins."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING

from .. import plugins as finding
from ..arguments.brief import table_in_markdown
from ..errors import MmencodeError, NameClashError, NoDefaultSpaceError, UnknownNameError
from ..errors.suggestions import did_you_mean
from .joining import Joiner, LeftOut, settle_joiners
from .modality import ModalitySpec
from .spec import EncoderSpec

if TYPE_CHECKING:
    from . import Plugin
    from .modality_owners import Modalities
    from .owners import SetAside

DEFAULT = "default"


class Registry(Mapping[str, EncoderSpec]):
    """A mapping from the name of an encoder to its EncoderSpec, over these plugins.

    Iteration gives a family by its own name, `timm/*`; a lookup also takes the name of any of its members. A
    name belongs to one distribution, and encoders of others under that name are in `set_aside`. Where no
    owner can be told, the name is in `contested` with the distributions that claim it: it isn't in the
    iteration, and a lookup raises NameClashError. Encoders that may not join the space that they name are in
    `left_out`, each with the error, and are looked up as all others. `modalities`
    are settled likewise.
    """

    modalities: Modalities
    set_aside: tuple[SetAside, ...]
    contested: Mapping[str, tuple[str, ...]]
    left_out: tuple[LeftOut, ...]

    def __init__(self, plugins: tuple[Plugin, ...]) -> None:
        self.plugins = plugins
        owners = finding.settle(plugins)
        self.modalities = finding.settle_modalities(plugins)
        self.set_aside = owners.set_aside
        self.contested = owners.contested
        self._encoders: dict[str, tuple[str, EncoderSpec]] = {}  # with the distribution
        self._spaces: dict[str, list[EncoderSpec]] = defaultdict(list)
        self._aliases: dict[str, str] = {}  # alias to space
        for distribution, spec in owners.specs:
            self._encoders[spec.name] = (distribution, spec)
            if not spec.joins:
                self._spaces[spec.space_name].append(spec)
                self._aliases |= dict.fromkeys(spec.aliases, spec.space_name)
        joiners = (Joiner(*owned) for owned in owners.specs if owned[1].joins)
        self._joined, self.left_out = settle_joiners(joiners, self._frame_of)

    def __getitem__(self, name: str) -> EncoderSpec:
        return self._find(name)[1]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._encoders.keys() - self.contested.keys()))

    def __len__(self) -> int:
        return len(self._encoders.keys() - self.contested.keys())

    def __contains__(self, name: object) -> bool:
        try:
            return isinstance(name, str) and self[name] is not None
        except (UnknownNameError, NameClashError):
            return False

    def __repr__(self) -> str:
        held = f"{len(self)} encoders in {len(self.spaces)} spaces"
        return f"<Registry of {held}, from {len(self.plugins)} plugins>"

    def _repr_markdown_(self) -> str:
        """The spaces with their modalities as a table, as notebooks show it."""
        rows = []
        for name in self.spaces:
            specs = [*self._spaces[name], *self.joiners(name)]
            rows.append((name, ", ".join(dict.fromkeys(spec.modality for spec in specs))))
        return f"{len(self)} encoders\n\n{table_in_markdown(('space', 'modalities'), rows)}"

    @property
    def spaces(self) -> tuple[str, ...]:
        """The names of all declared spaces and families of spaces, without contested ones."""
        return tuple(sorted(self._spaces.keys() - self.contested.keys()))

    @property
    def failed(self) -> tuple[Plugin, ...]:
        """The plugins that failed to load, each with its `error`."""
        return tuple(plugin for plugin in self.plugins if plugin.error is not None)

    def modality(self, name: str) -> ModalitySpec | None:
        """Find a modality by its name; None where nobody declares it, NameClashError where it's contested."""
        if name in self.modalities.contested:
            raise self._clash(f"modality {name!r}", self.modalities.contested[name])
        _, found = self.modalities.owned.get(name, ("", None))
        return found

    def distribution(self, name: str) -> str:
        """The distribution that declares this encoder; NameClashError for a contested name."""
        return self._find(name)[0]

    def version(self, name: str) -> str:
        """The version of the distribution that declares this encoder."""
        distribution = self.distribution(name)
        return next(plugin.version for plugin in self.plugins if plugin.distribution == distribution)

    def space(self, name: str) -> tuple[EncoderSpec, ...]:
        """The encoders of a space, by its name or an alias, sorted by modality: its own, and those that join.

        Raises UnknownNameError with the nearest names, or NameClashError with the distributions.
        """
        frame = self._frame(name)
        return _by_modality([*frame, *self.joiners(frame[0].space_name)])

    def joiners(self, space: str) -> tuple[EncoderSpec, ...]:
        """The encoders that join the space of this name, installed or not, without those left out."""
        return self._joined.get(space, ())

    def absent(self, space: str) -> dict[str, MmencodeError]:
        """The errors of the encoders that are left out of the space of this name, by key."""
        return {lost.spec.key: lost.error for lost in self.left_out if lost.spec.joins == space}

    def _frame_of(self, name: str) -> tuple[Joiner, ...]:
        """The encoders that define a space, with their distributions; none where there is no such space."""
        try:
            frame = self._frame(name)
        except (UnknownNameError, NameClashError):
            return ()
        return tuple(Joiner(self.distribution(spec.name), spec) for spec in frame)

    def _frame(self, name: str) -> tuple[EncoderSpec, ...]:
        """The encoders that define a space, by its name or an alias, sorted by modality."""
        self._require_owned(name)
        name = self._aliases.get(name, name)
        if name in self._spaces:
            self._require_owned(name)
            return _by_modality(self._spaces[name])
        family = _family(name, self._spaces)
        if family is None:
            raise self._absent("space", name, [*self._spaces, *self._aliases])
        self._require_owned(family)
        return _by_modality(spec.member(name[len(family) - 1 :]) for spec in self._spaces[family])

    def default_space(self) -> str:
        """The name of the space called `default`, or else of the only installed one; families don't count."""
        if DEFAULT in self._aliases or DEFAULT in self._spaces or DEFAULT in self.contested:
            return DEFAULT
        choices = [name for name in self.spaces if not name.endswith("/*")]
        broken = [plugin for plugin in self.failed if plugin.name in finding.owners_of(DEFAULT)]
        if len(choices) == 1 and not broken:
            return choices[0]
        if choices:
            remedy = f"name one of {', '.join(choices)}: encode(modality, batch, space=name)"
        else:
            remedy = "install one: pip install 'mmencode-offline[audio]'"
        count = (
            "1 is installed, which isn't"
            if len(choices) == 1
            else f"{len(choices)} are installed, none of them"
        )
        raise NoDefaultSpaceError(
            f"no space was named, and {count} called {DEFAULT!r}",
            culprit=self.about(DEFAULT),
            remedy=remedy,
        )

    def _find(self, name: str) -> tuple[str, EncoderSpec]:
        """Look up an encoder or a family's member; its distribution and its spec."""
        self._require_owned(name)
        if name in self._encoders:
            return self._encoders[name]
        family = _family(name, self._encoders)
        if family is None:
            raise self._absent("encoder", name, list(self._encoders))
        self._require_owned(family)
        distribution, spec = self._encoders[family]
        return distribution, spec.member(name[len(family) - 1 :])

    def _require_owned(self, name: str) -> None:
        """Raise NameClashError for a name that several distributions claim with the same right."""
        if name not in self.contested:
            return
        own = sorted(
            {spec.space_name for _, spec in self._encoders.values() if name in spec.aliases}
            - self.contested.keys()
        )
        by_name = f"load a space by its own name, {' or '.join(own)}; or " if own else ""
        raise self._clash(repr(name), self.contested[name], by_name)

    def _clash(self, what: str, distributions: tuple[str, ...], by_name: str = "") -> NameClashError:
        """The error for what several distributions declare with the same right."""
        first = min(plugin.name for plugin in self.plugins if plugin.distribution in distributions)
        return NameClashError(
            f"{what} is declared by {' and '.join(distributions)}",
            culprit=" and ".join(distributions),
            remedy=f"{by_name}keep one of them: bar the other, {finding.VARIABLE}=-{first} for one, or "
            f"uninstall it, pip uninstall {first}",
        )

    def _absent(self, kind: str, name: str, known: list[str]) -> UnknownNameError | NameClashError:
        """The error for a name that can't be used: it was set aside, or no plugin declares it."""
        for lost in self.set_aside:
            own = lost.spec.name if kind == "encoder" else lost.spec.space_name
            member = own.endswith("/*") and name.startswith(own[:-1])
            if member or name in (own, lost.name):
                error = lost.error
                error.culprit += f"; {self.about(lost.name)}" if lost.broken else ""
                return error
        if name in self._encoders and (joins := self._encoders[name][1].joins):
            return UnknownNameError(
                f"no space is called {name!r}: the encoder of that name joins the space {joins!r}",
                culprit=self._encoders[name][0],
                remedy=f"load that: mmencode.load({joins!r})",
            )
        return UnknownNameError(
            f"no {kind} is called {name!r}",
            culprit=self.about(name),
            remedy=f"{did_you_mean(name, known)} `mmencode list` shows what is installed".lstrip(),
        )

    def about(self, name: str, distribution: str = "") -> str:
        """Say which unusable plugins may declare a name, and why they failed; others are only counted.

        `distribution` is one that has declared the name before.
        """
        out = [plugin for plugin in self.plugins if plugin.error is not None or plugin.barred]
        related = [one for one in out if one.distribution == distribution or _is_related(one, name)]
        said = [
            f"{plugin.distribution} {plugin.version} is barred by {finding.VARIABLE}"
            if plugin.barred
            else f"{plugin.distribution} {plugin.version} failed to load: {plugin.cause}"
            for plugin in related[:2]
        ]
        others = len(self.failed) - sum(plugin.error is not None for plugin in related[:2])
        if others:
            count = "1 plugin was" if others == 1 else f"{others} plugins were"
            said.append(f"{count} set aside: `mmencode plugins` shows why")
        return "; ".join(said)


def _is_related(plugin: Plugin, name: str) -> bool:
    """Whether a plugin probably declares a name, by the name's first word."""
    word = name.partition("/")[0].lower()
    own = plugin.name.removeprefix("mmencode-")
    return plugin.name in finding.owners_of(name) or bool(get_close_matches(word, [own], cutoff=0.8))


def _by_modality(specs: Iterable[EncoderSpec]) -> tuple[EncoderSpec, ...]:
    return tuple(sorted(specs, key=lambda spec: spec.key))


def _family(name: str, known: Mapping[str, object]) -> str | None:
    """The longest declared family that contains a name; None when no family does."""
    parents = [key for key in known if key.endswith("/*") and name.startswith(key[:-1]) and name != key[:-1]]
    return max(parents, key=len, default=None)


@functools.cache
def registry() -> Registry:
    """Find all installed plugins, once in a process; after `registry.cache_clear()` again."""
    return Registry(finding.discover())
