"""Recall of the teacher's vectors by those of held-out texts, compared with ridge regression."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmencode import Projection, Recall
from mmencode.errors import MissingPackageError
from mmencode.evaluation import recall

from .definitions import Side, Split
from .text import ScratchText

_BATCH = 100
_ALPHAS = (0.1, 0.3, 1.0)
_HEAD = "| text encoder | recall@1 | 95 % | recall@5 | angle | numbers |\n|---|---|---|---|---|---|"


@dataclass(frozen=True, slots=True)
class EncoderFigures:
    """The figures of one encoder on held-out texts: recall, mean angle to the teacher's vectors, size."""

    name: str
    recall: Recall
    angle: float
    numbers: int

    def __str__(self) -> str:
        low, high = self.recall.interval
        shares = f"{100 * self.recall.at[1]:.1f} % | {100 * low:.1f} to {100 * high:.1f} %"
        return (
            f"| {self.name} | {shares} | {100 * self.recall.at[5]:.1f} % | {self.angle:.1f}° | "
            f"{self.numbers / 1e6:.1f} million |"
        )


@torch.inference_mode()
def encode(encoder: ScratchText, projection: Projection, texts: Sequence[str]) -> Tensor:
    """Encode texts to unit vectors `[n, dim]`."""
    tensors = [encoder.preprocess(text) for text in texts]
    batches = [tensors[start : start + _BATCH] for start in range(0, len(tensors), _BATCH)]
    features = torch.cat([encoder(encoder.collate(batch)) for batch in batches])
    return normalize(projection(features), dim=-1)


def measure(name: str, found: Tensor, side: Side, numbers: int) -> EncoderFigures:
    """Measure unit vectors `[n, dim]` of the texts of one side against the teacher's."""
    cosines = (found * side[1]).sum(dim=1).clamp(-1, 1)
    angle = float(torch.rad2deg(torch.arccos(cosines)).mean())
    return EncoderFigures(name, recall([(found.numpy(), side[1].numpy())]), angle, numbers)


def student(encoder: ScratchText, projection: Projection, split: Split) -> EncoderFigures:
    """Measure the transformer on the held-out texts."""
    state = [*encoder.state_dict().values(), *projection.state_dict().values()]
    found = encode(encoder, projection, split.test[0])
    return measure("the transformer from scratch", found, split.test, sum(map(torch.numel, state)))


def regression(split: Split) -> EncoderFigures:
    """Measure ridge regression from TF-IDF, with the penalty that is best on the texts for early stopping."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import Ridge
    except ImportError as cause:
        raise MissingPackageError(
            "the comparison needs scikit-learn", remedy="pip install 'mmencode-scratch[evaluate]'"
        ) from cause
    words = TfidfVectorizer(sublinear_tf=True, dtype=np.float32)
    features, targets = words.fit_transform(split.train[0]), split.train[1].numpy()
    best, kept = -1.0, None
    for alpha in _ALPHAS:
        model = Ridge(alpha=alpha, solver="sparse_cg", tol=1e-2).fit(features, targets)
        found = _predict(model.predict, words.transform(split.stop[0]))
        cosine = float((found * split.stop[1]).sum(dim=1).mean())
        if cosine > best:
            best, kept = cosine, model
    assert kept is not None
    found = _predict(kept.predict, words.transform(split.test[0]))
    return measure("ridge regression from TF-IDF", found, split.test, kept.coef_.size + kept.intercept_.size)


def _predict(predict: Callable[..., object], features: object) -> Tensor:
    return normalize(torch.as_tensor(predict(features), dtype=torch.float32), dim=-1)


def table(rows: Sequence[EncoderFigures]) -> str:
    """Write figures as a Markdown table, with a last row for a blind guess."""
    chance = rows[0].recall.chance
    blind = f"| a blind guess | {100 * chance[1]:.1f} % | | {100 * chance[5]:.1f} % | 90.0° | |"
    return "\n".join([_HEAD, *map(str, rows), blind])
