"""The result of classification: scores of labels for items, with the labels and probabilities they give."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..arguments.brief import Brief, table_in_markdown
from ..arguments.counts import require_positive
from ..embeddings.array_types import Array, Positions, Vectors
from ..embeddings.topk import best_columns
from ..errors import InputError
from ..plugins.packages import import_package
from ..plugins.spec import Scoring
from .links import sigmoid, softmax

_SHOWN = 10  # items in a notebook


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Classification(Brief):
    """Scores `[n, labels]` of items; row i is that of item `positions[i]`, and `errors` tell of skipped ones.

    Scores are cosine similarities, except those of a linear probe, which are logits. Different pairs of
    modalities have scores on different scales: rank by them, and don't read them as probabilities;
    `probabilities` gives those, where the encoder or a calibration has a scale.

    scoring      the scale from scores to probabilities, or None
    threshold    an item whose score is lower is none of the labels
    null         the null class's scores `[n]`; an item whose score is lower is none of the labels
    multi_label  whether each label is judged by itself, so that items may have many or none
    """

    labels: tuple[str, ...]
    scores: Vectors
    positions: Positions
    errors: tuple[InputError, ...]
    scoring: Scoring | None = None
    threshold: float | None = None
    null: Vectors | None = None
    multi_label: bool = False

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def best(self) -> list[str | None]:
        """The label with the highest score of each row; None for an item that is none of the labels."""
        columns = self.scores.argmax(axis=1)
        highest = self.scores[np.arange(len(self)), columns]
        kept = highest >= self._bar()
        return [
            self.labels[column] if keep else None
            for column, keep in zip(columns.tolist(), kept.tolist(), strict=True)
        ]

    def top(self, k: int) -> list[list[tuple[str, float]]]:
        """The `k` labels with the highest scores of each row, best first, whatever the threshold."""
        columns = best_columns(self.scores, require_positive(k))
        scores = np.take_along_axis(self.scores, columns, axis=1)
        names = map(self.labels.__getitem__, columns.ravel().tolist())
        pairs = list(zip(names, scores.ravel().tolist(), strict=True))  # one list is five times as fast
        width = columns.shape[1]
        return [pairs[start : start + width] for start in range(0, len(pairs), width)]

    def _repr_markdown_(self) -> str:
        """The best labels of the first items as a table, as notebooks show it."""
        best, top = self.best[:_SHOWN], self.top(min(3, len(self.labels)))[:_SHOWN]
        rows = [
            (place, label or "none of them", ", ".join(f"{name} {score:.3f}" for name, score in ranked))
            for place, label, ranked in zip(self.positions.tolist(), best, top, strict=False)
        ]
        more = f"\n\n{len(self)} items in all" if len(self) > len(rows) else ""
        return table_in_markdown(("item", "best", "scores"), rows) + more

    def above(self, threshold: float | None = None) -> list[list[tuple[str, float]]]:
        """The labels of each row whose scores reach a threshold, by default the result's own, best first.

        Where there is a null class, a score must reach that of it, too. Raises ValueError without a threshold
        and a null class.
        """
        chosen = self if threshold is None else self.with_threshold(threshold)
        if chosen.threshold is None and chosen.null is None:
            raise ValueError(
                "nothing says what score a label needs: pass a threshold, calibrate the classifier, "
                "or give it a null class"
            )
        bars = chosen._bar()
        ranked = self.top(len(self.labels))
        return [
            [(label, score) for label, score in row if score >= bar]
            for row, bar in zip(ranked, bars.tolist(), strict=True)
        ]

    def with_threshold(self, threshold: float) -> Classification:
        """Make a copy with another threshold, below which an item is none of the labels."""
        if not np.isfinite(threshold):
            raise ValueError(f"threshold is {threshold!r}: make it a finite number")
        return replace(self, threshold=float(threshold))

    def probabilities(self) -> Vectors:
        """Probabilities `[n, labels]`, by the calibration or the encoder's own scale.

        By softmax, each row sums to 1, or to 1 less the null class's probability. By sigmoid, each label has
        its own. With `multi_label`, a softmax compares each label with the null class, which it needs.
        Raises ValueError where there is no scale, and for a softmax over one label alone.
        """
        if self.scoring is None:
            raise ValueError(
                "this space has no scale for probabilities: rank by `scores`, or fit one to labelled items "
                "with `classifier.calibrate`"
            )
        if self.scoring.kind == "sigmoid":
            return _as_float32(sigmoid(self.scoring.scale * self.scores + self.scoring.bias))
        if self.is_alone:
            raise ValueError(
                f"one label, {self.labels[0]!r}, would have the probability 1 for everything, because the "
                "scale shares an item out among labels: add labels, or give a null class: null=['a photo']"
            )
        if not self.multi_label:
            return _as_float32(softmax(self.scoring.scale * self._columns()))[:, : len(self.labels)]
        if self.null is None:
            raise ValueError(
                "this scale shares one item out among the labels, and multi_label judges each by itself: fit "
                "probabilities to labelled items with `classifier.calibrate`, or give a null class"
            )
        return _as_float32(sigmoid(self.scoring.scale * (self.scores - self.null[:, None])))

    def to_pandas(self, k: int = 1) -> Any:
        """Make a pandas DataFrame with a row for each of the `k` best labels of each item, best first.

        position     the item's place in the batch
        rank         1 for the best label
        label, score, and probability where there is a scale
        kept         whether the score reaches the threshold and that of the null class

        Raises MissingPackageError without pandas.
        """
        pandas = import_package("pandas", "a DataFrame needs pandas", "pip install pandas")
        columns = best_columns(self.scores, require_positive(k))  # [n, k]
        scores = np.take_along_axis(self.scores, columns, axis=1)
        content = {
            "position": np.repeat(self.positions, columns.shape[1]),
            "rank": np.tile(np.arange(1, 1 + columns.shape[1]), len(self)),
            "label": [self.labels[column] for column in columns.ravel().tolist()],
            "score": scores.ravel(),
        }
        if self.has_probabilities:
            content["probability"] = np.take_along_axis(self.probabilities(), columns, axis=1).ravel()
        content["kept"] = (scores >= self._bar()[:, None]).ravel()
        return pandas.DataFrame(content)

    @property
    def has_probabilities(self) -> bool:
        """Whether `probabilities` has a scale, and gives probabilities rather than an error."""
        if self.scoring is None:
            return False
        if self.scoring.kind == "sigmoid" or self.null is not None:
            return True
        return not (self.multi_label or self.is_alone)

    @property
    def is_alone(self) -> bool:
        """Whether the only label would get the probability 1 for anything, by a softmax."""
        shared_out = self.scoring is not None and self.scoring.kind == "softmax" and not self.multi_label
        return shared_out and len(self.labels) == 1 and self.null is None

    def _bar(self) -> Vectors:
        """The score that a label must reach to be kept, for each row, `[n]`."""
        bars = np.full(len(self), -np.inf, np.float32)
        if self.threshold is not None:
            bars[:] = self.threshold
        return bars if self.null is None else np.maximum(bars, self.null)

    def _columns(self) -> Vectors:
        """The scores with those of the null class, where there is one, in the last column."""
        if self.null is None:
            return self.scores
        return np.concatenate([self.scores, self.null[:, None]], axis=1)


def _as_float32(probabilities: Array) -> Vectors:
    return np.asarray(probabilities, np.float32)
