"""Zero-shot classification: how many texts the text tower sees, and what ranking costs beside the product.

1000 labels in open_clip's 80 templates, 10 000 items of 512 numbers. The tower that counts is real but tiny;
the vectors that are ranked are random.

python tests/benchmarks/classification.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from common import machine, ratios, table

from mmencode import Embeddings, Encoder, EncoderSpec, Space
from mmencode.zeroshot import Bank, Classifier, describe_labels

LABELS = [f"label {number}" for number in range(1000)]
ITEMS, DIM = 10_000, 512
SPACE = "random@1"


class Counted(Encoder):
    """Eight numbers of each text's hash, and a count of the texts."""

    width = 8
    preprocessing = tokenizer = pooling = "hash"
    seen = 0

    def preprocess(self, item: str) -> dict[str, torch.Tensor]:
        """The numbers."""
        Counted.seen += 1
        digest = np.frombuffer(hashlib.sha256(item.encode()).digest(), np.uint32)
        return {"numbers": torch.from_numpy(digest.astype(np.float32) / 2**32)}

    def forward(self, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        """As they are."""
        return tensors["numbers"]


def counts() -> list[tuple[str, ...]]:
    """What the tower saw for one classifier after the other, of one space."""
    spec = EncoderSpec(name="counted", modality="text", target=f"{__name__}:Counted", space="counted", dim=8)
    makers: list[tuple[str, int, Callable[[Space], Classifier]]] = [
        ("the first classifier", 80_000, lambda space: space.classifier(LABELS, "openai")),
        ("a second one, the same", 80_000, lambda space: space.classifier(LABELS, "openai")),
        ("half of its labels", 40_000, lambda space: space.classifier(LABELS[::2], "openai")),
        ("seven of its templates", 7_000, lambda space: space.classifier(LABELS, "simple")),
        (
            "a synonym for one label",
            80_080,
            lambda space: space.classifier(LABELS, "openai", synonyms={LABELS[0]: ["other"]}),
        ),
    ]
    rows: list[tuple[str, ...]] = [("classifier", "prompts", "texts that the tower saw")]
    with Space("counted", [spec]) as space:
        for name, prompts, make in makers:
            before = Counted.seen
            classifier = make(space)
            for _ in range(3):
                classifier.label_embeddings("text")
            rows.append((name, str(prompts), str(Counted.seen - before)))
    return rows


def random_rows(count: int, seed: int) -> np.ndarray:
    """Unit vectors `[count, 512]`."""
    rows = np.random.default_rng(seed).standard_normal((count, DIM), np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class RandomSpace:
    """Encodes prompts as random vectors."""

    specs: Mapping[str, EncoderSpec] = {}
    calls = 0

    def encode(
        self, modality: str, batch: Sequence[str], *, on_error: str = "raise", progress: bool = False
    ) -> Embeddings:
        """Draw a random unit vector for each prompt."""
        self.calls += 1
        return Embeddings(random_rows(len(batch), self.calls), space=SPACE, modality=modality)

    def scoring(self, modality: str) -> None:
        """Give no scale for probabilities."""


def times(rounds: int) -> list[tuple[str, ...]]:
    """The time of each step, as a multiple of that of the bare matrix product."""
    classifier = Classifier(RandomSpace(), Bank(), describe_labels(LABELS, "openai"))
    items = Embeddings(random_rows(ITEMS, 0), space=SPACE, modality="image")
    weights = classifier.label_embeddings("image").vectors
    assert np.array_equal(classifier.rank(items).scores, items.vectors @ weights.T)
    found = ratios(
        {
            "numpy's product of the two matrices": lambda: items.vectors @ weights.T,
            "rank": lambda: classifier.rank(items),
            "rank, and the best label of each": lambda: classifier.rank(items).best,
            "rank, and the five best of each": lambda: classifier.rank(items).top(5),
        },
        rounds,
    )
    rows: list[tuple[str, ...]] = [("step", "time, as a multiple of the product's")]
    return rows + [(name, f"{1 / ratio:.2f}") for name, ratio in found.items()]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    print(machine("numpy", "torch", "mmencode"))
    table("Prompts: 1000 labels, 80 templates", counts())
    table("Ranking: 10 000 items, 1000 labels", times(options.rounds))


if __name__ == "__main__":
    main()
