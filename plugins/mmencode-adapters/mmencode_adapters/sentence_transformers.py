"""sentence-transformers' evaluators: a space with the methods that they call on a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from sentence_transformers.util import cos_sim, pairwise_cos_sim

from mmencode import Embeddings

from .spaces import SpaceLike, open_space

Role = Literal["", "query", "document"]


class EvaluatedSpace:
    """A space as evaluators of sentence-transformers take a model: `evaluator(EvaluatedSpace("default"))`.

    `modality` is that of what the evaluator calls sentences; `query_modality` that of queries where they are
    of another, as in a search of pictures by words. Prompts that an evaluator names are refused, since those
    belong to a space's encoders. `metrics` has the figures of each evaluation, by evaluator.

    LabelAccuracyEvaluator has no use for a space, since it runs the head of a classifier in training.
    """

    similarity_fn_name = "cosine"
    truncate_dim = None

    def __init__(
        self, space: SpaceLike = "default", *, modality: str = "text", query_modality: str = ""
    ) -> None:
        self.space = open_space(space)
        self.modality = modality
        self.query_modality = query_modality or modality
        self.metrics: dict[str, dict[str, float]] = {}
        self.model_card_data = self

    def encode(self, sentences: Any, **options: Any) -> Any:
        """Encode one item or a list of them, as an array, a tensor or tensors, as the options say."""
        return self._encode(self.modality, sentences, "", **options)

    def encode_query(self, sentences: Any, **options: Any) -> Any:
        """Encode items on the queries' side."""
        return self._encode(self.query_modality, sentences, "query", **options)

    def encode_document(self, sentences: Any, **options: Any) -> Any:
        """Encode items on the documents' side."""
        return self._encode(self.modality, sentences, "document", **options)

    def similarity(self, first: Any, second: Any) -> torch.Tensor:
        """The cosine of each row of one with each of the other, `[n, m]`."""
        return cos_sim(first, second)

    def similarity_pairwise(self, first: Any, second: Any) -> torch.Tensor:
        """The cosine of each row of one with the row of the other beside it, `[n]`."""
        return pairwise_cos_sim(first, second)

    def set_evaluation_metrics(self, evaluator: Any, metrics: dict[str, float], *position: Any) -> None:
        """Keep the figures of an evaluation, which a model would write on its card."""
        self.metrics[type(evaluator).__name__] = dict(metrics)

    def eval(self) -> EvaluatedSpace:
        """Return the space itself, which is never in training."""
        return self

    def _encode(
        self,
        modality: str,
        sentences: Any,
        role: Role,
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        show_progress_bar: bool | None = None,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        truncate_dim: int | None = None,
        batch_size: int = 32,
        normalize_embeddings: bool = True,
        **others: Any,
    ) -> Any:
        if prompt or prompt_name:
            raise ValueError(
                f"the prompt {prompt or prompt_name!r} was given, and a space's encoders have their own: "
                "leave it out, or load the space with an instruction"
            )
        given_others = sorted(name for name, value in others.items() if value is not None)
        if given_others:
            raise TypeError(f"{', '.join(given_others)}: a space has no such options")
        alone = isinstance(sentences, str) or not isinstance(sentences, Sequence | np.ndarray)
        given = [sentences] if alone else sentences
        encoded: Embeddings = self.space.encode(modality, given, role=role, progress=bool(show_progress_bar))
        vectors = (encoded if truncate_dim is None else encoded.truncate(truncate_dim)).vectors
        if alone:
            vectors = vectors[0]
        if convert_to_tensor:
            return torch.from_numpy(np.array(vectors))
        return vectors if convert_to_numpy else [torch.from_numpy(np.array(row)) for row in vectors]
