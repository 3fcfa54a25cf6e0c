"""An autoencoder compresses embeddings to fewer numbers, and decodes them again."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass
from math import sqrt

import numpy as np
import torch
from torch import Tensor, nn

from ..card import is_same_space
from ..embeddings.array_types import Vectors
from ..embeddings.blanks import require_none_blank
from ..embeddings.embeddings import Embeddings
from ..embeddings.unit import scale_to_unit
from ..encoder import digest
from ..errors import FitError, SpaceMismatchError
from ..isolation.fence import own_numbers
from .contrastive import Perceptron, make_hidden
from .pairs import FLAT, require_pairs

_BATCH, _PATIENCE, _RATE, _DECAY = 256, 20, 1e-3, 1e-4
_LEAST = 30  # rows: six to stop by and six to measure on
_BLOCK = 8192  # rows that are encoded at once


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """The share of the variance of held-out rows that encoding to `dim` numbers and decoding loses.

    autoencoder, pca   the share that each of them loses, of 1; no linear encoding loses less than PCA
    rows, held_out     the numbers of rows for the fit and, others, for this measure
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
    """A perceptron with a decoder: principal components, and trained hidden layers beside them.

    Hinton & Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks", Science 2006.
    """

    back: nn.Linear
    bent_back: nn.Sequential

    kind = "autoencoder"

    def __init__(self, width: int, dim: int, hidden: int) -> None:
        super().__init__(width, dim, hidden)
        self.back, self.bent_back = nn.Linear(dim, width), make_hidden(dim, hidden, width)

    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes `[b, dim]`, not normalised, to features `[b, width]`."""
        features: Tensor = self.back(codes) + self.bent_back(codes)
        return features

    def codes(self, embeddings: Embeddings) -> Vectors:
        """Encode to codes `[n, dim]`, not normalised; SpaceMismatchError for embeddings of another space."""
        return self._run(embeddings, self.forward)

    def reduce(self, embeddings: Embeddings) -> Embeddings:
        """Encode to codes of unit length, in a space of their own; raises as `codes`."""
        return _with_vectors(embeddings, self.codes(embeddings), self.into)

    def reconstruct(self, embeddings: Embeddings) -> Embeddings:
        """Encode and decode each vector, to unit length in its space: what is unusual about it is lost."""
        return _with_vectors(embeddings, self._run(embeddings, self._reconstruct), embeddings.space)

    def errors(self, embeddings: Embeddings) -> Vectors:
        """Measure the squared distance `[n]` of each vector to its reconstruction: large for outliers."""
        off: Vectors = self._run(embeddings, self._reconstruct) - embeddings.vectors
        squared: Vectors = (off**2).sum(axis=1)
        return squared

    def _reconstruct(self, features: Tensor) -> Tensor:
        return self.decode(self(features))

    @torch.inference_mode()
    def _run(self, embeddings: Embeddings, step: Callable[[Tensor], Tensor]) -> Vectors:
        source = str(self.report.get("source", embeddings.space))
        if not is_same_space(embeddings.space, source):
            raise SpaceMismatchError(
                f"an autoencoder for vectors of {source} was given vectors of {embeddings.space}",
                remedy="fit one to these, with mmencode.autoencode",
            )
        parts = [step(rows) for rows in torch.split(torch.from_numpy(embeddings.vectors.copy()), _BLOCK)]
        found: Vectors = torch.cat(parts).numpy()
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

    The hidden layers are trained on the squared error until its value on a fifth of the rows hasn't fallen
    for twenty epochs; another fifth measures both, in `report`. `noise` is the length of a random vector that
    is added to each unit vector, of which the clean one is to be decoded (denoising autoencoders; Vincent et
    al., ICML 2008). The same seed gives the same weights on one machine.

    Raises FitError for too few rows, and where they don't vary in so many directions.
    """
    if noise < 0 or hidden < 1:
        raise ValueError(
            f"noise is {noise!r} and hidden {hidden!r}: make noise 0 or more, hidden a positive int"
        )
    rows, stopping, measured = _split(embeddings, seed)
    start = _fit_components(rows, dim, hidden, seed)
    network = _train(start, rows, stopping, noise, seed, epochs, tell)
    report = Reconstruction(
        dim,
        _measure_loss(network, measured),
        _measure_loss(start, measured),
        len(rows) + len(stopping),
        len(measured),
        seed,
    )
    network.report = {"source": embeddings.space, **asdict(report)}
    network.into = f"{embeddings.space}:autoencoded-{digest(network).removeprefix('sha256:')[:8]}"
    return network


def _with_vectors(embeddings: Embeddings, vectors: Vectors, space: str) -> Embeddings:
    """Make Embeddings of the same items with other vectors, which are brought to unit length."""
    return Embeddings(
        scale_to_unit(vectors, shortest=float(np.finfo(np.float32).tiny)),
        space=space,
        modality=embeddings.modality,
        positions=embeddings.positions,
        errors=embeddings.errors,
        keys=embeddings.keys,
    )


def _split(embeddings: Embeddings, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Split rows at random: three fifths to fit to, one to stop by, one to measure on."""
    count = len(embeddings)
    if count < _LEAST:
        raise FitError(f"{count} rows are too few", remedy=f"give {_LEAST} or more, better thousands")
    require_none_blank(embeddings.blank, "fitted to")
    rows = torch.from_numpy(embeddings.vectors.copy())
    require_pairs(rows, rows)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    fifth = count // 5
    return rows[order[2 * fifth :]], rows[order[:fifth]], rows[order[fifth : 2 * fifth]]


def _fit_components(rows: Tensor, dim: int, hidden: int, seed: int) -> Autoencoder:
    """Make an autoencoder of principal components, whose hidden layers add nothing yet."""
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


def _train(
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
    best, least, waited = deepcopy(network.state_dict()), _measure_loss(network, stopping), 0
    for epoch in range(epochs):
        for places in torch.split(torch.randperm(len(rows), generator=draw), _BATCH):
            clean = rows[places]
            noised = clean + noise / sqrt(clean.shape[1]) * torch.randn(clean.shape, generator=draw)
            loss = (network.decode(network(noised)) - clean).square().sum(dim=1).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        found = _measure_loss(network, stopping)
        tell(epoch, found)
        if found < least:
            best, least, waited = deepcopy(network.state_dict()), found, 0
        elif (waited := waited + 1) == _PATIENCE:
            break
    network.load_state_dict(best)
    return network.eval().requires_grad_(False)


@torch.no_grad()
def _measure_loss(network: Autoencoder, rows: Tensor) -> float:
    """Measure the squared error of rows as a share of their variance."""
    error = (network.decode(network(rows)) - rows).square().sum()
    return float(error / (rows - rows.mean(dim=0)).square().sum().clamp_min(FLAT))
