"""Zero-shot classification: items are compared with the texts of the labels."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .embeddings import Embeddings, Positions, Vectors, similarity
from .errors import InputError
from .spec import TEXT, Scoring

Encode = Callable[..., Embeddings]


@dataclass(frozen=True, eq=False, slots=True)
class Classification:
    """Cosine similarities `[n, labels]`; row i belongs to item `positions[i]`, `errors` to those skipped.

    Similarities of different pairs of modalities are on different scales: rank with them, and don't read
    them as probabilities; `probabilities` gives those, where the space's encoder has a scale for them.
    """

    labels: tuple[str, ...]
    scores: Vectors
    positions: Positions
    errors: tuple[InputError, ...]
    scoring: Scoring | None = None

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def best(self) -> list[str]:
        """The most similar label of each row."""
        return [self.labels[column] for column in self.scores.argmax(axis=1)]

    def probabilities(self) -> Vectors:
        """Probabilities `[n, labels]` by the encoder's own scale: rows sum to 1 for softmax models only.

        Raises ValueError when the encoder has none.
        """
        if self.scoring is None:
            raise ValueError("this space has no scale for probabilities: rank by `scores`")
        logits = self.scoring.scale * self.scores + self.scoring.bias
        if self.scoring.kind == "sigmoid":
            return np.asarray(1 / (1 + np.exp(-logits)), np.float32)
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), np.float32)

    def top(self, k: int) -> list[list[tuple[str, float]]]:
        """The `k` most similar labels of each row with their similarities, best first."""
        order = np.argsort(-self.scores, axis=1, kind="stable")[:, :k]
        return [
            [(self.labels[column], float(scores[column])) for column in columns]
            for scores, columns in zip(self.scores, order, strict=True)
        ]


class Classifier:
    """Labels as vectors of a space, computed once; made by `Space.classifier`.

    Each label is put into every template, and the mean of the normalised vectors is normalised again
    (prompt ensembling; Radford et al., "Learning Transferable Visual Models From Natural Language
    Supervision", 2021, section 3.1.4). Without templates, the prompt that the encoder of the classified
    modality declares is the only one.
    """

    def __init__(
        self,
        encode: Encode,
        labels: Sequence[str],
        *,
        templates: Sequence[str] | None,
        prompts: Mapping[str, str],
        scoring: Callable[[str], Scoring | None],
    ) -> None:
        self.labels = _distinct("labels", labels)
        self._templates = None if templates is None else _templates(templates)
        self._prompts = prompts
        self._encode = encode
        self._scoring = scoring
        self._vectors: dict[tuple[str, ...], Embeddings] = {}
        self._lock = threading.Lock()

    def label_embeddings(self, modality: str) -> Embeddings:
        """The vectors `[labels, dim]` that items of this modality are compared with."""
        templates = self._templates or (self._prompts.get(modality, "{label}"),)
        with self._lock:
            if templates not in self._vectors:
                self._vectors[templates] = self._ensemble(templates)
            return self._vectors[templates]

    def classify(
        self, modality: str, batch: Sequence[Any], *, on_error: str = "raise", progress: bool = False
    ) -> Classification:
        """Encode the batch and compare it with every label."""
        return self.rank(self._encode(modality, batch, on_error=on_error, progress=progress))

    def rank(self, embeddings: Embeddings) -> Classification:
        """Compare what is encoded already; SpaceMismatchError when it is of another space."""
        scores = similarity(embeddings, self.label_embeddings(embeddings.modality))
        scoring = self._scoring(embeddings.modality)
        return Classification(self.labels, scores, embeddings.positions, embeddings.errors, scoring)

    def _ensemble(self, templates: tuple[str, ...]) -> Embeddings:
        texts = [template.replace("{label}", label) for label in self.labels for template in templates]
        encoded = self._encode(TEXT, texts)
        shape = (len(self.labels), len(templates), encoded.dim)
        means = encoded.vectors.reshape(shape).mean(axis=1)  # [labels, dim]
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        return Embeddings(means, space=encoded.space, modality=TEXT)


def _distinct(name: str, words: Sequence[str]) -> tuple[str, ...]:
    if isinstance(words, str) or not all(isinstance(word, str) for word in words):
        raise TypeError(f"{name} must be a list of strings, not {words!r}")
    if not words or len(set(words)) < len(words) or not all(word.strip() for word in words):
        raise ValueError(f"{name} must be distinct, not blank, and at least one: {list(words)!r}")
    return tuple(words)


def _templates(templates: Sequence[str]) -> tuple[str, ...]:
    for template in _distinct("templates", templates):
        if "{label}" not in template:
            raise ValueError(f'template {template!r} has no "{{label}}" in it')
    return tuple(templates)
