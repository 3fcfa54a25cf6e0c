"""Proofs that a graph computes what its encoder does: on probes of several sizes, and on larger batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, final

import torch
from torch import Tensor

from ...encoder import Encoder, Tensors
from ...encoder.notices import without_notices
from ...errors import EncoderError, MmencodeError
from ...errors.causes import describe_error, out_of_memory
from ...plugins.spec import EncoderSpec
from ..generated import generated_values
from ..runtime import move
from .exporting import refuse
from .sessions import Sessions

CLOSE = 1e-4  # of an encoder's largest feature: how far rounding may move one
_CPU = torch.device("cpu")


def make_batches(encoder: Encoder, spec: EncoderSpec) -> list[Tensors]:
    """Collate a modality's probes, of several sizes and in several numbers, the first batch of two.

    Raises EncoderError for a modality without probes, and for an encoder that refuses them.
    """
    values = _values(spec)
    return _collate(encoder, spec, [values[:2], values, values[-1:], values[:1], values[1:4]])


def make_singles(encoder: Encoder, spec: EncoderSpec) -> list[Tensors]:
    """Collate each of a modality's probes alone; raises as `make_batches`."""
    return _collate(encoder, spec, [[value] for value in _values(spec)])


def _values(spec: EncoderSpec) -> list[Any]:
    values = generated_values(spec.modality, spec.parts)
    if len(values) < 2:
        raise refuse(spec, "can't be compared with its export: its modality has no probes")
    return values


def _collate(encoder: Encoder, spec: EncoderSpec, chosen: list[list[Any]]) -> list[Tensors]:
    try:
        with without_notices():
            prepared = [[encoder.preprocess(value) for value in some] for some in chosen]
        return [move(encoder.collate(some), _CPU, torch.float32) for some in prepared]
    except Exception as cause:  # the encoder's own code
        raise refuse(spec, f"can't be exported: its probes fail, {describe_error(cause)}") from cause


@final
class Exported:
    """The forward pass of an encoder as a backend computes it, from a graph that is proven to be the same.

    A graph is traced, so that code which looks at sizes may have been left out. Where a batch has a size
    beyond those that were compared so far, torch computes it, too, and the two are compared.
    """

    def __init__(self, encoder: Encoder, spec: EncoderSpec, sessions: Sessions, holder: object) -> None:
        self._encoder, self._spec, self._sessions = encoder, spec, sessions
        self._holder = holder  # which removes the graph's file when it goes
        self._seen: dict[str, tuple[tuple[int, int], ...]] = {}

    def __call__(self, tensors: Tensors) -> Tensor:
        """Features `[b, width]`, as the encoder itself gives them but for rounding."""
        if self.covers(tensors):
            try:
                return self._run(tensors)
            except EncoderError:  # an item may be at fault, of which torch says more
                pass
        return self.prove(tensors)

    def covers(self, tensors: Tensors) -> bool:
        """Whether every size of a batch lies between some that were compared."""
        seen = self._seen
        return tensors.keys() == seen.keys() and all(
            len(tensor.shape) == len(seen[name])
            and all(low <= size <= high for size, (low, high) in zip(tensor.shape, seen[name], strict=True))
            for name, tensor in tensors.items()
        )

    def prove(self, tensors: Tensors) -> Tensor:
        """Compute a batch both ways; EncoderError, with the angle, where the features differ."""
        if self._seen and tensors.keys() != self._seen.keys():
            raise refuse(self._spec, f"was exported for {', '.join(self._seen)}, not {', '.join(tensors)}")
        expected: Tensor = self._encoder({name: tensor.clone() for name, tensor in tensors.items()})
        found = self._run(tensors)
        shapes = tuple(expected.shape), tuple(found.shape)
        if shapes[0] != shapes[1] or not _is_close(found, expected):
            angle = largest_angle(found, expected) if shapes[0] == shapes[1] else 180.0
            raise refuse(
                self._spec,
                f"gives other features once exported, up to {angle:.3g} degrees from torch's, for a batch of "
                f"{', '.join(f'{name} {tuple(tensor.shape)}' for name, tensor in tensors.items())}",
            )
        self._seen = dict(self._widen(tensors))
        return found

    def release(self) -> None:
        """Let the session go until it is needed."""
        self._sessions.close()

    def _widen(self, tensors: Tensors) -> Iterator[tuple[str, tuple[tuple[int, int], ...]]]:
        for name, tensor in tensors.items():
            sizes = tuple((size, size) for size in tensor.shape)
            known = self._seen.get(name, sizes)
            yield (
                name,
                tuple(
                    (min(low, size), max(high, size))
                    for (size, _), (low, high) in zip(sizes, known, strict=True)
                ),
            )

    def _run(self, tensors: Tensors) -> Tensor:
        try:
            return self._sessions.run(tensors)
        except MmencodeError:
            raise
        except Exception as cause:  # each library has its own types
            if out_of_memory(cause):
                raise
            raise refuse(self._spec, f"fails once exported: {describe_error(cause)}") from cause


def _is_close(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).abs().max() <= CLOSE * expected.abs().max())


def largest_angle(found: Tensor, expected: Tensor) -> float:
    """The largest angle between rows `[b, width]`, in degrees, by their chord, which is precise."""
    one, other = (torch.nn.functional.normalize(rows.double(), dim=-1) for rows in (found, expected))
    chords = (one - other).norm(dim=-1)
    return float(torch.rad2deg(2 * (chords / 2).clamp(0, 1).asin()).max())
