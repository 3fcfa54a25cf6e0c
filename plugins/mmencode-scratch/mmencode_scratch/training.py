"""Distils a space's own text encoder into a small transformer, which learns to give the same vectors.

The loss is that of contrastive learning over the batch (InfoNCE; van den Oord et al. 2018), in which each
text must find its own target among all, plus the cosine distance to that target.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from mmencode import Linear, Tensors

from .text import ScratchText, Shape

_BUCKET = 16  # batches whose texts are sorted by length, so that little is padding
_MEASURED = 256
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """The sizes of a transformer and the settings of its training.

    bag_epochs    epochs of the embeddings alone, pooled by their mean, for a fast start
    epochs        epochs of the whole afterwards, at most
    patience      epochs without a lower held-out loss after which training stops
    temperature   the one of the contrastive loss
    closeness     the weight of the cosine distance beside the contrastive loss
    """

    vocabulary: int = 24_000
    width: int = 256
    layers: int = 2
    heads: int = 4
    inner: int = 512
    tokens: int = 128
    batch: int = 256
    bag_epochs: int = 15
    epochs: int = 4
    patience: int = 2
    bag_rate: float = 2e-3
    rate: float = 5e-4
    temperature: float = 0.05
    closeness: float = 10.0
    dropout: float = 0.1
    seed: int = 0


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> str:
    """Train a tokenizer on texts and give its JSON: byte-level BPE, in which no character is unknown.

    Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units", ACL 2016.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, min_frequency=2, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    found: str = tokenizer.to_str()
    return found


class Student(nn.Module):
    """The encoder in training, with the matrix that takes its features into the targets' space."""

    def __init__(self, encoder: ScratchText, dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.width, dim)

    def forward(self, tensors: Tensors, *, bag: bool) -> Tensor:
        """Compute unit vectors `[b, dim]`; with `bag`, of the embeddings and a norm, without the layers."""
        if bag:
            hidden = self.encoder.transformer.embed(tensors["ids"])  # [b, t, d]
            hidden = nn.functional.layer_norm(hidden, hidden.shape[-1:])
            weight = tensors["mask"].unsqueeze(-1).to(hidden.dtype)  # [b, t, 1]
            features = (hidden * weight).sum(dim=1) / weight.sum(dim=1)  # [b, d]
        else:
            features = self.encoder(tensors)
        return normalize(self.head(normalize(features, dim=-1)), dim=-1)


def distil(
    train: tuple[Sequence[str], Tensor],
    held_out: tuple[Sequence[str], Tensor],
    recipe: Recipe | None = None,
    say: Say = print,
) -> tuple[ScratchText, Linear]:
    """Train an encoder and its projection on texts and their unit vectors `[n, dim]`.

    Training stops by the loss on `held_out`, and the state with the lowest one is returned. The projection
    names no space yet: set its `into`. The user's random generator is left alone.
    """
    recipe = recipe or Recipe()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return _distil(train, held_out, recipe, say)


def _distil(
    train: tuple[Sequence[str], Tensor], held_out: tuple[Sequence[str], Tensor], recipe: Recipe, say: Say
) -> tuple[ScratchText, Linear]:
    tokenizer = train_tokenizer(train[0], recipe.vocabulary)
    shape = Shape(
        vocabulary=Tokenizer.from_str(tokenizer).get_vocab_size(),
        width=recipe.width,
        layers=recipe.layers,
        heads=recipe.heads,
        inner=recipe.inner,
        tokens=recipe.tokens,
    )
    student = Student(ScratchText(shape, tokenizer, recipe.dropout), train[1].shape[1])
    pairs = [_tokenise(student.encoder, *side) for side in (train, held_out)]
    for bag, epochs, rate in (
        (True, recipe.bag_epochs, recipe.bag_rate),
        (False, recipe.epochs, recipe.rate),
    ):
        _fit(student, pairs[0], pairs[1], recipe, epochs=epochs, rate=rate, bag=bag, say=say)
    encoder = ScratchText(shape, tokenizer)
    encoder.load_state_dict(student.encoder.state_dict())
    projection = Linear(student.head.weight, student.head.bias)
    return encoder.eval().requires_grad_(False), projection


Pair = tuple[Tensors, Tensor]


def _tokenise(encoder: ScratchText, texts: Sequence[str], targets: Tensor) -> list[Pair]:
    return [(encoder.preprocess(text), target) for text, target in zip(texts, targets, strict=True)]


def _fit(
    student: Student,
    train: list[Pair],
    held_out: list[Pair],
    recipe: Recipe,
    *,
    epochs: int,
    rate: float,
    bag: bool,
    say: Say,
) -> None:
    """Train for some epochs, and leave the student in the state with the smallest held-out loss of all."""
    steps = epochs * math.ceil(len(train) / recipe.batch)
    optimiser = torch.optim.AdamW(student.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, steps))
    best, waited = _loss_on_held_out(student, held_out, recipe, bag), 0
    kept = copy.deepcopy(student.state_dict())
    for epoch in range(1, epochs + 1):
        student.train()
        for batch in _batches(train, recipe.batch):
            optimiser.zero_grad()
            _loss(student, batch, recipe, bag).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimiser.step()
            schedule.step()
        found = _loss_on_held_out(student, held_out, recipe, bag)
        say(f"{'embeddings' if bag else 'transformer'}, epoch {epoch}: held-out loss {found:.4f}")
        waited = 0 if found < best else waited + 1
        if found < best:
            best, kept = found, copy.deepcopy(student.state_dict())
        if waited >= recipe.patience:
            break
    student.load_state_dict(kept)


def _rate(step: int, steps: int) -> float:
    """The factor of the learning rate: linear warm-up over a twentieth of the steps, then cosine decay."""
    rise = max(1, steps // 20)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def _batches(pairs: list[Pair], size: int) -> Iterator[list[Pair]]:
    """Yield all pairs once in random batches, each of texts of like length."""
    drawn = torch.randperm(len(pairs)).tolist()
    step, batches = _BUCKET * size, []
    for start in range(0, len(drawn), step):
        near = sorted(drawn[start : start + step], key=lambda place: len(pairs[place][0]["ids"]))
        batches += [near[first : first + size] for first in range(0, len(near), size)]
    for number in torch.randperm(len(batches)).tolist():
        yield [pairs[place] for place in batches[number]]


def _loss(student: Student, batch: list[Pair], recipe: Recipe, bag: bool) -> Tensor:
    targets = torch.stack([target for _, target in batch])  # [b, dim]
    found = student(student.encoder.collate([tensors for tensors, _ in batch]), bag=bag)  # [b, dim]
    cosines = found @ targets.T  # [b, b]
    places = torch.arange(len(batch))
    contrast = cross_entropy(cosines / recipe.temperature, places)
    loss: Tensor = contrast + recipe.closeness * (1 - cosines.diagonal().mean())
    return loss


@torch.no_grad()
def _loss_on_held_out(student: Student, pairs: list[Pair], recipe: Recipe, bag: bool) -> float:
    student.eval()
    parts = [pairs[start : start + _MEASURED] for start in range(0, len(pairs), _MEASURED)]
    return sum(len(part) * float(_loss(student, part, recipe, bag)) for part in parts) / len(pairs)
