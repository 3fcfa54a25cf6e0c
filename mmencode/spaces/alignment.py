"""Fit a projection from an encoder's features into a space, from pairs of items, and say how good it is."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from math import sqrt
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..arguments.lists import require_list
from ..embeddings.array_types import Vectors
from ..engine.engine import OnError
from ..engine.runtime import Runtime
from ..errors import FitError, InputError
from ..inputs.owning import own_each
from ..inputs.tables import FILES, item_in_folder, read_pairs
from ..isolation.fence import own_numbers
from ..plugins.registry import registry
from ..plugins.spec import EncoderSpec
from ..projection import Linear, Moments, Perceptron, Projection, add_moments, contrastive, procrustes, ridge
from .recall import Recall, recall
from .space import Space

Method = Literal["ridge", "procrustes", "contrastive"]
Pairs = Iterable[tuple[Any, Any]]
_CLOSED: dict[str, Callable[[Moments], Linear]] = {"ridge": ridge, "procrustes": procrustes}
_CHUNK = 1024  # pairs whose vectors are held at once
KEPT = 2000  # rows of a fold that are held to measure with
_LEAST = 4  # pairs in a fold
_HIDDEN = 512
_CPU = torch.device("cpu")
FORCED = "not above chance on held-out pairs"


@dataclass(frozen=True, slots=True)
class AlignmentReport:
    """What a fit gives on pairs that it hasn't seen.

    source, target   the encoder, with the digest of its weights, and the id of the space
    forward          from projected items to their partners; `backward` the other way
    angle            the mean between a projected item and its partner, in degrees
    """

    method: str
    source: str
    target: str
    pairs: int
    folds: int
    seed: int
    forward: Recall
    backward: Recall
    angle: float

    @property
    def above_chance(self) -> bool:
        """Whether both directions find partners that blind guesses would hardly find."""
        return self.forward.above_chance and self.backward.above_chance

    def __str__(self) -> str:
        return "\n".join(
            (
                f"{self.method} from {self.source} into {self.target}",
                f"  {self.pairs} pairs in {self.folds} folds, seed {self.seed}; each fold held out in turn"
                if self.method in _CLOSED
                else f"  {self.pairs} pairs in {self.folds} folds, seed {self.seed}; one fold held out",
                f"  forward:  {self.forward}",
                f"  backward: {self.backward}",
                f"  mean angle {self.angle:.1f} degrees",
            )
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain values, the same before and after they were in a file."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


@dataclass(slots=True)
class Fold:
    """The pairs that are held out together: their moments, and the rows to measure with, `[n, width]`."""

    moments: Moments = field(default_factory=Moments)
    features: list[Tensor] = field(default_factory=list)
    targets: list[Tensor] = field(default_factory=list)

    def rows(self) -> tuple[Tensor, Tensor]:
        """Features and targets, one below the other."""
        return torch.cat(self.features), torch.cat(self.targets)

    def add(self, features: Tensor, targets: Tensor, most: int) -> None:
        """Take pairs in; of rows keep at most so many."""
        self.moments.add(features, targets)
        room = max(0, most - sum(map(len, self.features)))
        self.features.append(features[:room])
        self.targets.append(targets[:room])


def align(
    source: str | EncoderSpec,
    target: Space,
    pairs: Pairs | str | os.PathLike[str],
    *,
    to: str = "text",
    method: Method = "ridge",
    folds: int = 5,
    seed: int = 0,
    force: bool = False,
    on_error: OnError = "raise",
    columns: tuple[str, str] | None = None,
    runtime: Runtime | None = None,
) -> Projection:
    """Fit a projection from the features of one encoder into a space, and measure it on held-out pairs.

    Each pair is an item of the encoder's modality and one of the space's modality `to`; a path is a table
    whose first two columns, or `columns`, they are (.csv, .jsonl, .parquet), files relative to it. "ridge"
    and "procrustes" hold no more than a few thousand vectors, however many pairs there are; "contrastive"
    holds all. Pairs whose source items have the same content are held out together. The report is the
    projection's `report`.

    Raises FitError, with the figures, for too few pairs and when held-out items don't find their partners
    better than by chance, unless forced: then the card of whatever is composed of it says so. InputError for
    bad items and rows.
    """
    if method not in ("ridge", "procrustes", "contrastive"):
        raise ValueError(f"method is {method!r}: make it ridge, procrustes or contrastive")
    if folds < 3:
        raise ValueError(f"folds is {folds!r}: make it 3 or more")
    spec = registry()[source] if isinstance(source, str) else source
    with Space(spec.space_name, [spec], runtime=runtime or target.runtime) as alone:
        read = _read(pairs, spec.modality, to, columns)
        vectors = _encoded(alone, spec.modality, target, to, read, on_error)
        held = split(vectors, folds, seed, most=sys.maxsize if method == "contrastive" else KEPT)
        name = f"{spec.name} ({alone.card.towers[0].identity.weights[:23]})"
    device = (runtime or target.runtime).device
    return fitted(held, method, source=name, target=target.id, seed=seed, force=force, device=device)


def _read(pairs: Any, modality: str, to: str, columns: tuple[str, str] | None) -> Iterator[tuple[Any, Any]]:
    if isinstance(pairs, str | os.PathLike):
        folder = Path(pairs).parent
        for item, partner in read_pairs(pairs, columns):
            yield item_in_folder(item, modality, folder), item_in_folder(partner, to, folder)
    else:
        require_list(pairs, "pairs", of=" of (item, partner) tuples")
        for number, pair in enumerate(own_each(pairs)):
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise FitError(f"pair {number} is {pair!r:.100}", remedy="give (item, partner) tuples")
            yield pair[0], pair[1]


def _encoded(
    source: Space, modality: str, target: Space, to: str, pairs: Pairs, on_error: OnError
) -> Iterator[tuple[Vectors, Vectors, list[bytes]]]:
    """Features, targets and keys of the pairs, a chunk at a time, without those that have a bad item."""
    pairs, start = iter(pairs), 0
    while chunk := list(islice(pairs, _CHUNK)):
        items, partners = [pair[0] for pair in chunk], [pair[1] for pair in chunk]
        try:
            (part,) = source.features(modality, items, chunk=_CHUNK, on_error=on_error)
            found = target.encode(to, partners, on_error=on_error)
        except InputError as error:
            raise error.at(start + (error.index or 0)) from error.__cause__
        both = np.intersect1d(part.positions, found.positions)
        rows = np.isin(part.positions, both), np.isin(found.positions, both)
        keys = [key_of(items[place], modality, start + place) for place in both.tolist()]
        yield part.rows[rows[0]], found.vectors[rows[1]], keys
        start += len(chunk)


def key_of(item: Any, modality: str, number: int) -> bytes:
    """The same for items of the same content, so that these never stand on both sides of a split.

    What has no content to compare, such as a file object that has been read, is told from others by its
    number.
    """
    if modality in FILES and isinstance(item, str | os.PathLike):
        content = Path(item).read_bytes()
    elif isinstance(item, str | bytes | bytearray):
        content = item.encode() if isinstance(item, str) else bytes(item)
    else:
        array = np.asarray(item[0] if isinstance(item, tuple) else item)
        content = str(number).encode() if array.dtype == object else array.tobytes()
    return hashlib.sha256(content).digest()


def split(
    vectors: Iterable[tuple[Vectors, Vectors, list[bytes]]], folds: int, seed: int, most: int = KEPT
) -> list[Fold]:
    """Features `[n, width]`, targets `[n, dim]` and keys into folds, by seed and key.

    Of each fold at most `most` rows are held, and sums of all.
    """
    held = [Fold() for _ in range(folds)]
    salt = seed.to_bytes(8, "little", signed=True)
    for features, targets, keys in vectors:
        numbers = [int.from_bytes(hashlib.sha256(salt + key).digest()[:8], "little") % folds for key in keys]
        for number in sorted(set(numbers)):
            rows = np.flatnonzero(np.array(numbers) == number)
            held[number].add(torch.from_numpy(features[rows]), torch.from_numpy(targets[rows]), most)
    smallest = min(fold.moments.count for fold in held)
    if smallest < _LEAST:
        total = sum(fold.moments.count for fold in held)
        raise FitError(
            f"{total} pairs are too few: a fold of {folds} has {smallest}",
            remedy=f"give more pairs; {4 * _LEAST * folds} different ones are few, thousands are good",
        )
    return held


def fitted(
    held: list[Fold],
    method: Method,
    *,
    source: str,
    target: str,
    seed: int,
    force: bool,
    noise: float = 0.0,
    device: torch.device = _CPU,
) -> Projection:
    """The projection fitted to all folds, with the report of those held out; raises as `align`.

    A network is trained on `device`.
    """
    projection: Projection
    if method == "contrastive":
        projection, groups = _trained(held, seed, noise, device)
    else:
        projection, groups = _solved(held, _CLOSED[method])
    report = AlignmentReport(
        method=method,
        source=source,
        target=target,
        pairs=sum(fold.moments.count for fold in held),
        folds=len(held),
        seed=seed,
        forward=recall(groups),
        backward=recall(((partners, projected) for projected, partners in groups), truth="queries"),
        angle=_mean_angle(groups),
    )
    if not report.above_chance and not force:
        raise FitError(
            f"held-out items don't find their partners better than by chance\n{report}",
            remedy="see whether the pairs belong together, give more of them, or pass force=True, "
            "which the card of the space will say",
        )
    projection.into, projection.report = target, report.to_dict()
    projection.note = "" if report.above_chance else FORCED
    return projection


def _solved(held: list[Fold], solve: Callable[[Moments], Linear]) -> tuple[Linear, list[tuple[Any, Any]]]:
    """Solved on all folds; and for each fold what a solution on the others makes of it, with its targets.

    A solution brings items that it hasn't seen too near to the targets' mean, so that the targets nearest to
    that are found by everything (Shigeto et al., "Ridge Regression, Hubness, and Zero-Shot Learning", ECML
    2015). So its outputs are spread about that mean as far as the targets are, by what the held-out items of
    the other folds say.
    """
    others = [add_moments(other.moments for other in held if other is not fold) for fold in held]
    solutions = [solve(sums) for sums in others]
    spreads = [
        _spread(solution, sums.target, *fold.rows())
        for solution, sums, fold in zip(solutions, others, held, strict=True)
    ]
    groups = []
    for number, fold in enumerate(held):
        by = _ratio(spreads[:number] + spreads[number + 1 :])
        groups.append(_measured(solutions[number].spread(others[number].target, by), *fold.rows()))
    whole = add_moments(fold.moments for fold in held)
    return solve(whole).spread(whole.target, _ratio(spreads)), groups


def _spread(solution: Linear, centre: Tensor, features: Tensor, targets: Tensor) -> tuple[float, float]:
    """The variance of targets, and of what a solution makes of their features, about one centre."""
    with torch.inference_mode():
        outputs = solution(features)
    return float((targets - centre).square().mean()), float((outputs - centre).square().mean())


def _ratio(spreads: list[tuple[float, float]]) -> float:
    """How far outputs lack the spread of their targets; 1 where they have none."""
    wanted, found = (sum(side) for side in zip(*spreads, strict=True))
    return sqrt(wanted / found) if found > 0 else 1.0


def _trained(
    held: list[Fold], seed: int, noise: float, device: torch.device
) -> tuple[Projection, list[tuple[Any, Any]]]:
    """Trained on all folds but two: one says when to stop, the other is measured."""
    (measured, stopping), rest = held[:2], [fold.rows() for fold in held[2:]]
    features, targets = (torch.cat(side).to(device) for side in zip(*rest, strict=True))
    stop_features, stop_targets = (side.to(device) for side in stopping.rows())
    with own_numbers(seed):
        start = Perceptron(features.shape[1], targets.shape[1], _HIDDEN)
    pairs, held_out = (features, targets), (stop_features, stop_targets)
    network = contrastive(start, pairs, held_out, seed=seed, noise=noise).cpu()
    return network, [_measured(network, *measured.rows())]


def _measured(projection: Projection, features: Tensor, targets: Tensor) -> tuple[Any, Any]:
    with torch.inference_mode():
        projected = normalize(projection(features), dim=-1)
    return projected.numpy(), normalize(targets, dim=-1).numpy()


def _mean_angle(groups: list[tuple[Any, Any]]) -> float:
    cosines = np.concatenate([(projected * partners).sum(axis=1) for projected, partners in groups])
    return float(np.degrees(np.arccos(cosines.clip(-1, 1))).mean())
