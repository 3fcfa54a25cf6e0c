"""Everything that installed plugins declare: a read-only mapping from name to spec."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import TypeVar

from .errors import NameClashError, NoDefaultSpaceError, UnknownNameError
from .plugins import Plugin, discover
from .spec import EncoderSpec

DEFAULT = "default"
T = TypeVar("T")


class Registry(Mapping[str, EncoderSpec]):
    """Encoder name to EncoderSpec, over the plugins given.

    A family `name/*` stands in the iteration by its own name and answers for each of its members. A name
    that two distributions declare raises NameClashError when it is asked for; until then it hurts nobody.
    """

    def __init__(self, plugins: tuple[Plugin, ...]) -> None:
        self.plugins = plugins
        self._encoders: dict[str, dict[str, EncoderSpec]] = defaultdict(dict)  # name -> distribution -> spec
        self._spaces: dict[str, dict[str, list[EncoderSpec]]] = defaultdict(dict)
        self._aliases: dict[str, dict[str, str]] = defaultdict(dict)  # alias -> distribution -> space
        for plugin in plugins:
            for spec in plugin.specs:
                self._encoders[spec.name][plugin.distribution] = spec
                self._spaces[spec.space_name].setdefault(plugin.distribution, []).append(spec)
                for alias in spec.aliases:
                    self._aliases[alias][plugin.distribution] = spec.space_name

    def __getitem__(self, name: str) -> EncoderSpec:
        if name in self._encoders:
            return _only(name, self._encoders[name])
        family = _family(name, self._encoders)
        if family is None:
            raise self._unknown("encoder", name, list(self._encoders))
        return _only(family, self._encoders[family]).member(name[len(family) - 1 :])

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._encoders))

    def __len__(self) -> int:
        return len(self._encoders)

    @property
    def spaces(self) -> tuple[str, ...]:
        """The names of all declared spaces, families included."""
        return tuple(sorted(self._spaces))

    @property
    def failed(self) -> tuple[Plugin, ...]:
        """The plugins that were set aside, each with its `error`."""
        return tuple(plugin for plugin in self.plugins if plugin.error is not None)

    def distribution(self, name: str) -> str:
        """Which distribution declares this encoder; of two, the error that names both."""
        spec = self[name]
        declared = name if name in self._encoders else name.removesuffix(spec.variant) + "*"
        return next(iter(self._encoders[declared]))

    def space(self, name: str) -> tuple[EncoderSpec, ...]:
        """The encoders of a space, by its name or an alias, sorted by modality.

        Raises UnknownNameError with the nearest names, or NameClashError with both distributions.
        """
        if name in self._aliases:
            owners = self._aliases[name] | dict.fromkeys(self._spaces.get(name, {}), name)
            name = _only(name, owners)
        if name in self._spaces:
            return _by_modality(_only(name, self._spaces[name]))
        family = _family(name, self._spaces)
        if family is None:
            raise self._unknown("space", name, [*self._spaces, *self._aliases])
        specs = _only(family, self._spaces[family])
        return _by_modality([spec.member(name[len(family) - 1 :]) for spec in specs])

    def default_space(self) -> str:
        """The name of the space called `default`, or of the only one installed; families don't count."""
        if DEFAULT in self._aliases or DEFAULT in self._spaces:
            return DEFAULT
        choices = [name for name in self.spaces if not name.endswith("/*")]
        if len(choices) == 1:
            return choices[0]
        if choices:
            remedy = f"name one of {', '.join(choices)}: encode(modality, batch, space=name)"
        else:
            remedy = "install one: pip install 'mmencode-offline[audio]'"
        raise NoDefaultSpaceError(
            f"no space was named, and {len(choices)} are installed, none of them called {DEFAULT!r}",
            culprit=self._failures(),
            remedy=remedy,
        )

    def _unknown(self, kind: str, name: str, known: list[str]) -> UnknownNameError:
        near = get_close_matches(name, known, n=3, cutoff=0.5)
        did_you_mean = f"did you mean {' or '.join(near)}? " if near else ""
        return UnknownNameError(
            f"no {kind} is called {name!r}",
            culprit=self._failures(),
            remedy=f"{did_you_mean}`mmencode list` shows what is installed",
        )

    def _failures(self) -> str:
        causes = [f"{plugin.distribution} failed to load: {plugin.error!r}" for plugin in self.failed]
        return "; ".join(causes)


def _by_modality(specs: list[EncoderSpec]) -> tuple[EncoderSpec, ...]:
    return tuple(sorted(specs, key=lambda spec: spec.modality))


def _family(name: str, known: Mapping[str, object]) -> str | None:
    """The longest declared family that `name` is a member of."""
    parents = [key for key in known if key.endswith("/*") and name.startswith(key[:-1]) and name != key[:-1]]
    return max(parents, key=len, default=None)


def _only(name: str, owners: Mapping[str, T]) -> T:
    """The one entry of `owners`, which maps distributions to what they declare under `name`."""
    if len(owners) > 1:
        distributions = " and ".join(sorted(owners))
        raise NameClashError(
            f"{name!r} is declared by {distributions}",
            culprit=distributions,
            remedy=f"uninstall one of them: pip uninstall {sorted(owners)[-1]}",
        )
    return next(iter(owners.values()))


@functools.cache
def registry() -> Registry:
    """Everything that is installed, found once; `registry.cache_clear()` looks again."""
    return Registry(discover())
