"""The space that a host keeps by its name, loaded when it is first used and compared by its fingerprint."""

from __future__ import annotations

import os
import threading
from typing import Any

import mmencode
from mmencode import Embeddings, Space
from mmencode.errors import SpaceMismatchError, TrustError, UnknownNameError

SpaceLike = Space | str | os.PathLike[str]


def fingerprint_of(space: Space | Embeddings) -> str:
    """The 16 digits that decide whether vectors may be compared, of a space or of vectors."""
    return (space.id if isinstance(space, Space) else space.space).rpartition("@")[2]


def require_space(held: str, embeddings: Embeddings) -> Any:
    """The vectors of embeddings, `[n, dim]`, of the space whose id a host keeps beside its own vectors.

    SpaceMismatchError for those of another space, TypeError for what doesn't say what space it is of.
    """
    if not isinstance(embeddings, Embeddings):
        raise TypeError(f"embeddings are {type(embeddings).__name__}: pass what space.encode() gives")
    if fingerprint_of(embeddings) != held.rpartition("@")[2]:
        raise SpaceMismatchError(
            f"vectors of two spaces can't be put together: those kept are of {held}, and these of "
            f"{embeddings.space}",
            remedy="encode with the space that made the others, or encode all items again into a new place; "
            "equal widths don't make vectors comparable",
        )
    embeddings.require_unit()
    return embeddings.vectors


class KeptSpace:
    """A space as a host keeps it: a name or the path of a folder, and the fingerprint of its vectors.

    Without a `fingerprint`, the space is loaded at once to know it. With one, it is loaded when it is first
    used, and another space is refused then. Where the host's own records name the space, a checkpoint is
    refused that would be fetched because of that. All of one name share one loaded space, which
    `shared.clear()` lets go.
    """

    def __init__(
        self, space: SpaceLike, fingerprint: str = "", *, host: str, is_recorded: bool = False
    ) -> None:
        if isinstance(space, Space):
            self.name = space.name
        else:  # records hold what this made of a name, and are believed no more than they must be
            self.name = os.fsdecode(space) if is_recorded else _absolute(space)
        self.host = host
        self.fingerprint = fingerprint
        self._given = space if isinstance(space, Space) else None
        self._is_recorded = is_recorded
        self._is_checked = False
        if not fingerprint:
            self.fingerprint = fingerprint_of(open_space(space))

    def get(self) -> Space:
        """The space, loaded; SpaceMismatchError for another than made the host's vectors, or TrustError."""
        space = self._given or shared(self.name, recorded_by=self.host if self._is_recorded else "")
        if not self._is_checked:
            self._require(fingerprint_of(space), f"that name is {space.id} here")
            self._is_checked = True
        return space

    def accept(self, embeddings: Embeddings) -> list[Any]:
        """List vectors that may lie beside the host's; SpaceMismatchError for those of another space."""
        return list(require_space(f"{self.name}@{self.fingerprint}", embeddings))

    def _require(self, found: str, but: str) -> None:
        if found != self.fingerprint:
            raise SpaceMismatchError(
                f"vectors of two spaces can't be put together: those of {self.host} are of "
                f"the space {self.fingerprint}, called {self.name!r}, and {but}",
                remedy="install the plugins and weights that made the vectors, or encode all items again "
                "into a new place; equal widths don't make vectors comparable",
            )


class Shared:
    """The spaces that adapters use in this process, each loaded once, however many threads ask for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spaces: dict[str, Space] = {}

    def __call__(self, name: str, recorded_by: str = "") -> Space:
        """The space of that name or folder, loaded, with the host whose records name it if none else does.

        TrustError, in that case, for a checkpoint that would be fetched; raises as `mmencode.load`.
        """
        with self._lock:
            if name not in self._spaces:
                if recorded_by:
                    _require_trusted(name, recorded_by)
                self._spaces[name] = mmencode.load(name)
            return self._spaces[name]

    def clear(self) -> None:
        """Let the spaces go, which stay usable for whoever still holds them."""
        with self._lock:
            self._spaces.clear()


shared = Shared()


def open_space(space: SpaceLike) -> Space:
    """Return a loaded space as it is, and load one by its name or folder once for this process."""
    return space if isinstance(space, Space) else shared(_absolute(space))


def _absolute(name: str | os.PathLike[str]) -> str:
    """The name of an installed space as it is, and of a folder its absolute path, which holds anywhere."""
    found = os.fsdecode(name)
    if isinstance(name, str):
        try:
            mmencode.registry().space(found)
            return found
        except UnknownNameError:
            if not os.path.isdir(found):
                raise
    return os.path.abspath(found)


def _require_trusted(name: str, host: str) -> None:
    """Raise TrustError for a checkpoint that would be fetched only because a host's records name it."""
    try:
        specs = mmencode.registry().space(name)
    except UnknownNameError:
        return  # a folder, for which `load` asks itself
    fetched = sorted({spec.name for spec in specs if spec.variant and not os.path.isabs(spec.variant)})
    if fetched:
        raise TrustError(
            f"the records of {host} name encoders that would be fetched: {', '.join(fetched):.500}",
            remedy=f"if you trust whoever wrote them, load {name!r} yourself before, with `shared` of "
            "mmencode_adapters in its module spaces",
        )
