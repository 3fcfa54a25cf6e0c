"""A video is the mean of its frames' vectors, by the image tower of any space, and so in that space, too."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, final

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmencode import Encoder, Scoring, Tensors, load
from mmencode.encoder import pad_rows

from .policy import Policy, split_policy
from .video import Video

_AT_ONCE = 64  # frames of one forward pass
_SHARPNESS = 10.0  # of attention: a cosine of 0.1 less is a weight of 1/e
_COUNT = "count"


class Pooled(Encoder):
    """The pooled unit vectors of a video's frames, each computed by the image tower of a space.

    Frames are decoded, preprocessed and let go one by one. `forward_tokens` gives the frames' own vectors.
    """

    def __init__(
        self, image: Encoder, projection: nn.Module, width: int, policy: Policy, architecture: str
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.image = image
        self.projection = projection
        self.width = width
        self._policy = policy
        self.preprocessing = f"{policy}; {image.preprocessing}"
        self.tokenizer = image.tokenizer

    @property
    def scoring(self) -> Scoring | None:
        """The scale and bias that the image tower was trained with; None without them."""
        return self.image.scoring

    def preprocess(self, item: Video) -> Tensors:
        """Preprocess each chosen frame as a picture; names of tensors begin with the frame's number."""
        made: Tensors = {}
        before, tensors = None, {}
        number = -1
        for number, pixels in enumerate(self._policy.each(item)):
            if pixels is not before:  # a short video shows a frame twice
                tensors, before = self.image.preprocess(Image.fromarray(pixels)), pixels
            made |= {f"{number}:{name}": tensor for name, tensor in tensors.items()}
        return {_COUNT: torch.tensor(number + 1), **made}

    def collate(self, items: list[Tensors]) -> Tensors:
        """Join the frames of all videos as the tower joins pictures, with their number in each video."""
        frames = []
        for item in items:
            rows: list[Tensors] = [{} for _ in range(int(item[_COUNT]))]
            for key, tensor in item.items():
                number, _, name = key.partition(":")
                if name:
                    rows[int(number)][name] = tensor
            frames += rows
        joined = self.image.collate(frames)
        return {_COUNT: torch.stack([item[_COUNT] for item in items]), **_prefix(joined)}

    def cost(self, tensors: Tensors) -> int:
        """The numbers of all frames together."""
        return sum(tensor.numel() for tensor in tensors.values())

    def forward(self, tensors: Tensors) -> Tensor:
        """Compute features `[b, width]`: the pooled unit vectors of each video's frames."""
        return torch.stack([self.pool(rows) for rows in self._vectors(tensors)])

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Compute the unit vectors of frames `[b, t, width]`, and the mask of a video's own."""
        return pad_rows(self._vectors(tensors))

    @abstractmethod
    def pool(self, rows: Tensor) -> Tensor:
        """Pool the unit vectors of a video's frames, `[t, width]` to `[width]`."""

    def _vectors(self, tensors: Tensors) -> list[Tensor]:
        """The unit vectors of each video's frames."""
        counts = tensors[_COUNT].tolist()
        frames = {name.partition(":")[2]: tensor for name, tensor in tensors.items() if name != _COUNT}
        total = sum(counts)
        apart = all(len(tensor) == total for tensor in frames.values() if tensor.ndim)
        step = _AT_ONCE if apart and all(tensor.ndim for tensor in frames.values()) else total
        found = [
            self.projection(self.image({name: part[start : start + step] for name, part in frames.items()}))
            for start in range(0, total, step)
        ]
        vectors = normalize(torch.cat(found).float(), dim=-1).to(found[0].dtype)
        return list(torch.split(vectors, counts))


@final
class Mean(Pooled):
    """The mean of the frames' unit vectors."""

    def __init__(
        self, image: Encoder, projection: nn.Module, width: int, policy: Policy, architecture: str
    ) -> None:
        super().__init__(image, projection, width, policy, architecture)
        self.pooling = f"the mean of the frames' unit vectors; {image.pooling}"

    def pool(self, rows: Tensor) -> Tensor:
        """Average the frames' unit vectors."""
        return rows.mean(dim=0)


@final
class Attention(Pooled):
    """The mean of the frames' unit vectors, weighted by how near each is to the plain mean.

    It is one step of attention without weights of its own: the mean asks, the frames answer. A frame unlike
    the others, such as a title or a black one, counts less.
    """

    def __init__(
        self, image: Encoder, projection: nn.Module, width: int, policy: Policy, architecture: str
    ) -> None:
        super().__init__(image, projection, width, policy, architecture)
        self.pooling = (
            f"the mean of the frames' unit vectors, weighted by softmax({_SHARPNESS:g} * cosine with their "
            f"plain mean); {image.pooling}"
        )

    def pool(self, rows: Tensor) -> Tensor:
        """Average the frames' unit vectors by the softmax of their cosines with the plain mean."""
        cosines = rows.float() @ normalize(rows.float().mean(dim=0), dim=0)
        weights = torch.softmax(_SHARPNESS * cosines, dim=0)
        return (weights[:, None] * rows.float()).sum(dim=0).to(rows.dtype)


def mean(variant: str) -> Mean:
    """Build the encoder `[<count> or <rate>fps:]<space>`; raises what loading the space raises."""
    return Mean(*_tower(variant, "video/mean/"))


def attention(variant: str) -> Attention:
    """Build the encoder `[<count> or <rate>fps:]<space>`; raises what loading the space raises."""
    return Attention(*_tower(variant, "video/attention/"))


def _tower(variant: str, family: str) -> tuple[Encoder, nn.Module, int, Policy, str]:
    """Load the image tower that a name means: encoder, projection, width, policy, and what is computed."""
    policy, name = split_policy(variant, family)
    with load(name, device="cpu", dtype="float32", modalities=("image",)) as space:
        tower = space.tower("image")
        image, projection = unpack(tower.encoder), unpack(tower.projection)
        architecture = f"frames of {tower.card.identity.architecture or tower.spec.name}"
    return image, projection, tower.dim, policy, architecture


def unpack(module: nn.Module) -> Any:
    """Undo in place, for the module of a space that was loaded on the CPU, the packing of its linear layers.

    A packed layer stays where it is, and this module may go to another device.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.Linear) and "weight" not in child._parameters:
            plain = nn.Linear(child.in_features, child.out_features, child.bias is not None, device="meta")
            plain.weight = nn.Parameter(child.weight.detach().clone(), requires_grad=False)
            plain.bias = child.bias
            setattr(module, name, plain.eval())
        else:
            unpack(child)
    return module


def _prefix(tensors: Tensors) -> Tensors:
    """Give tensors of frames names that no count has."""
    return {f"frames:{name}": tensor for name, tensor in tensors.items()}
