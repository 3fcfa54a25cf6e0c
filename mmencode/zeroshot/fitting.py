"""Scales, biases and thresholds for scores, each the optimum of a loss with one minimum."""

from __future__ import annotations

import numpy as np

from ..embeddings.array_types import Flags, Numbers
from ..errors import FitError
from ..plugins.spec import Scoring
from .links import sigmoid, softmax

_DOUBLINGS, _HALVINGS, _STEPS = 40, 40, 100
_TINY = 1e-12


def fit_temperature(scores: Numbers, targets: Flags) -> Scoring:
    """Fit the scale of a softmax that makes the labels of items most likely; 0 where no scale beats chance.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017; the scale is one over their
    temperature. Each target gives up 1 / (n + 1) of its weight to all labels alike, as Platt's targets do:
    the best scale of items that are all classified rightly would be infinite otherwise.
    """
    given_up = 1 / (len(scores) + 1)
    wanted = (1 - given_up) * targets + given_up / targets.shape[1]
    aimed = (wanted * scores).sum(axis=1).mean()

    def slope(scale: float) -> float:
        return float((softmax(scale * scores) * scores).sum(axis=1).mean() - aimed)

    if slope(0.0) >= -_TINY:
        return Scoring(kind="softmax", scale=0.0)
    high = 1.0
    for _ in range(_DOUBLINGS):
        if slope(high) >= 0:
            break
        high *= 2
    low = 0.0 if high == 1 else high / 2
    for _ in range(_HALVINGS):  # the loss is convex, so that its slope passes zero once
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return Scoring(kind="softmax", scale=(low + high) / 2)


def fit_platt(scores: Numbers, targets: Flags) -> Scoring:
    """Fit scale and bias of a sigmoid to each (item, label) pair by itself; scale 0 where none helps.

    Platt, "Probabilistic Outputs for Support Vector Machines", 1999, with his targets; by Newton's method
    with a line search (Lin, Lin and Weng, "A note on Platt's probabilistic outputs", 2007).
    """
    with_label, pairs = int(targets.sum()), targets.size
    high, low = (with_label + 1) / (with_label + 2), 1 / (pairs - with_label + 2)
    wanted = np.where(targets.ravel(), high, low)
    mean, spread = float(scores.mean()), float(scores.std())
    if spread < _TINY:
        return Scoring(kind="sigmoid", scale=0.0, bias=_logit(float(wanted.mean())))
    inputs = np.stack([(scores.ravel() - mean) / spread, np.ones(pairs)], axis=1)
    weights = _newton(inputs, wanted)
    scale = float(weights[0]) / spread
    return Scoring(kind="sigmoid", scale=scale, bias=float(weights[1]) - scale * mean)


def _newton(inputs: Numbers, wanted: Numbers) -> Numbers:
    """Fit the weights of a logistic regression of `wanted`, probabilities, on `inputs`."""
    weights = np.zeros(inputs.shape[1])
    weights[-1] = _logit(float(wanted.mean()))
    loss = _cross_entropy(inputs @ weights, wanted)
    for _ in range(_STEPS):
        found = sigmoid(inputs @ weights)
        gradient = inputs.T @ (found - wanted)
        curvature = (inputs * (found * (1 - found))[:, None]).T @ inputs + _TINY * np.eye(len(weights))
        step = np.linalg.solve(curvature, gradient)
        size, better = 1.0, loss
        while size > _TINY and (better := _cross_entropy(inputs @ (weights - size * step), wanted)) > loss:
            size /= 2
        weights, gained, loss = weights - size * step, loss - better, better
        if gained <= _TINY * (1 + abs(loss)):
            break
    return weights


def fit_threshold(highest: Numbers, nones: Flags) -> float:
    """Fit the threshold of the highest score that best tells items with a label from `nones`, those without.

    It maximises the share of accepted items with a label plus that of rejected ones without (Youden's index;
    Youden 1950), and lies halfway between two scores. FitError when none is better than to accept everything.
    """
    order = np.argsort(highest, kind="stable")
    sorted_scores, sorted_nones = highest[order], nones[order]
    gained = np.cumsum(sorted_nones) / nones.sum() - np.cumsum(~sorted_nones) / (~nones).sum()
    between = sorted_scores[1:] > sorted_scores[:-1]
    gained = np.where(between, gained[:-1], -1.0)
    if not len(gained) or gained.max() <= 0:
        raise FitError(
            "items that are none of the labels score as high as those that are one",
            remedy="describe the labels otherwise, or give a null class",
        )
    place = int(gained.argmax())
    return float((sorted_scores[place] + sorted_scores[place + 1]) / 2)


def _cross_entropy(logits: Numbers, wanted: Numbers) -> float:
    return float((np.logaddexp(0, logits) - wanted * logits).sum())


def _logit(share: float) -> float:
    return float(np.log(share / (1 - share)))
