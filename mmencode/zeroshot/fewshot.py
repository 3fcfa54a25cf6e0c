"""Few-shot heads are fitted to labelled examples, on the vectors that zero-shot heads score, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from ..embeddings.array_types import Flags, Positions, Vectors
from ..errors import FitError, LabelError
from ..plugins.packages import import_package
from ..plugins.spec import Scoring
from .bank import unit_means
from .heads import Head

Method = Literal["blend", "mean", "probe"]
PRIOR = 4.0  # the prompts of a label count as much as so many examples
_STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)  # scikit-learn's C, the inverse of the penalty
_ITERATIONS = 1000  # as Radford et al.


@dataclass(frozen=True, eq=False, slots=True)
class Examples:
    """Vectors `[n, dim]` of examples, and targets `[n, labels]`: whether example i has label j.

    The null class, where there is one, comes last.
    """

    names: tuple[str, ...]
    vectors: Vectors
    targets: Flags
    multi_label: bool

    @property
    def counts(self) -> Positions:
        """The number of examples of each label."""
        counts: Positions = self.targets.sum(axis=0)
        return counts

    def without(self) -> list[str]:
        """The labels that have no example."""
        return [name for name, count in zip(self.names, self.counts.tolist(), strict=True) if not count]


def fit_head(examples: Examples, prompts: Head, method: Method, prior: float) -> Head:
    """Fit a head to examples and to the labels' prompts by a method.

    Raises ValueError for an unknown method, LabelError and FitError as the methods do.
    """
    if method not in get_args(Method):
        raise ValueError(f"method is {method!r}: make it one of {', '.join(get_args(Method))}")
    if not examples.targets.any():
        raise FitError("there are no labelled examples", remedy="give one or more, with labels")
    if method == "probe":
        return _fit_linear_probe(examples, prompts.space)
    if method == "mean":
        return Head(_average(examples), None, prompts.space, None)
    return Head(_blend(examples, prompts.weights, prior), None, prompts.space, None)


def _average(examples: Examples) -> Vectors:
    """Average each label's examples to unit vectors.

    Mensink et al., "Distance-Based Image Classification: Generalizing to New Classes at Near-Zero Cost",
    2013. LabelError for a label without examples.
    """
    missing = examples.without()
    if missing:
        raise LabelError(
            f"{len(missing)} labels have no example, such as {missing[0]!r}",
            remedy='give each one, or use method="blend", which has the prompts for these',
        )
    return unit_means(_raw_means(examples), examples.names)


def _raw_means(examples: Examples) -> Vectors:
    sums = examples.targets.T.astype(np.float32) @ examples.vectors
    means: Vectors = sums / np.maximum(examples.counts, 1).astype(np.float32)[:, None]
    return means


def _blend(examples: Examples, prompts: Vectors, prior: float) -> Vectors:
    """Blend prompts and examples of each label: (prior * prompts + n * mean of the n examples) / (prior + n).

    That is the posterior mean of a normal distribution whose prior, here the prompts, counts as much as
    `prior` examples (Gelman et al., "Bayesian Data Analysis", 3rd edition, section 2.5). Items and prompts
    of two modalities lie apart by about the same vector for all labels (Liang et al., "Mind the Gap", NeurIPS
    2022). Prompts are moved by the mean of that vector over the labels with examples: a label with more
    examples would otherwise lie nearer to all items for that alone.
    """
    if not (np.isfinite(prior) and prior > 0):
        raise ValueError(f"prior is {prior!r}: make it a positive number of examples")
    given = examples.counts > 0
    means = np.zeros_like(prompts)
    chosen = [name for name, has in zip(examples.names, given.tolist(), strict=True) if has]
    means[given] = unit_means(_raw_means(examples)[given], chosen)
    gap = (means[given] - prompts[given]).mean(axis=0)
    share = (examples.counts / (prior + examples.counts)).astype(np.float32)[:, None]
    blended: Vectors = share * means + (1 - share) * (prompts + gap)
    return blended


def _fit_linear_probe(examples: Examples, space: str) -> Head:
    """Fit a logistic regression to the vectors, as Radford et al. (2021) evaluate representations.

    The penalty is the best of five by cross-validation where every label has two examples or more, otherwise
    C = 10. With multi_label, each label has a regression of its own.
    """
    if examples.multi_label:
        _require_both(examples)
        lines = [_regress(examples.vectors, column, [name]) for name, column in _columns(examples)]
        weights, offsets = (np.concatenate(parts) for parts in zip(*lines, strict=True))
        return Head(weights, offsets, space, Scoring(kind="sigmoid", scale=1.0))
    missing = examples.without()
    if missing or len(examples.names) < 2:
        raise LabelError(
            f"a linear probe needs examples of every label; {missing[0]!r} has none"
            if missing
            else f"a linear probe needs two labels or more, not {examples.names[0]!r} alone",
            remedy='give some, or use method="blend"',
        )
    weights, offsets = _regress(examples.vectors, examples.targets.argmax(axis=1), examples.names)
    if len(weights) == 1:  # of two labels, scikit-learn has weights of the second against the first
        weights = (np.concatenate([-weights, weights]) / 2).astype(np.float32)
        offsets = (np.concatenate([-offsets, offsets]) / 2).astype(np.float32)
    return Head(weights, offsets, space, Scoring(kind="softmax", scale=1.0))


def _columns(examples: Examples) -> list[tuple[str, Any]]:
    return list(zip(examples.names, examples.targets.T.astype(int), strict=True))


def _require_both(examples: Examples) -> None:
    for name, column in _columns(examples):
        if column.all() or not column.any():
            has = "every" if column.all() else "no"
            raise LabelError(
                f"{has} example has the label {name!r}, so that a linear probe can't tell what makes it one",
                remedy='give some with it and some without, or use method="blend"',
            )


def _regress(vectors: Vectors, places: Any, names: Sequence[str]) -> tuple[Vectors, Vectors]:
    """Fit weights `[labels, dim]` and offsets `[labels]`; both have one row for two labels."""
    need = "a linear probe needs scikit-learn", "pip install 'mmencode[fewshot]'"
    linear_model = import_package("sklearn.linear_model", *need)
    model_selection = import_package("sklearn.model_selection", *need)
    inputs, strength, folds = vectors.astype(np.float64), 10.0, min(5, int(np.bincount(places).min()))
    if folds >= 2:
        parts = model_selection.StratifiedKFold(folds)
        losses = {
            strength: model_selection.cross_val_score(
                linear_model.LogisticRegression(C=strength, max_iter=_ITERATIONS),
                inputs,
                places,
                cv=parts,
                scoring="neg_log_loss",
            ).mean()
            for strength in _STRENGTHS
        }
        strength = max(losses, key=losses.__getitem__)
    model = linear_model.LogisticRegression(C=strength, max_iter=_ITERATIONS).fit(inputs, places)
    return np.asarray(model.coef_, np.float32), np.asarray(model.intercept_, np.float32)
