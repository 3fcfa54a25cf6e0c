"""A small network that learns from pairs of vectors, by a contrastive loss, which ones belong together."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from ..errors import FitError
from .base import Projection, Settings
from .pairs import require_pairs, require_several, require_varied

_BATCH, _PATIENCE, _RATE, _DECAY = 256, 10, 1e-3, 1e-2
_MEASURED = 2048  # held-out pairs in a block, which are told from each other
_TEMPERATURE = 0.07  # the start of CLIP's; it is learnt from there

Sides = tuple[Tensor, Tensor]


class Perceptron(Projection):
    """Projects features of unit length by a linear layer, plus a hidden layer beside it."""

    direct: nn.Linear
    bent: nn.Sequential

    kind = "perceptron"

    def __init__(self, width: int, dim: int, hidden: int) -> None:
        super().__init__()
        self.direct = nn.Linear(width, dim)
        self.bent = make_hidden(width, hidden, dim)
        self._shape = {"width": width, "dim": dim, "hidden": hidden}

    def forward(self, features: Tensor) -> Tensor:
        """Project features `[b, width]`, of which only the direction counts, to `[b, dim]`."""
        unit = normalize(features, dim=-1)
        projected: Tensor = self.direct(unit) + self.bent(unit)
        return projected

    @property
    def width(self) -> int:
        """The width of the layers' inputs."""
        return self._shape["width"]

    @property
    def dim(self) -> int:
        """The width of the layers' outputs."""
        return self._shape["dim"]

    @property
    def settings(self) -> Settings:
        """The sizes of its layers."""
        return dict(self._shape)


def make_hidden(width: int, hidden: int, dim: int) -> nn.Sequential:
    """Make the hidden layer that stands beside a linear one, for maps that aren't linear."""
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, dim))


def contrastive(
    start: Perceptron,
    pairs: Sides,
    held_out: Sides,
    *,
    seed: int = 0,
    epochs: int = 200,
    noise: float = 0.0,
    tell: Callable[[int, float], None] = lambda epoch, loss: None,
) -> Perceptron:
    """Train by symmetric InfoNCE until the loss on held-out pairs hasn't fallen for ten epochs.

    Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021. Each
    side is `[pairs, width]`, `[pairs, dim]`; the best state of all epochs, the start's included, is kept.
    AdamW, with a learnt temperature; the same seed gives the same weights on one machine. `noise` is the
    variance of Gaussian noise that is added to each number of the training features, at unit length.

    Raises FitError for pairs of other widths than the network's, for too few, and for features that are all
    the same.
    """
    pairs, held_out = _prepare(start, pairs), _prepare(start, held_out)
    features, targets = normalize(pairs[0], dim=-1), pairs[1]
    require_varied(features.var(dim=0, unbiased=False))
    generator = torch.Generator().manual_seed(seed)
    network = deepcopy(start).to(features.device).requires_grad_(True)
    scale = nn.Parameter(torch.tensor(1 / _TEMPERATURE, device=features.device).log())
    optimiser = _make_optimiser(network, scale)
    best, least, waited = deepcopy(network.state_dict()), _measure_loss(network, held_out, scale), 0
    for epoch in range(epochs):
        order = torch.randperm(len(features), generator=generator).to(features.device)
        for rows in torch.split(order, _BATCH):
            loss = _loss(network(_add_noise(features[rows], noise, generator)), targets[rows], scale)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        found = _measure_loss(network, held_out, scale)
        tell(epoch, found)
        if found < least:
            best, least, waited = deepcopy(network.state_dict()), found, 0
        elif (waited := waited + 1) == _PATIENCE:
            break
    network.load_state_dict(best)
    return network.eval().requires_grad_(False)


def _prepare(start: Perceptron, sides: Sides) -> Sides:
    """Convert both sides to float32, without gradients; FitError when the network can't learn from them."""
    features, targets = sides
    require_pairs(features, targets)
    require_several(len(features))
    if (features.shape[1], targets.shape[1]) != (start.width, start.dim):
        raise FitError(
            f"pairs of widths {features.shape[1]} and {targets.shape[1]} don't fit a network from "
            f"{start.width} to {start.dim}",
            remedy="make the network of the pairs' widths",
        )
    return features.detach().float(), targets.detach().float()


def _make_optimiser(network: Perceptron, scale: nn.Parameter) -> torch.optim.Optimizer:
    """Make AdamW without weight decay on the temperature, which decay would draw towards one."""
    groups: list[dict[str, Any]] = [
        {"params": list(network.parameters())},
        {"params": [scale], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=_RATE, weight_decay=_DECAY)


def _add_noise(unit: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """Add Gaussian noise of a variance to every number."""
    if not noise:
        return unit
    drawn = torch.randn(unit.shape, generator=generator).to(unit.device)
    return unit + sqrt(noise) * drawn


def _loss(projected: Tensor, targets: Tensor, scale: Tensor) -> Tensor:
    """The symmetric InfoNCE loss: each row is to be told from the others of its batch, from both sides."""
    logits = scale.exp().clamp_max(100) * normalize(projected, dim=-1) @ normalize(targets, dim=-1).T
    own = torch.arange(len(logits), device=logits.device)
    return (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2


@torch.no_grad()
def _measure_loss(network: Perceptron, held_out: Sides, scale: Tensor) -> float:
    """Measure the mean loss over all pairs, in blocks, so that memory doesn't limit their number."""
    blocks = zip(*(torch.split(side, _MEASURED) for side in held_out), strict=True)
    total = sum(
        float(_loss(network(features), targets, scale)) * len(features) for features, targets in blocks
    )
    return total / len(held_out[0])
