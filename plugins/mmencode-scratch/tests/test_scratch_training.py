"""Training is seeded, stops in time, and gives a space that finds its own texts."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmencode_scratch import evaluation, train, training
from mmencode_scratch.definitions import definitions, encode_targets, split
from mmencode_scratch.text import encoder
from mmencode_scratch.training import Recipe, distil, train_tokenizer
from torch.nn.functional import normalize

import mmencode
from mmencode import Space
from mmencode.errors import MissingPackageError, SpaceMismatchError
from mmencode.testing import fake_specs

SMALL = Recipe(
    vocabulary=600, width=32, layers=2, heads=2, inner=32, batch=16, bag_epochs=8, epochs=2, bag_rate=2e-2
)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return definitions(120)


@pytest.fixture(scope="module")
def targets(texts: list[str]) -> torch.Tensor:
    """Unit vectors that words make: of each word one that is drawn, added up."""
    words = sorted({word for text in texts for word in text.lower().split()})
    drawn = torch.randn(len(words), 24, generator=torch.Generator().manual_seed(0))
    rows = [drawn[[words.index(word) for word in text.lower().split()]].sum(dim=0) for text in texts]
    return normalize(torch.stack(rows), dim=-1)


def silent(line: str) -> None:
    """Say nothing."""


def test_texts_are_timms_definitions_spread_over_all() -> None:
    found = definitions(3)
    assert len(found) == 3
    assert found[0].startswith("organism, being: a living thing")
    assert len(definitions()) == len(set(definitions())) == 21841


def test_split_is_by_seed_and_leaves_nothing_out(texts: list[str], targets: torch.Tensor) -> None:
    one, other = split(texts, targets, 0), split(texts, targets, 1)
    assert [len(side[0]) for side in (one.train, one.stop, one.test)] == [84, 12, 24]
    assert sorted(one.train[0] + one.stop[0] + one.test[0]) == sorted(texts)
    assert one.test[0] != other.test[0]
    row = texts.index(one.test[0][0])
    assert torch.equal(one.test[1][0], targets[row])
    with pytest.raises(ValueError, match="too few"):
        split(texts[:12], targets[:12], 0)


def test_tokenizer_is_the_same_each_time(texts: list[str]) -> None:
    assert train_tokenizer(texts, 600) == train_tokenizer(texts, 600)


def test_training_brings_the_targets_nearer_and_leaves_the_generator_alone(
    texts: list[str], targets: torch.Tensor
) -> None:
    parts, before = split(texts, targets, 0), torch.get_rng_state()
    cosines = []
    for recipe in (replace(SMALL, bag_epochs=0, epochs=0), SMALL):
        found, projection = distil(parts.train, parts.train, recipe, silent)
        vectors = evaluation.encode(found, projection, parts.train[0])
        cosines.append(float((vectors * parts.train[1]).sum(dim=1).mean()))
    assert cosines[1] > cosines[0] + 0.4
    assert torch.equal(torch.get_rng_state(), before)


def test_same_seed_gives_the_same_weights_and_another_seed_others(
    texts: list[str], targets: torch.Tensor
) -> None:
    parts, recipe = split(texts, targets, 0), replace(SMALL, bag_epochs=1, epochs=1)
    one, again, other = (
        distil(parts.train, parts.stop, replace(recipe, seed=seed), silent)[0].state_dict()
        for seed in (0, 0, 1)
    )
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_training_stops_when_held_out_loss_no_longer_falls(
    texts: list[str], targets: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([9.0, 3.0, 2.0, 2.5, 2.1, *range(10)])
    monkeypatch.setattr(training, "_loss_on_held_out", lambda *_: next(losses))
    parts, said = split(texts, targets, 0), []
    distil(parts.train, parts.stop, replace(SMALL, bag_epochs=9, epochs=0, patience=2), said.append)
    assert said[-1] == "embeddings, epoch 4: held-out loss 2.1000"


def test_training_that_helps_nothing_leaves_the_student_as_it_was(
    texts: list[str], targets: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts, still = split(texts, targets, 0), replace(SMALL, bag_epochs=0, epochs=0)
    losses = iter(range(10))
    monkeypatch.setattr(training, "_loss_on_held_out", lambda *_: next(losses))
    worse = distil(parts.train, parts.stop, replace(still, bag_epochs=2), silent)[0]
    losses = iter(range(10))
    expected = distil(parts.train, parts.stop, still, silent)[0]
    assert all(
        torch.equal(worse.state_dict()[name], tensor) for name, tensor in expected.state_dict().items()
    )


def test_batches_hold_every_text_once(texts: list[str], targets: torch.Tensor) -> None:
    pairs = [
        ({"ids": torch.zeros(len(text), dtype=torch.int64)}, target)
        for text, target in zip(texts, targets, strict=True)
    ]
    rows = [pair[1] for batch in training._batches(pairs, 16) for pair in batch]
    assert sorted(map(tuple, torch.stack(rows).tolist())) == sorted(map(tuple, targets.tolist()))


def test_rate_rises_and_falls_to_nothing() -> None:
    rates = [training._rate(step, 100) for step in range(101)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert all(np.diff(rates[5:]) <= 0)
    assert rates[-1] == pytest.approx(0)


def test_cache_is_written_read_and_refused_for_another_space(texts: list[str], tmp_path: Path) -> None:
    path = tmp_path / "teacher.safetensors"
    with Space("fake", fake_specs()) as space:
        found = encode_targets(space, texts[:30], path)
        assert torch.equal(encode_targets(space, texts[10:20], path), found[10:20])
        with pytest.raises(ValueError, match="lacks 1 of 31 texts"):
            encode_targets(space, texts[:31], path)
    with (
        Space("other", fake_specs()) as other,
        pytest.raises(SpaceMismatchError, match=r"teacher\.safetensors"),
    ):
        encode_targets(other, texts[:30], path)


def test_trained_folder_composes_into_the_space_and_is_loaded_by_name(tmp_path: Path) -> None:
    said: list[str] = []
    with Space("fake", fake_specs()) as space:
        projection = train.train(
            tmp_path / "mine", space, limit=100, recipe=SMALL, evaluate=True, say=said.append
        )
        part = (
            f"scratch/{tmp_path / 'mine'}",
            mmencode.load_projection(tmp_path / "mine" / train.PROJECTION),
        )
        with mmencode.compose("mine", {"text": part}) as mine:
            vectors = mine.encode("text", ["a bird of the sea"]).vectors
        assert vectors.shape == (1, space.dim)
        assert projection.into == space.id
    assert projection.report["count"] == 20
    assert encoder(str(tmp_path / "mine")).width == 32
    rows = said[-1].splitlines()
    assert [row.split(" | ")[0] for row in rows[2:]] == [
        "| the transformer from scratch",
        "| ridge regression from TF-IDF",
        "| a blind guess",
    ]


def test_folder_that_is_there_is_refused_before_training(tmp_path: Path) -> None:
    with Space("fake", fake_specs()) as space, pytest.raises(FileExistsError, match="name a new folder"):
        train.train(tmp_path, space, limit=100)


def test_missing_scikit_learn_is_an_error_with_the_pip_line(
    texts: list[str], targets: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(MissingPackageError) as caught:
        evaluation.regression(split(texts, targets, 0))
    assert "mmencode-scratch[evaluate]" in caught.value.remedy


def test_row_says_recall_interval_angle_and_size() -> None:
    vectors = normalize(torch.randn(50, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    row = evaluation.measure("itself", vectors, ([""] * 50, vectors), 1_234_567)
    assert str(row) == "| itself | 100.0 % | 92.9 to 100.0 % | 100.0 % | 0.0° | 1.2 million |"
