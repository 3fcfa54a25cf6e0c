"""The space that a classifier works in, as an interface."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol

from ..embeddings.embeddings import Embeddings
from ..plugins.spec import EncoderSpec, Scoring


class LabelSpace(Protocol):
    """A space that encodes descriptions of labels and the items to classify; `mmencode.Space` is one."""

    @property
    def specs(self) -> Mapping[str, EncoderSpec]:
        """The declaration of each modality's encoder, which holds the default prompt for labels."""
        ...

    def encode(
        self,
        modality: str,
        batch: Iterable[Any],
        *,
        role: Literal["", "query", "document"] = "",
        on_error: Literal["raise", "skip"] = "raise",
        progress: bool = False,
    ) -> Embeddings:
        """Turn a batch of raw items of one modality into vectors of the space."""
        ...

    def scoring(self, modality: str) -> Scoring | None:
        """The scale that turns cosines of a modality with texts into probabilities, if there is one."""
        ...
