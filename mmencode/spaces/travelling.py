"""The pickled form of a space: its name, its folder or its specs, and never its weights."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..card import is_same_space
from ..engine.runtime import Runtime
from ..errors import EncoderError, IdentityError
from ..errors.causes import describe_error
from ..projection import Projection


@dataclass(frozen=True, slots=True)
class Way:
    """A call that makes a space again in another process.

    make   takes `arguments`, the projections by name if there are any, and runtime, limits and fast by name
    """

    make: Callable[..., Any]
    arguments: tuple[Any, ...]
    projections: Mapping[str, bytes] | None = None

    def go(self, id: str, options: Mapping[str, Any]) -> Any:
        """Make the space in this process; IdentityError when its fingerprint is another one here."""
        fitted = {} if self.projections is None else {"projections": _unpack(self.projections)}
        space = self.make(*self.arguments, **fitted, **options)
        if not is_same_space(space.id, id):
            raise IdentityError(
                f"space {space.name!r} is another one in this process: {id} was sent, and its encoders make "
                f"{space.id} here",
                remedy="install the same plugins, weights and packages for both processes: vectors of the "
                "two can't be compared",
            )
        return space


@dataclass(frozen=True, slots=True)
class Journey:
    """A space on its way to other devices, pickled without a word about those that it has here.

    way      by which it is made again, and `options` those of all Spaces but the runtime
    id       that it must have there
    runtime  the settings that were asked for
    """

    way: Way
    id: str
    options: Mapping[str, Any]
    runtime: Mapping[str, Any]

    def arrive(self, device: str, cores: int) -> Any:
        """Make the space here, on a device and a share of the cores; IdentityError where it is another."""
        runtime = Runtime.with_share(self.runtime, device, cores)
        return self.way.go(self.id, {**self.options, "runtime": runtime})


def pack(projections: Mapping[str, Projection]) -> dict[str, bytes]:
    """Pickle projections by modality; EncoderError for one that can't be pickled."""
    packed = {}
    for modality, projection in projections.items():
        try:
            packed[modality] = pickle.dumps(projection)  # multiprocessing would move tensors to shared memory
        except Exception as cause:  # an author's class may fail in any way
            raise EncoderError(
                f"the projection of {modality} can't be sent to another process: {describe_error(cause)}",
                remedy="define its class in a module, or compose the space in the other process",
            ) from cause
    return packed


def _unpack(projections: Mapping[str, bytes]) -> dict[str, Projection]:
    return {name: pickle.loads(content) for name, content in projections.items()}  # noqa: S301 (bytes of `pack`)
