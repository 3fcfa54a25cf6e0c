"""The result: scores of labels for items, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..arguments.counts import require_positive
from ..embeddings.array_types import Positions, Vectors
from ..embeddings.topk import best_columns
from ..errors import InputError
from ..plugins.packages import import_package
from ..plugins.spec import Scoring

Flags = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, eq=False, slots=True)
class Classification:
    """Scores `[n, labels]`; row i belongs to item `positions[i]`, `errors` to those skipped.

    Scores are cosine similarities, except those of a linear probe, which are logits. Different pairs of
    modalities have them on different scales: rank with them, and don't read them as probabilities;
    `probabilities` gives those, where the encoder or a calibration has a scale for them.

    scoring      from scores to probabilities; None where nothing says how
    threshold    a score below it is none of the labels
    null         the null class's scores `[n]`; a lower score is none of the labels
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
        """The label with the highest score of each row; None where that is none of these."""
        columns = self.scores.argmax(axis=1)
        highest = self.scores[np.arange(len(self)), columns]
        kept = highest >= self._bar()
        return [
            self.labels[column] if keep else None
            for column, keep in zip(columns.tolist(), kept.tolist(), strict=True)
        ]

    def top(self, k: int) -> list[list[tuple[str, float]]]:
        """The `k` labels with the highest scores of each row, best first, whether or not they are kept."""
        columns = best_columns(self.scores, require_positive(k))
        scores = np.take_along_axis(self.scores, columns, axis=1)
        names = map(self.labels.__getitem__, columns.ravel().tolist())
        pairs = list(zip(names, scores.ravel().tolist(), strict=True))  # all at once, five times as fast
        width = columns.shape[1]
        return [pairs[start : start + width] for start in range(0, len(pairs), width)]

    def above(self, threshold: float | None = None) -> list[list[tuple[str, float]]]:
        """The labels of each row with at least this score, best first; by default the result's own threshold.

        Without one, labels of a null class count that have more than its score. Raises ValueError where there
        is neither.
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
        """The same with another score below which an item is none of the labels."""
        if not np.isfinite(threshold):
            raise ValueError(f"threshold is {threshold!r}: make it a finite number")
        return replace(self, threshold=float(threshold))

    def probabilities(self) -> Vectors:
        """Probabilities `[n, labels]`, by the calibration or the encoder's own scale.

        Softmax rows sum to 1, or with a null class to what that leaves. Sigmoid ones are of each label by
        itself; with softmax scores, `multi_label` needs a null class, against which each label is put.
        Raises ValueError where there is no scale, and for one label that nothing is put against.
        """
        if self.scoring is None:
            raise ValueError(
                "this space has no scale for probabilities: rank by `scores`, or fit one to labelled items "
                "with `classifier.calibrate`"
            )
        if self.scoring.kind == "sigmoid":
            return _logistic(self.scoring.scale * self.scores + self.scoring.bias)
        if self.is_alone:
            raise ValueError(
                f"one label, {self.labels[0]!r}, would have the probability 1 for everything, because the "
                "scale shares an item out among labels: add labels, or give a null class: null=['a photo']"
            )
        if not self.multi_label:
            return softmax(self.scoring.scale * self._columns())[:, : len(self.labels)]
        if self.null is None:
            raise ValueError(
                "this scale shares one item out among the labels, and multi_label judges each by itself: fit "
                "probabilities to labelled items with `classifier.calibrate`, or give a null class"
            )
        return _logistic(self.scoring.scale * (self.scores - self.null[:, None]))

    def to_pandas(self, k: int = 1) -> Any:
        """A pandas DataFrame with a row for each of the `k` best labels of each item, best first.

        position     the item's place in the batch
        rank         1 for the best label
        label, score, and probability where there is a scale
        kept         False where the label is none of these: below the threshold or the null class

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
        """Whether `probabilities` has a scale to go by."""
        if self.scoring is None:
            return False
        if self.scoring.kind == "sigmoid" or self.null is not None:
            return True
        return not (self.multi_label or self.is_alone)

    @property
    def is_alone(self) -> bool:
        """Whether one label would take all that a softmax shares out, so that it has no probability."""
        shared_out = self.scoring is not None and self.scoring.kind == "softmax" and not self.multi_label
        return shared_out and len(self.labels) == 1 and self.null is None

    def _bar(self) -> Vectors:
        """The score that a label of each row must reach, `[n]`."""
        bars = np.full(len(self), -np.inf, np.float32)
        if self.threshold is not None:
            bars[:] = self.threshold
        return bars if self.null is None else np.maximum(bars, self.null)

    def _columns(self) -> Vectors:
        """The scores with those of the null class, where there is one, in the last column."""
        if self.null is None:
            return self.scores
        return np.concatenate([self.scores, self.null[:, None]], axis=1)


def softmax(logits: np.ndarray[Any, Any]) -> Vectors:
    """Probabilities that sum to 1 in each row; the largest logit is taken off, so that nothing overflows."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), np.float32)


def _logistic(logits: Vectors) -> Vectors:
    """1 / (1 + exp(-x)), which overflows nowhere in this form."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)), np.float32)
