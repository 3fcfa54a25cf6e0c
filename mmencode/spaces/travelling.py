"""How a space gets into another process: by its name, its folder or its specs, and never with its weights."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..card import is_same_space
from ..errors import EncoderError, IdentityError
from ..errors.causes import describe_error
from ..projection import Projection


@dataclass(frozen=True, slots=True)
class Way:
    """How to make a space anew: `make` is called with these, and with runtime, limits and fast by name."""

    make: Callable[..., Any]
    arguments: tuple[Any, ...]
    projections: Mapping[str, bytes] | None = None

    def go(self, id: str, options: Mapping[str, Any]) -> Any:
        """The space, made in this process; IdentityError when it is another one here."""
        led = {} if self.projections is None else {"projections": _unpacked(self.projections)}
        space = self.make(*self.arguments, **led, **options)
        if not is_same_space(space.id, id):
            raise IdentityError(
                f"space {space.name!r} is another one in this process: {id} was sent, and {space.id} is what "
                "its encoders give here",
                remedy="have the same plugins, weights and packages in both processes; vectors of the two "
                "can't be compared",
            )
        return space


def packed(projections: Mapping[str, Projection]) -> dict[str, bytes]:
    """Projections by modality as bytes; EncoderError for one that can't be pickled."""
    found = {}
    for modality, projection in projections.items():
        try:
            found[modality] = pickle.dumps(projection)  # not by shared memory, as multiprocessing would
        except Exception as cause:  # whatever its author wrote
            raise EncoderError(
                f"the projection of {modality} can't be sent to another process: {describe_error(cause)}",
                remedy="define its class in a module, or compose the space in the other process",
            ) from cause
    return found


def _unpacked(projections: Mapping[str, bytes]) -> dict[str, Projection]:
    return {name: pickle.loads(content) for name, content in projections.items()}  # noqa: S301 (of our pickle)
