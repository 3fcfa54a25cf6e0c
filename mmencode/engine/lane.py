"""A lane: one tower on one device, which turns windows of prepared items into rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Generic, TypeVar, final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..embeddings.array_types import Vectors
from ..encoder import Tensors
from ..errors import EncoderError, InputError
from ..errors.causes import message_of, out_of_memory
from ..isolation.fence import plain_torch
from .attempt import Attempt
from .blame import ends_the_call, make_failure, place, require_device
from .call import Call, Part, Prepared, Window
from .judging import Judge
from .runtime import move
from .streams import take_turn
from .teams import at_most
from .towers import Tower
from .windows import cut_batches

Rows = TypeVar("Rows")  # of a window, on the CPU
Output = TypeVar("Output")  # of a batch, on the device


class Lane(ABC, Generic[Rows, Output]):
    """One tower on one device and, where it has streams, on one stream of it.

    The copies of one window overlap with the forward passes of another, and several devices share a call. A
    subclass says what a batch goes through (`forward`) and what comes of it on the CPU (`gather`).
    """

    call: Call
    tower: Tower

    def __init__(self, call: Call, tower: Tower, stream: torch.cuda.Stream | None = None) -> None:
        self.call, self.tower = call, tower
        self._stream = stream

    def compute(self, window: Window, *, judged: bool = True) -> Part[Rows]:
        """Turn a window of prepared items into rows in input order.

        A window that isn't `judged` takes each failure for the item's own, and raises none.
        """
        attempt = Attempt[Output](window.items)
        judge = Judge(self, attempt) if judged else None
        with (
            at_most(self.call.runtime.cores),
            torch.cuda.stream(self._stream),
            plain_torch(self.tower.device.type),
            torch.inference_mode(),
        ):
            for batch in cut_batches(window.items, self.tower.budget, self.call.runtime):
                self.run(batch, attempt)
                if judge is not None:
                    judge.follow()
            rows = self._gather(attempt.outputs)
        for row, fault in self.find_faults(rows):
            attempt.blame(row, f"encoder {self.tower.spec.name!r} gives it {fault}")
        if judge is not None:
            judge.settle()
        order = attempt.order()
        return Part(
            len(window.items), self.pick(rows, order), attempt.positions(order), attempt.errors, window.ends
        )

    def run(self, batch: list[Prepared], attempt: Attempt[Output]) -> None:
        """Run a batch; one that fails is halved until what is at fault stands alone.

        So memory that runs out costs a few passes, and an item that breaks the forward pass costs its
        neighbours nothing. The tower remembers how many items fit.
        """
        try:
            attempt.add(batch, self.forward(batch))
            return
        except BaseException as cause:
            require_device(cause, self.tower.device, self.tower.spec.name)
            if ends_the_call(cause):
                raise
            if out_of_memory(cause):
                self.tower.budget.ran_out(batch[-1].elements, len(batch))
            if len(batch) == 1:
                attempt.errors.append(self._error_of(batch[0], cause))
                return
        # Not inside the handler: there, the failed pass's tensors would live on with the exception.
        half = len(batch) // 2
        self.run(batch[:half], attempt)
        self.run(batch[half:], attempt)

    def _gather(self, outputs: list[Output]) -> Rows:
        """Gather the outputs; a device says only now what failed on it, since it computes by itself."""
        try:
            return self.gather(outputs)
        except Exception as cause:
            require_device(cause, self.tower.device, self.tower.spec.name)
            raise

    def _error_of(self, item: Prepared, cause: BaseException) -> InputError:
        if isinstance(cause, InputError):
            return place(cause, item.index, item.source)
        return make_failure(f"encoder {self.tower.spec.name!r} failed on it", item.index, item.source, cause)

    @abstractmethod
    def forward(self, batch: list[Prepared]) -> Output:
        """Take a batch through the tower, on its device."""

    @abstractmethod
    def gather(self, outputs: list[Output]) -> Rows:
        """Bring what all batches of a window gave to the CPU, a row for each computed item."""

    @abstractmethod
    def find_faults(self, rows: Rows) -> Iterator[tuple[int, str]]:
        """Find the rows that nobody can use, and say what the encoder gave instead."""

    @abstractmethod
    def pick(self, rows: Rows, order: list[int]) -> Rows:
        """Pick rows in this order."""


@final
class EmbeddingLane(Lane[Vectors, Tensor]):
    """The whole path, to unit vectors `[k, dim]`."""

    def forward(self, batch: list[Prepared]) -> Tensor:
        """Collate, move, forward, project, normalise: `[b, dim + 1]`, the last column the length before."""
        tower = self.tower
        tensors = tower.encoder.collate(_tensors_of(batch))  # [b, ...]
        tensors = move(tensors, tower.device, tower.dtype)
        with take_turn(tower.device):
            features = tower.forward(tensors)  # [b, width]
        _require_shape(tower, features, (len(batch), tower.encoder.width), "features")
        vectors = tower.projection(features.float())  # [b, dim]
        _require_shape(tower, vectors, (len(batch), tower.dim), "embeddings")
        lengths = vectors.norm(dim=-1, keepdim=True)  # [b, 1]
        return torch.cat([normalize(vectors, dim=-1), lengths], dim=1)

    def gather(self, outputs: list[Tensor]) -> Vectors:
        """Bring the vectors of all batches to the CPU in one copy, `[k, dim + 1]`."""
        return _to_cpu(outputs, self.tower, self.tower.dim + 1)

    def find_faults(self, rows: Vectors) -> Iterator[tuple[int, str]]:
        """Find the vectors that have no direction, since their length is no positive number."""
        lengths = rows[:, -1]
        for row in np.flatnonzero(~np.isfinite(lengths) | (lengths == 0)).tolist():
            yield row, f"no direction: length {lengths[row]:g}"

    def pick(self, rows: Vectors, order: list[int]) -> Vectors:
        """Pick vectors in this order, without their lengths."""
        return rows[order, :-1]


@final
class FeatureLane(Lane[Vectors, Tensor]):
    """The path up to the encoder's features `[k, width]`, neither projected nor normalised."""

    def forward(self, batch: list[Prepared]) -> Tensor:
        """Collate, move, forward: `[b, width]`."""
        tower = self.tower
        tensors = tower.encoder.collate(_tensors_of(batch))  # [b, ...]
        tensors = move(tensors, tower.device, tower.dtype)
        with take_turn(tower.device):
            features = tower.forward(tensors)  # [b, width]
        _require_shape(tower, features, (len(batch), tower.encoder.width), "features")
        return features.float()

    def gather(self, outputs: list[Tensor]) -> Vectors:
        """Bring the features of all batches to the CPU in one copy, `[k, width]`."""
        return _to_cpu(outputs, self.tower, self.tower.encoder.width)

    def find_faults(self, rows: Vectors) -> Iterator[tuple[int, str]]:
        """Find the features that hold NaN or an infinity."""
        for row in np.flatnonzero(~np.isfinite(rows).all(axis=1)).tolist():
            yield row, "features that aren't finite"

    def pick(self, rows: Vectors, order: list[int]) -> Vectors:
        """Pick features in this order."""
        return rows[order]


@final
class TokenLane(Lane[list[Vectors], tuple[Tensor, Tensor]]):
    """The path to the encoder's contextual outputs `[t, width]`, neither projected nor normalised."""

    def forward(self, batch: list[Prepared]) -> tuple[Tensor, Tensor]:
        """Collate, move, forward, and back to the CPU: tokens `[b, t, width]` and their mask `[b, t]`.

        Those of a whole window may be more than a device holds.
        """
        tokens, mask = forward_tokens(self.tower, batch)
        return tokens.cpu(), mask.bool().cpu()

    def gather(self, outputs: list[tuple[Tensor, Tensor]]) -> list[Vectors]:
        """Split the tokens of all batches, into those of each item that its mask lets through."""
        rows: list[Vectors] = []
        for tokens, mask in outputs:
            arrays = tokens.float().numpy()  # [b, t, width]
            rows += [array[valid] for array, valid in zip(arrays, mask.numpy(), strict=True)]
        return rows

    def find_faults(self, rows: list[Vectors]) -> Iterator[tuple[int, str]]:
        """Find the items whose tokens hold NaN or an infinity."""
        for row, array in enumerate(rows):
            if not np.isfinite(array).all():
                yield row, "tokens that aren't finite"

    def pick(self, rows: list[Vectors], order: list[int]) -> list[Vectors]:
        """Pick the tokens of items in this order."""
        return [rows[row] for row in order]


@final
class MultiLane(Lane[list[Vectors], tuple[Tensor, Tensor]]):
    """The whole path of late interaction, to the unit vectors `[t, dim]` of all positions that count."""

    def forward(self, batch: list[Prepared]) -> tuple[Tensor, Tensor]:
        """Collate, move, forward, project, normalise: `[m, dim + 1]` of all items together, and `[b]` counts.

        The last column is the length before. They are brought back to the CPU: those of a whole window may be
        more than a device holds.
        """
        tower = self.tower
        tokens, mask = forward_tokens(tower, batch)
        features = tokens[mask.bool()]  # [m, width]
        _require_shape(tower, features, (len(features), tower.encoder.width), "features")
        vectors = tower.projection(features.float())  # [m, dim]
        _require_shape(tower, vectors, (len(features), tower.dim), "embeddings")
        lengths = vectors.norm(dim=-1, keepdim=True)  # [m, 1]
        return torch.cat([normalize(vectors, dim=-1), lengths], dim=1).cpu(), mask.bool().sum(dim=1).cpu()

    def gather(self, outputs: list[tuple[Tensor, Tensor]]) -> list[Vectors]:
        """Join the vectors of all batches, and split them into those of each item, `[t, dim + 1]`."""
        rows = torch.cat([torch.empty(0, self.tower.dim + 1), *(vectors for vectors, _ in outputs)]).numpy()
        counts = [count for _, part in outputs for count in part.tolist()]
        return np.split(rows, np.cumsum(counts)[:-1]) if counts else []

    def find_faults(self, rows: list[Vectors]) -> Iterator[tuple[int, str]]:
        """Find the items without a position that counts, and those with a vector that has no direction."""
        for row, vectors in enumerate(rows):
            lengths = vectors[:, -1]
            wrong = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
            if not len(vectors):
                yield row, "no vector: none of its positions counts"
            elif len(wrong):
                yield row, f"a vector without direction at {wrong[0]}: length {lengths[wrong[0]]:g}"

    def pick(self, rows: list[Vectors], order: list[int]) -> list[Vectors]:
        """Pick the vectors of items in this order, without their lengths."""
        return [rows[row][:, :-1] for row in order]


def forward_tokens(tower: Tower, batch: list[Prepared]) -> tuple[Tensor, Tensor]:
    """Collate, move, forward: tokens `[b, t, width]` and their mask `[b, t]`, of these shapes."""
    tensors = tower.encoder.collate(_tensors_of(batch))  # [b, ...]
    tensors = move(tensors, tower.device, tower.dtype)
    try:
        with take_turn(tower.device):
            tokens, mask = tower.encoder.forward_tokens(tensors)
    except NotImplementedError as cause:
        raise EncoderError(
            f"encoder {tower.spec.name!r} can't do that: {message_of(cause)}",
            remedy="encode() gives its embeddings",
        ) from cause
    length = mask.shape[-1] if isinstance(mask, Tensor) and mask.ndim else 0
    _require_shape(tower, mask, (len(batch), length), "a mask")
    width = tokens.shape[-1] if isinstance(tokens, Tensor) and tokens.ndim else 0
    _require_shape(tower, tokens, (len(batch), length, width), "tokens")
    return tokens, mask


def _tensors_of(batch: list[Prepared]) -> list[Tensors]:
    return [item.tensors for item in batch if item.tensors is not None]


def _to_cpu(blocks: list[Tensor], tower: Tower, width: int) -> Vectors:
    rows: Vectors = torch.cat([torch.empty(0, width, device=tower.device), *blocks]).cpu().numpy()
    return rows


def _require_shape(tower: Tower, tensor: Any, expected: tuple[int, ...], noun: str) -> None:
    name = tower.spec.name
    if not isinstance(tensor, Tensor):
        raise EncoderError(
            f"encoder {name!r} gave {noun} that are no tensor, but {type(tensor).__name__}",
            remedy="the encoder's author corrects its forward pass",
        )
    if tuple(tensor.shape) != expected:
        raise EncoderError(
            f"encoder {name!r} gave {noun} of shape {tuple(tensor.shape)}, not {expected}",
            remedy="the encoder's author corrects its width, its dim or its forward pass",
        )
