"""Functions from scores to probabilities, in the type of the scores."""

from __future__ import annotations

import numpy as np

from ..embeddings.array_types import Array


def softmax(logits: Array) -> Array:
    """Probabilities that sum to 1 in each row; the largest logit is taken off, so that nothing overflows."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Array = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def sigmoid(logits: Array) -> Array:
    """1 / (1 + exp(-x)), written with tanh so that nothing overflows."""
    probabilities: Array = 0.5 * (1 + np.tanh(0.5 * logits))
    return probabilities
