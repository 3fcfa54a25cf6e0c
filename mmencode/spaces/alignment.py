"""Fitting of a projection from an encoder's features into a space, and its measure on held-out pairs."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from math import sqrt
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..arguments.brief import Brief
from ..arguments.lists import require_list
from ..embeddings.array_types import Vectors
from ..engine.call import OnError
from ..engine.runtime import Runtime
from ..errors import FitError, InputError
from ..inputs import split_part
from ..inputs.owning import own_each
from ..inputs.tables import item_in_folder, read_pairs
from ..isolation.copying import snapshot
from ..isolation.fence import own_numbers
from ..plugins.modalities import names_files
from ..plugins.registry import registry
from ..plugins.spec import EncoderSpec
from ..projection import Linear, Moments, Perceptron, Projection, add_moments, contrastive, procrustes, ridge
from .recall import Recall, recall
from .space import Space

FitMethod = Literal["ridge", "procrustes", "contrastive"]
Pairs = Iterable[tuple[Any, Any]]
_SOLVERS: dict[str, Callable[[Moments], Linear]] = {"ridge": ridge, "procrustes": procrustes}
CHUNK = 1024  # pairs that are encoded at once
KEPT = 2000  # rows of a fold that are kept to measure with
_LEAST = 4  # pairs in a fold
_HIDDEN = 512
_CPU = torch.device("cpu")
FORCED = "not above chance on held-out pairs"


@dataclass(frozen=True, slots=True, repr=False)
class AlignmentReport(Brief):
    """The quality of a fitted projection on held-out pairs.

    source, target   the encoder, with the digest of its weights, and the id of the space
    forward          the recall of partners by projected items; `backward` of projected items by partners
    angle            the mean angle between a projected item and its partner, in degrees
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
        """Whether recall is above chance in both directions."""
        return self.forward.above_chance and self.backward.above_chance

    @property
    def _held_out(self) -> str:
        if self.method in _SOLVERS:
            return "each fold held out in turn"
        return "one fold held out" if self.method == "contrastive" else "all of them held out"

    def __str__(self) -> str:
        return "\n".join(
            (
                f"{self.method} from {self.source} into {self.target}",
                f"  {self.pairs} pairs in {self.folds} folds, seed {self.seed}; {self._held_out}",
                f"  forward:  {self.forward}",
                f"  backward: {self.backward}",
                f"  mean angle {self.angle:.1f} degrees",
            )
        )

    def to_dict(self) -> dict[str, Any]:
        """Convert the report to plain values, which JSON keeps as they are."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


@dataclass(slots=True)
class Fold:
    """Pairs that are held out together: the moments of all, and rows `[n, width]` of some to measure with."""

    moments: Moments = field(default_factory=Moments)
    features: list[Tensor] = field(default_factory=list)
    targets: list[Tensor] = field(default_factory=list)

    def rows(self) -> tuple[Tensor, Tensor]:
        """Concatenate the features, and the targets, of the pairs that were kept."""
        return torch.cat(self.features), torch.cat(self.targets)

    def add(self, features: Tensor, targets: Tensor, most: int) -> None:
        """Add pairs to the moments, and keep their rows as long as there are fewer than `most`."""
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
    method: FitMethod | Projection = "ridge",
    folds: int = 5,
    seed: int = 0,
    force: bool = False,
    on_error: OnError = "raise",
    columns: tuple[str, str] | None = None,
    runtime: Runtime | None = None,
) -> Projection:
    """Fit a projection from the features of one encoder into a space, and measure it on held-out pairs.

    Each pair is an item of the encoder's modality and one of the space's modality `to`. A path names a table
    (.csv, .jsonl, .parquet) that has the pairs in its first two columns, or in `columns`; its files are
    relative to it. "ridge" and "procrustes" hold no more than a few thousand vectors, however many pairs
    there are; "contrastive" holds all. Pairs whose source items have the same content are held out together.
    The projection's `report` holds the AlignmentReport as plain values.

    A projection that was made in some other way is given as `method`: a copy of it is measured on all pairs,
    and says by `into` that it leads into this space. `IdentityProjection()` does so for an encoder whose
    features are vectors of the space already, such as the mean of a video's frames.

    Raises FitError for too few pairs, and, with the figures, when held-out items don't find their partners
    better than by chance. `force` accepts such a fit, and the card of a space composed with it says so.
    Raises InputError for bad items and rows.
    """
    if not isinstance(method, Projection) and method not in ("ridge", "procrustes", "contrastive"):
        raise ValueError(f"method is {method!r}: make it ridge, procrustes, contrastive or a Projection")
    if folds < 3:
        raise ValueError(f"folds is {folds!r}: make it 3 or more")
    spec = registry()[source] if isinstance(source, str) else source
    if spec.ships_projection:  # which may be about to be made, and features don't depend on it
        spec = replace(spec, projection="", joins="", space="", identity=None, aliases=(), card="")
    with Space(spec.space_name, [spec], runtime=runtime or target.runtime) as alone:
        read = iterate_pairs(pairs, spec.modality, to, columns)
        vectors = _encode_pairs(alone, spec.modality, target, to, read, on_error)
        held = split(vectors, folds, seed, most=sys.maxsize if method == "contrastive" else KEPT)
        name = f"{spec.name} ({alone.card.towers[0].identity.weights[:23]})"
    device = (runtime or target.runtime).device
    return fit(held, method, source=name, target=target.id, seed=seed, force=force, device=device)


def iterate_pairs(
    pairs: Any, modality: str, to: str, columns: tuple[str, str] | None
) -> Iterator[tuple[Any, Any]]:
    """Read pairs from a table, or check those of a list; FitError for one that isn't a pair."""
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


def _encode_pairs(
    source: Space, modality: str, target: Space, to: str, pairs: Pairs, on_error: OnError
) -> Iterator[tuple[Vectors, Vectors, list[bytes]]]:
    """Encode pairs into features, targets and keys, a chunk at a time; pairs with a bad item are left out."""
    pairs, start = iter(pairs), 0
    while chunk := list(islice(pairs, CHUNK)):
        items, partners = [pair[0] for pair in chunk], [pair[1] for pair in chunk]
        try:
            (part,) = source.features(modality, items, chunk=CHUNK, on_error=on_error)
            found = target.encode(to, partners, on_error=on_error)
        except InputError as error:
            raise error.at(start + (error.index or 0)) from error.__cause__
        both = np.intersect1d(part.positions, found.positions)
        rows = np.isin(part.positions, both), np.isin(found.positions, both)
        keys = [hash_item(items[place], modality, start + place) for place in both.tolist()]
        yield part.rows[rows[0]], found.vectors[rows[1]], keys
        start += len(chunk)


def hash_item(item: Any, modality: str, number: int) -> bytes:
    """Hash the content of an item, so that items of equal content come into one fold.

    An item without content to compare, such as a file object that was read, is known by its number.
    """
    if names_files(modality) and isinstance(item, str | os.PathLike):
        path, part = split_part(modality, item)
        content = Path(path).read_bytes() + (b"" if part is None else str(part).encode())
    elif isinstance(item, str | bytes | bytearray):
        content = item.encode() if isinstance(item, str) else bytes(item)
    else:
        array = np.asarray(item[0] if isinstance(item, tuple) else item)
        content = str(number).encode() if array.dtype == object else array.tobytes()
    return hashlib.sha256(content).digest()


def split(
    vectors: Iterable[tuple[Vectors, Vectors, list[bytes]]], folds: int, seed: int, most: int = KEPT
) -> list[Fold]:
    """Distribute features `[n, width]` and targets `[n, dim]` over folds, by seed and key.

    A fold keeps at most `most` rows, and the moments of all. FitError for a fold of fewer than 4 pairs.
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


def fit(
    held: list[Fold],
    method: FitMethod | Projection,
    *,
    source: str,
    target: str,
    seed: int,
    force: bool,
    noise: float = 0.0,
    device: torch.device = _CPU,
) -> Projection:
    """Fit a projection to folds, and measure it on held-out ones; raises as `align`.

    "contrastive" trains a network on `device`, with `noise` as the variance of Gaussian noise on its inputs.
    """
    projection: Projection
    if isinstance(method, Projection):
        projection, groups = _measure(held, method)
    elif method == "contrastive":
        projection, groups = _train(held, seed, noise, device)
    else:
        projection, groups = _solve(held, _SOLVERS[method])
    report = AlignmentReport(
        method=_name(method),
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
            remedy="check that the items of each pair belong together, give more pairs, or pass force=True, "
            "which the card of the space will say",
        )
    projection.into, projection.report = target, report.to_dict()
    projection.note = "" if report.above_chance else FORCED
    return projection


def _name(method: FitMethod | Projection) -> str:
    return (method.kind or type(method).__name__) if isinstance(method, Projection) else method


def _measure(held: list[Fold], given: Projection) -> tuple[Projection, list[tuple[Any, Any]]]:
    """Project each fold by a copy of a projection that is there; FitError where the widths don't fit."""
    projection = snapshot(given).eval().requires_grad_(False)
    groups = []
    for features, targets in (fold.rows() for fold in held):
        width, dim = features.shape[1], targets.shape[1]
        found = (projection.width or width, projection.dim or width)
        if found != (width, dim):
            raise FitError(
                f"the projection takes features of width {found[0]} to vectors of {found[1]} numbers; the "
                f"encoder gives {width}, and the space has {dim}",
                remedy="fit one, with method='ridge' for instance, or give one that was made for both",
            )
        groups.append(_unit_outputs(projection, features, targets))
    return projection, groups


def _solve(held: list[Fold], solve: Callable[[Moments], Linear]) -> tuple[Linear, list[tuple[Any, Any]]]:
    """Solve on all folds, and project each fold by a solution on the others, to measure with.

    A regression brings unseen items too near to the mean of the targets, and the targets nearest to that mean
    become hubs, which everything finds (Shigeto et al., "Ridge Regression, Hubness, and Zero-Shot Learning",
    ECML 2015). So outputs are scaled about the mean until they spread as far as the targets. The factor is
    estimated on held-out items; for the measure of a fold, on those of the other folds.
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
        groups.append(_unit_outputs(solutions[number].spread(others[number].target, by), *fold.rows()))
    whole = add_moments(fold.moments for fold in held)
    return solve(whole).spread(whole.target, _ratio(spreads)), groups


def _spread(solution: Linear, centre: Tensor, features: Tensor, targets: Tensor) -> tuple[float, float]:
    """The mean square distance from a centre of the targets, and of the solution's outputs."""
    with torch.inference_mode():
        outputs = solution(features)
    return float((targets - centre).square().mean()), float((outputs - centre).square().mean())


def _ratio(spreads: list[tuple[float, float]]) -> float:
    """The factor by which outputs lack the spread of their targets; 1 where the outputs have none."""
    targets, outputs = (sum(side) for side in zip(*spreads, strict=True))
    return sqrt(targets / outputs) if outputs > 0 else 1.0


def _train(
    held: list[Fold], seed: int, noise: float, device: torch.device
) -> tuple[Projection, list[tuple[Any, Any]]]:
    """Train on all folds but two: the loss on one stops the training, and the other is there to measure."""
    (measured, stopping), rest = held[:2], [fold.rows() for fold in held[2:]]
    features, targets = (torch.cat(side).to(device) for side in zip(*rest, strict=True))
    stop_features, stop_targets = (side.to(device) for side in stopping.rows())
    with own_numbers(seed):
        start = Perceptron(features.shape[1], targets.shape[1], _HIDDEN)
    pairs, held_out = (features, targets), (stop_features, stop_targets)
    network = contrastive(start, pairs, held_out, seed=seed, noise=noise).cpu()
    return network, [_unit_outputs(network, *measured.rows())]


def _unit_outputs(projection: Projection, features: Tensor, targets: Tensor) -> tuple[Any, Any]:
    with torch.inference_mode():
        projected = normalize(projection(features), dim=-1)
    return projected.numpy(), normalize(targets, dim=-1).numpy()


def _mean_angle(groups: list[tuple[Any, Any]]) -> float:
    cosines = np.concatenate([(projected * partners).sum(axis=1) for projected, partners in groups])
    return float(np.degrees(np.arccos(cosines.clip(-1, 1))).mean())
