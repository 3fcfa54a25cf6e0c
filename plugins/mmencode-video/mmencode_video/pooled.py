"""A video is the mean of its frames' vectors, by the image tower of any space, and so in that space, too."""

from __future__ import annotations

from abc import abstractmethod
from typing import final

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from mmencode import Encoder, Scoring, Tensors, load_base
from mmencode.encoder import Base, pad_rows

from .policy import Policy, split_policy
from .video import Video

_AT_ONCE = 64  # frames of one forward pass
_SHARPNESS = 10.0  # of attention: a cosine of 0.1 less is a weight of 1/e
_COUNT = "count"


class Pooled(Encoder):
    """The pooled unit vectors of a video's frames, each computed by the image tower of a space.

    Frames are decoded, preprocessed and let go one by one. `forward_tokens` gives the frames' own vectors.
    """

    def __init__(self, base: Base, policy: Policy) -> None:
        super().__init__()
        self.architecture = f"frames of {base.name}"
        self.image, self.projection, self.width = base.encoder, base.projection, base.width
        self._policy = policy
        self.preprocessing = f"{policy}; {base.encoder.preprocessing}"
        self.tokenizer = base.encoder.tokenizer

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

    def __init__(self, base: Base, policy: Policy) -> None:
        super().__init__(base, policy)
        self.pooling = f"the mean of the frames' unit vectors; {base.encoder.pooling}"

    def pool(self, rows: Tensor) -> Tensor:
        """Average the frames' unit vectors."""
        return rows.mean(dim=0)


@final
class Attention(Pooled):
    """The mean of the frames' unit vectors, weighted by how near each is to the plain mean.

    It is one step of attention without weights of its own: the mean asks, the frames answer. A frame unlike
    the others, such as a title or a black one, counts less.
    """

    def __init__(self, base: Base, policy: Policy) -> None:
        super().__init__(base, policy)
        self.pooling = (
            f"the mean of the frames' unit vectors, weighted by softmax({_SHARPNESS:g} * cosine with their "
            f"plain mean); {base.encoder.pooling}"
        )

    def pool(self, rows: Tensor) -> Tensor:
        """Average the frames' unit vectors by the softmax of their cosines with the plain mean."""
        cosines = rows.float() @ normalize(rows.float().mean(dim=0), dim=0)
        weights = torch.softmax(_SHARPNESS * cosines, dim=0)
        return (weights[:, None] * rows.float()).sum(dim=0).to(rows.dtype)


def mean(variant: str, over: Base | None = None) -> Mean:
    """Build the encoder `[<count> or <rate>fps:]<space>`; raises what loading the space raises."""
    return Mean(*_split(variant, "video/mean/", over))


def attention(variant: str, over: Base | None = None) -> Attention:
    """Build the encoder `[<count> or <rate>fps:]<space>`; raises what loading the space raises."""
    return Attention(*_split(variant, "video/attention/", over))


def _split(variant: str, family: str, over: Base | None) -> tuple[Base, Policy]:
    """Find the image tower that a name means, the space's own where it is given, and the policy."""
    policy, name = split_policy(variant, family)
    return over or load_base(name, "image"), policy


def _prefix(tensors: Tensors) -> Tensors:
    """Give tensors of frames names that no count has."""
    return {f"frames:{name}": tensor for name, tensor in tensors.items()}
