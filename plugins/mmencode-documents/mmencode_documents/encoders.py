"""Encoders of pages: the image tower of any space, whose vectors of a page are those of its picture."""

from __future__ import annotations

from typing import Any, final

from torch import Tensor

from mmencode import Encoder, MultiEncoder, Scoring, Tensors, load_base
from mmencode.encoder import Base
from mmencode.errors import EncoderError

from .items import RENDERING


class OverImages(Encoder):
    """The image encoder of a space, with the projection that leads into it, on pages."""

    def __init__(self, base: Base) -> None:
        super().__init__()
        image = self.image = base.encoder
        self.projection, self.width = base.projection, base.width
        self.architecture = f"pages by {base.name}"
        self.preprocessing = f"{RENDERING}; {image.preprocessing}"
        self.tokenizer, self.windows = image.tokenizer, image.windows

    def preprocess(self, item: Any) -> Tensors:
        """Preprocess the picture of a page as the image encoder does."""
        return self.image.preprocess(item)

    def collate(self, items: list[Tensors]) -> Tensors:
        """Join pages as the image encoder joins images."""
        return self.image.collate(items)

    def cost(self, tensors: Tensors) -> int:
        """Estimate the work as the image encoder does."""
        return self.image.cost(tensors)


@final
class Pages(OverImages):
    """The encoder of pages of a space of one vector for each item."""

    def __init__(self, base: Base) -> None:
        super().__init__(base)
        self.pooling = base.encoder.pooling

    @property
    def scoring(self) -> Scoring | None:
        """The scale and bias that the image encoder was trained with; None without them."""
        return self.image.scoring

    def forward(self, tensors: Tensors) -> Tensor:
        """Compute vectors in the space, `[b, width]`."""
        found: Tensor = self.projection(self.image(tensors))
        return found


@final
class LatePages(OverImages, MultiEncoder):
    """The encoder of pages of a space for late interaction."""

    def __init__(self, base: Base) -> None:
        super().__init__(base)
        assert isinstance(base.encoder, MultiEncoder)
        self.counting = base.encoder.counting

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Compute vectors in the space, `[b, t, width]`, and the mask of those that count."""
        tokens, mask = self.image.forward_tokens(tensors)
        return self.projection(tokens), mask


def one(name: str, over: Base | None = None) -> Pages:
    """Build the encoder of pages of the space `name`; raises what loading that raises."""
    base = over or load_base(name, "image")
    if isinstance(base.encoder, MultiEncoder):
        raise EncoderError(
            f"the space {name!r} has many vectors for an image",
            culprit="mmencode-documents",
            remedy=f"name its pages page/late/{name}, or call mmencode_documents.join_pages(space)",
        )
    return Pages(base)


def many(name: str, over: Base | None = None) -> LatePages:
    """Build the encoder of pages of a space for late interaction; raises what loading that raises."""
    base = over or load_base(name, "image")
    if not isinstance(base.encoder, MultiEncoder):
        raise EncoderError(
            f"the space {name!r} has one vector for an image",
            culprit="mmencode-documents",
            remedy=f"name its pages page/image/{name}, or call mmencode_documents.join_pages(space)",
        )
    return LatePages(base)
