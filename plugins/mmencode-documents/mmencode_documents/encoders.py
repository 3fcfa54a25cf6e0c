"""Encoders of pages: the image tower of any space, whose vectors of a page are those of its picture."""

from __future__ import annotations

from typing import Any, final

from torch import Tensor, nn

from mmencode import Encoder, MultiEncoder, Scoring, Tensors, load
from mmencode.errors import EncoderError

from .items import RENDERING


@final
class Pages(Encoder):
    """The image encoder of a space, with the projection that leads into it, on pages."""

    def __init__(self, image: Encoder, projection: nn.Module, width: int) -> None:
        super().__init__()
        self.image, self.projection, self.width = image, projection, width
        self.preprocessing = f"{RENDERING}; {image.preprocessing}"
        self.tokenizer, self.pooling, self.windows = image.tokenizer, image.pooling, image.windows

    @property
    def scoring(self) -> Scoring | None:
        """The scale and bias that the image encoder was trained with; None without them."""
        return self.image.scoring

    def preprocess(self, item: Any) -> Tensors:
        """Preprocess the picture of a page as the image encoder does."""
        return self.image.preprocess(item)

    def collate(self, items: list[Tensors]) -> Tensors:
        """Join pages as the image encoder joins images."""
        return self.image.collate(items)

    def cost(self, tensors: Tensors) -> int:
        """Estimate the work as the image encoder does."""
        return self.image.cost(tensors)

    def forward(self, tensors: Tensors) -> Tensor:
        """Compute vectors in the space, `[b, width]`."""
        found: Tensor = self.projection(self.image(tensors))
        return found


@final
class LatePages(MultiEncoder):
    """The image encoder of a space for late interaction, with its projection, on pages."""

    def __init__(self, image: MultiEncoder, projection: nn.Module, width: int) -> None:
        super().__init__()
        self.image, self.projection, self.width = image, projection, width
        self.preprocessing = f"{RENDERING}; {image.preprocessing}"
        self.tokenizer, self.counting, self.windows = image.tokenizer, image.counting, image.windows

    def preprocess(self, item: Any) -> Tensors:
        """Preprocess the picture of a page as the image encoder does."""
        return self.image.preprocess(item)

    def collate(self, items: list[Tensors]) -> Tensors:
        """Join pages as the image encoder joins images."""
        return self.image.collate(items)

    def cost(self, tensors: Tensors) -> int:
        """Estimate the work as the image encoder does."""
        return self.image.cost(tensors)

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Compute vectors in the space, `[b, t, width]`, and the mask of those that count."""
        tokens, mask = self.image.forward_tokens(tensors)
        return self.projection(tokens), mask


def one(name: str) -> Pages:
    """Build the encoder of pages of the space `name`; raises what loading that raises."""
    image, projection, width, architecture = _load(name)
    if isinstance(image, MultiEncoder):
        raise EncoderError(
            f"the space {name!r} has many vectors for an image",
            culprit="mmencode-documents",
            remedy=f"name its pages page/late/{name}, or call mmencode_documents.join_pages(space)",
        )
    found = Pages(image, projection, width)
    found.architecture = architecture
    return found


def many(name: str) -> LatePages:
    """Build the encoder of pages of a space for late interaction; raises what loading that raises."""
    image, projection, width, architecture = _load(name)
    if not isinstance(image, MultiEncoder):
        raise EncoderError(
            f"the space {name!r} has one vector for an image",
            culprit="mmencode-documents",
            remedy=f"name its pages page/image/{name}, or call mmencode_documents.join_pages(space)",
        )
    found = LatePages(image, projection, width)
    found.architecture = architecture
    return found


def _load(name: str) -> tuple[Encoder, nn.Module, int, str]:
    """Load the image encoder of a space, its projection, their width, and what is computed.

    To be compiled, which nothing here is, an encoder is left as it was built: weights that were packed for
    the CPU could go to no other device.
    """
    with load(name, device="cpu", dtype="float32", modalities=("image",), compile=True) as space:
        tower = space.tower("image")
        declared = tower.card.identity.architecture or tower.spec.name
        return tower.encoder, tower.projection, tower.dim, f"pages by {declared}"
