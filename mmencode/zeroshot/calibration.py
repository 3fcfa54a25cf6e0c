"""Probabilities and a threshold, fitted to a few labelled items and measured on others of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..arguments.brief import Brief
from ..embeddings.array_types import Flags, Numbers
from ..errors import FitError
from ..plugins.spec import Scoring
from .fitting import fit_platt, fit_temperature, fit_threshold
from .links import sigmoid, softmax

LEAST = 10  # labelled items: two for each held-out part
LEAST_NONE = 5
FOLDS = 5
_BINS = 15  # of confidence, as in Guo et al.
_TINY = 1e-12


@dataclass(frozen=True, slots=True, repr=False)
class Calibration(Brief):
    """The fit that turns scores of a modality into probabilities, and its error on held-out items.

    count            the number of items with a label; `nones`: of items that are none of the labels
    folds            the parts, each of which was measured with a scale fitted to the others
    scoring          the scale that was fitted to all items
    threshold        the score below which an item is none of the labels, None without such items; with
                     multi_label the score whose probability is one half
    error            expected calibration error on held-out items, of 1; `error_before` is that of the
                     encoder's own scale on the same items, None where it has none
    loss             mean negative log likelihood on held-out items, in nats; `loss_before` as above
    accepted         share of the held-out items with a label whose best score reached the threshold
    rejected         share of the held-out items without one whose best score did not
    """

    modality: str
    count: int
    nones: int
    folds: int
    scoring: Scoring
    threshold: float | None
    error: float
    error_before: float | None
    loss: float
    loss_before: float | None
    accepted: float | None
    rejected: float | None

    def __str__(self) -> str:
        before = "" if self.error_before is None else f", before {100 * self.error_before:.1f} %"
        lines = [
            f"{self.modality}: {self.count} labelled items, {self.folds} folds",
            f"expected calibration error {100 * self.error:.1f} %{before}",
        ]
        if self.accepted is not None and self.rejected is not None:
            lines.append(
                f"accepts {100 * self.accepted:.1f} % of these, rejects {100 * self.rejected:.1f} % of "
                f"{self.nones} others"
            )
        return "; ".join(lines)


def fit_calibration(
    modality: str,
    scores: Numbers,
    targets: Flags,
    before: Scoring | None,
    *,
    multi_label: bool,
    rejecting: bool,
) -> Calibration:
    """Fit a scale to scores `[n, labels]`, by the labels that items have; measure it by cross-validation.

    `targets[i, j]` says whether item i has label j. With `rejecting`, items without one give a threshold.
    FitError for too few items, and for scores that say nothing about the labels.
    """
    nones: Flags = (targets.sum(axis=1) == 0) & rejecting
    known, truth = scores[~nones], targets[~nones]
    _require_enough(known, int(nones.sum()), multi_label=multi_label)
    fit = fit_platt if multi_label else fit_temperature
    final = _require_better_than_chance(fit(known, truth), len(known))
    held = np.empty_like(known)
    for part in _divide(truth):
        held[part] = _probabilities(known[part], fit(known[~part], truth[~part]))
    error, loss = _measure(held, truth, multi_label)
    was = None if before is None else _measure(_probabilities(known, before), truth, multi_label)
    found = _fit_rejection(scores, nones) if nones.any() else (None, None, None)
    return Calibration(
        modality=modality,
        count=len(known),
        nones=int(nones.sum()),
        folds=FOLDS,
        scoring=final,
        threshold=-final.bias / final.scale if multi_label else found[0],
        error=error,
        error_before=None if was is None else was[0],
        loss=loss,
        loss_before=None if was is None else was[1],
        accepted=found[1],
        rejected=found[2],
    )


def _require_better_than_chance(scoring: Scoring, count: int) -> Scoring:
    if scoring.scale > 0:
        return scoring
    raise FitError(
        f"the scores of these {count} items say nothing about their labels",
        remedy="check that labels and items belong together, or describe the labels otherwise",
    )


def _measure(probabilities: Numbers, targets: Flags, multi_label: bool) -> tuple[float, float]:
    """Measure the expected calibration error and the mean negative log likelihood."""
    error = measure_calibration_error(probabilities, targets, multi_label=multi_label)
    return error, _loss(probabilities, targets, multi_label=multi_label)


def measure_calibration_error(
    probabilities: Numbers, targets: Flags, *, bins: int = _BINS, multi_label: bool = False
) -> float:
    """Measure the expected calibration error: by how much confidence misses the share of hits, over bins.

    It is that of the best label of each item (Guo et al. 2017), or with `multi_label` of every pair of item
    and label. Bins have equal width and are open at their lower end, as theirs are.
    """
    if multi_label:
        confidence, hits = probabilities.ravel(), targets.ravel()
    else:
        best = probabilities.argmax(axis=1)
        rows = np.arange(len(best))
        confidence, hits = probabilities[rows, best], targets[rows, best]
    places = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(places, weights=confidence, minlength=bins)
    gaps -= np.bincount(places, weights=hits, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def _fit_rejection(scores: Numbers, nones: Flags) -> tuple[float, float, float]:
    """Fit a threshold of the best score; measure the shares accepted and rejected by cross-validation.

    The highest score tells items with a label from those without (Hendrycks et al., "Scaling
    Out-of-Distribution Detection for Real-World Settings", ICML 2022).
    """
    highest = scores.max(axis=1)
    threshold = fit_threshold(highest, nones)
    folds = _divide(np.stack([nones, ~nones], axis=1))
    rejected = np.zeros(len(scores), bool)
    for part in folds:
        rejected[part] = highest[part] < fit_threshold(highest[~part], nones[~part])
    return threshold, float((~rejected[~nones]).mean()), float(rejected[nones].mean())


def _require_enough(known: Numbers, nones: int, *, multi_label: bool) -> None:
    if len(known) < LEAST:
        raise FitError(
            f"{len(known)} labelled items are too few to calibrate",
            remedy=f"label {LEAST} or more, some of each label if possible",
        )
    if 0 < nones < LEAST_NONE:
        raise FitError(
            f"{nones} items that are none of the labels are too few to choose a threshold",
            remedy=f"give {LEAST_NONE} or more, or none at all",
        )
    if known.shape[1] < 2 and not multi_label:
        raise FitError(
            "with one label, there is nothing to share out among labels",
            remedy="name more, give a null class, or judge it by itself with multi_label=True",
        )


def _divide(targets: Flags) -> list[Flags]:
    """Divide the rows into five parts, with the items of every label spread over them."""
    order = np.lexsort(targets.T)
    numbers = np.empty(len(targets), int)
    numbers[order] = np.arange(len(targets)) % FOLDS
    return [numbers == fold for fold in range(FOLDS)]


def _probabilities(scores: Numbers, scoring: Scoring) -> Numbers:
    logits = scoring.scale * scores + scoring.bias
    return softmax(logits) if scoring.kind == "softmax" else sigmoid(logits)


def _loss(probabilities: Numbers, targets: Flags, *, multi_label: bool) -> float:
    if not multi_label:
        return float(-np.log(np.maximum(probabilities[targets], _TINY)).mean())
    return float(-np.log(np.maximum(np.where(targets, probabilities, 1 - probabilities), _TINY)).mean())
