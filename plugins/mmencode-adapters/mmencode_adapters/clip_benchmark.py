"""CLIP_benchmark: a space as its model, transform and tokenizer.

Its data loader stacks what the transform gives, which for a space are numbers of pictures that wait to be
encoded. So pictures are read as mmencode reads them, and any encoder will do; the loader must not have
processes of its own.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from typing import Any

import torch
from clip_benchmark import models

import mmencode

from .spaces import SpaceLike, open_space

NAME = "mmencode"


class Texts:
    """Texts as a tokenizer gives them: they go to a device by staying where they are."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = list(texts)

    def to(self, device: Any) -> Texts:
        """Return the texts, which a space takes to its own device."""
        return self


class SpaceModel:
    """A space with the methods that CLIP_benchmark calls on a model; vectors are those of `Space.encode`."""

    def __init__(self, space: SpaceLike = "default") -> None:
        self.space = open_space(space)
        self._waiting: dict[int, Any] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def transform(self, image: Any) -> torch.Tensor:
        """Have a picture wait to be encoded, and give its number, a tensor without dimensions."""
        with self._lock:
            number = next(self._numbers)
            self._waiting[number] = image
        return torch.tensor(number)

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """Encode the pictures of these numbers, `[b, dim]`; each waits for one call only."""
        with self._lock:
            try:
                items = [self._waiting.pop(number) for number in images.tolist()]
            except KeyError as cause:
                raise ValueError(
                    f"picture {cause} isn't waiting in this process: give the data loader num_workers=0, "
                    "since mmencode has threads of its own, and encode each batch once"
                ) from cause
        return self.space.encode("image", items).torch()

    def encode_text(self, texts: Texts) -> torch.Tensor:
        """Encode texts, `[b, dim]`, on the queries' side."""
        return self.space.encode("text", texts.texts, role="query").torch()

    def eval(self) -> SpaceModel:
        """Return the model itself, which is never in training."""
        return self

    def to(self, device: Any) -> SpaceModel:
        """Return the model itself: a space was loaded on its device."""
        return self


def load(
    model_name: str = "default", pretrained: str = "", cache_dir: str | None = None, device: Any = "cpu"
) -> tuple[SpaceModel, Any, type[Texts]]:
    """Load a space by its name or folder, in float32, as CLIP_benchmark loads `--model_type mmencode`."""
    model = SpaceModel(mmencode.load(model_name, device=str(device), dtype="float32"))
    return model, model.transform, Texts


def register() -> None:
    """Add "mmencode" to CLIP_benchmark's types of models, once, however often this is called."""
    models.TYPE2FUNC[NAME] = load
    if NAME not in models.MODEL_TYPES:
        models.MODEL_TYPES.append(NAME)


register()
