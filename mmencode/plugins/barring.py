"""The choice of the distributions that are asked for encoders, by the variable MMENCODE_PLUGINS.

It is an environment variable, since it must work in every program, and before any plugin's code runs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

from packaging.utils import canonicalize_name

from ..errors import PluginError
from ..errors.causes import quote
from .hookspecs import PROJECT

VARIABLE = "MMENCODE_PLUGINS"


class Choice(NamedTuple):
    """The distributions that are asked: the allowed ones, or all when none is named, without the denied ones.

    Both are patterns with * and ?. Only the exact name `mmencode` denies mmencode's own encoders.
    """

    allowed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()

    def bars(self, distribution: str) -> bool:
        """Whether a distribution's code must not run."""
        name = canonicalize_name(distribution)
        if name == PROJECT:
            return name in self.denied
        return _any(self.denied, name) or (bool(self.allowed) and not _any(self.allowed, name))

    def idle(self, distributions: Iterable[str]) -> tuple[str, ...]:
        """The patterns that match none of these distributions, since they may be misspelt."""
        names = [canonicalize_name(name) for name in distributions]
        words = (*self.allowed, *(f"-{word}" for word in self.denied))
        return tuple(word for word in words if not any(fnmatchcase(n, word.lstrip("-")) for n in names))


def read_choice() -> Choice:
    """Read patterns of names of distributions from the variable, with a minus before those that are barred.

    Raises PluginError for any other content, since the plugin that it was to bar must not run.
    """
    words = os.environ.get(VARIABLE, "").replace(",", " ").split()
    for word in words:
        if not re.fullmatch(r"-?[A-Za-z0-9*?][A-Za-z0-9*?._-]*", word):
            raise PluginError(
                f"{VARIABLE} has the word {quote(word, 100)}, which isn't the name of a distribution",
                culprit=f"the environment variable {VARIABLE}",
                remedy=f"name those to ask, {VARIABLE}=mmencode-offline,mmencode-scratch, or with a minus "
                f"those to leave out, {VARIABLE}=-mmencode-scratch",
            )
    return Choice(
        tuple(_plain(word) for word in words if not word.startswith("-")),
        tuple(_plain(word[1:]) for word in words if word.startswith("-")),
    )


def _plain(word: str) -> str:
    """Write a pattern as `canonicalize_name` writes names, and keep its * and ?."""
    return re.sub(r"[-_.]+", "-", word).lower()


def _any(patterns: Iterable[str], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
