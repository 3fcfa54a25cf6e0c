"""Embeddings through fewer numbers and back."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..card import is_same_space
from ..embeddings.embeddings import Embeddings
from ..encoder import digest
from ..errors import FitError, SpaceMismatchError
from ..isolation.fence import own_numbers
from .contrastive import Perceptron, bent
from .pairs import FLAT, require_pairs

_BATCH, _PATIENCE, _RATE, _DECAY = 256, 20, 1e-3, 1e-4
_LEAST = 30  # rows: six to stop by, six to measure
_BLOCK = 8192  # rows that are taken through at once
Numbers = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """The share of the variance of held-out rows that is lost on the way through `dim` numbers and back.

    autoencoder, pca   each as a share of 1; principal components are the best that is linear
    rows, held_out     how many it was fitted to and, of others, measured on
    """

    dim: int
    autoencoder: float
    pca: float
    rows: int
    held_out: int
    seed: int

    def __str__(self) -> str:
        return (
            f"{self.dim} numbers lose {self.autoencoder:.1%} of the variance of {self.held_out} held-out "
            f"rows (principal components {self.pca:.1%}); fitted to {self.rows}, seed {self.seed}"
        )


class Autoencoder(Perceptron):
    """A perceptron and a way back: principal components, and hidden layers beside them that are trained.

    Hinton & Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks", Science 2006.
    """

    kind = "autoencoder"

    def __init__(self, width: int, dim: int, hidden: int) -> None:
        super().__init__(width, dim, hidden)
        self.back, self.bent_back = nn.Linear(dim, width), bent(dim, hidden, width)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes `[b, dim]`, not normalised, to what they stand for, `[b, width]`."""
        features: Tensor = self.back(codes) + self.bent_back(codes)
        return features

    def codes(self, embeddings: Embeddings) -> Numbers:
        """Codes `[n, dim]` as they are: two are a picture, say. SpaceMismatchError for another space."""
        return self._through(embeddings, self.forward)

    def reduce(self, embeddings: Embeddings) -> Embeddings:
        """Codes of unit length, in a space of their own; raises as `codes`."""
        return _like(embeddings, self.codes(embeddings), self.into)

    def reconstruct(self, embeddings: Embeddings) -> Embeddings:
        """Each vector as its code tells it, of unit length, in the same space: less what is odd about it."""
        return _like(embeddings, self._through(embeddings, self._there_and_back), embeddings.space)

    def errors(self, embeddings: Embeddings) -> Numbers:
        """The squared distance `[n]` of each vector to its reconstruction: large for the unlike."""
        off: Numbers = self._through(embeddings, self._there_and_back) - embeddings.vectors
        squared: Numbers = (off**2).sum(axis=1)
        return squared

    def _there_and_back(self, features: Tensor) -> Tensor:
        return self.decode(self(features))

    @torch.inference_mode()
    def _through(self, embeddings: Embeddings, way: Callable[[Tensor], Tensor]) -> Numbers:
        source = str(self.report.get("source", embeddings.space))
        if not is_same_space(embeddings.space, source):
            raise SpaceMismatchError(
                f"an autoencoder for vectors of {source} was given some of {embeddings.space}",
                remedy="fit one to these, with mmencode.autoencode",
            )
        parts = [way(rows) for rows in torch.split(torch.from_numpy(embeddings.vectors.copy()), _BLOCK)]
        found: Numbers = torch.cat(parts).numpy()
        return found


def autoencode(
    embeddings: Embeddings,
    dim: int,
    *,
    hidden: int = 256,
    noise: float = 0.0,
    seed: int = 0,
    epochs: int = 300,
    tell: Callable[[int, float], None] = lambda epoch, lost: None,
) -> Autoencoder:
    """Fit an autoencoder to embeddings, beside principal components, and measure both on held-out rows.

    What bends is trained to lessen the squared error until that of a fifth of the rows hasn't fallen for
    twenty epochs; another fifth measures both, in `report`. `noise` is the length of what is added to each
    unit vector while the clean one is asked for (denoising autoencoders; Vincent et al., ICML 2008). The same
    seed gives the same weights on one machine.

    Raises FitError for too few rows, and where they don't vary in so many directions.
    """
    if noise < 0 or hidden < 1:
        raise ValueError(f"noise is {noise!r} and hidden {hidden!r}: make these 0 or more, and positive")
    rows, stopping, measured = _split(embeddings, seed)
    start = _principal(rows, dim, hidden, seed)
    network = _trained(start, rows, stopping, noise, seed, epochs, tell)
    report = Reconstruction(
        dim, _lost(network, measured), _lost(start, measured), len(rows) + len(stopping), len(measured), seed
    )
    network.report = {"source": embeddings.space, **asdict(report)}
    network.into = f"{embeddings.space}:autoencoded-{digest(network).removeprefix('sha256:')[:8]}"
    return network


def _like(embeddings: Embeddings, vectors: Numbers, space: str) -> Embeddings:
    """These vectors at unit length for the same items."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return Embeddings(
        vectors / np.maximum(lengths, np.finfo(np.float32).tiny),
        space=space,
        modality=embeddings.modality,
        positions=embeddings.positions,
        errors=embeddings.errors,
        keys=embeddings.keys,
    )


def _split(embeddings: Embeddings, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Three fifths to fit to, a fifth to stop by, a fifth to measure."""
    count = len(embeddings)
    if count < _LEAST:
        raise FitError(f"{count} rows are too few", remedy=f"give {_LEAST} or more, better thousands")
    rows = torch.from_numpy(embeddings.vectors.copy())
    require_pairs(rows, rows)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    fifth = count // 5
    return rows[order[2 * fifth :]], rows[order[:fifth]], rows[order[fifth : 2 * fifth]]


def _principal(rows: Tensor, dim: int, hidden: int, seed: int) -> Autoencoder:
    """Principal components, with hidden layers that add nothing yet."""
    exact = rows.double()
    mean = exact.mean(dim=0)
    values, vectors = torch.linalg.eigh((exact - mean).T @ (exact - mean) / len(rows))
    varying = int((values > FLAT).sum())
    if not 1 <= dim <= varying:
        raise FitError(
            f"the rows vary in {varying} directions, and {dim} numbers were asked for",
            remedy=f"ask for 1 to {varying}, or give more rows",
        )
    components = vectors.flip(1)[:, :dim].T.float()  # [dim, width]
    with own_numbers(seed):
        found = Autoencoder(rows.shape[1], dim, hidden)
    with torch.no_grad():
        found.direct.weight.copy_(components)
        found.direct.bias.copy_(-components @ mean.float())
        found.back.weight.copy_(components.T)
        found.back.bias.copy_(mean.float())
        for hidden_layer in (found.bent, found.bent_back):
            for parameter in hidden_layer[-1].parameters():
                parameter.zero_()
    return found.eval().requires_grad_(False)


def _trained(
    start: Autoencoder,
    rows: Tensor,
    stopping: Tensor,
    noise: float,
    seed: int,
    epochs: int,
    tell: Callable[[int, float], None],
) -> Autoencoder:
    network = deepcopy(start)
    trained = [*network.bent.parameters(), *network.bent_back.parameters()]
    optimiser = torch.optim.AdamW(
        [part.requires_grad_(True) for part in trained], lr=_RATE, weight_decay=_DECAY
    )
    draw = torch.Generator().manual_seed(seed)
    best, least, waited = deepcopy(network.state_dict()), _lost(network, stopping), 0
    for epoch in range(epochs):
        for places in torch.split(torch.randperm(len(rows), generator=draw), _BATCH):
            clean = rows[places]
            noised = clean + noise / sqrt(clean.shape[1]) * torch.randn(clean.shape, generator=draw)
            loss = (network.decode(network(noised)) - clean).square().sum(dim=1).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        found = _lost(network, stopping)
        tell(epoch, found)
        if found < least:
            best, least, waited = deepcopy(network.state_dict()), found, 0
        elif (waited := waited + 1) == _PATIENCE:
            break
    network.load_state_dict(best)
    return network.eval().requires_grad_(False)


@torch.no_grad()
def _lost(network: Autoencoder, rows: Tensor) -> float:
    """The squared error of these rows as a share of their variance."""
    error = (network.decode(network(rows)) - rows).square().sum()
    return float(error / (rows - rows.mean(dim=0)).square().sum().clamp_min(FLAT))
