from __future__ import annotations

import importlib

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from mmencode.errors import FitError
from mmencode.projection import Perceptron, contrastive, moments, ridge

MODULE = importlib.import_module("mmencode.projection.contrastive")  # the package has the function's name
WIDTH, DIM = 6, 5


def rows(count, width, seed=0):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def bent(features):
    """A relation of which no linear map sees anything: each feature's size without its sign."""
    return normalize(features, dim=1).abs() @ rows(WIDTH, DIM, seed=9)


def straight(features):
    return normalize(features, dim=1) @ rows(WIDTH, DIM, seed=9)


def pairs(count, seed=0, relation=straight):
    features = rows(count, WIDTH, seed)
    return features, relation(features)


def network(seed=0, hidden=16):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Perceptron(WIDTH, DIM, hidden)


def recall(projection, sides):
    """How many features find their target among all."""
    with torch.no_grad():
        found = normalize(projection(sides[0]), dim=1)
    best = (found @ normalize(sides[1], dim=1).T).argmax(dim=1)
    return float((best == torch.arange(len(best))).float().mean())


def same(one, other):
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


@pytest.mark.slow
def test_network_learns_a_linear_map():
    found = contrastive(network(hidden=64), pairs(1000), pairs(200, 1), epochs=40)
    assert recall(found, pairs(200, 2)) > 0.5  # by chance 0.005


def test_network_learns_what_no_matrix_can():
    seen, held_out, new = (pairs(count, seed, bent) for seed, count in enumerate((2000, 200, 200)))
    found = contrastive(network(hidden=128), seen, held_out, epochs=40)
    assert recall(ridge(moments([seen])), new) < 0.05  # by chance 0.005
    assert recall(found, new) > 0.2


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_same_seed_gives_the_same_weights(noise):
    one, other = (contrastive(network(), pairs(300), pairs(50, 1), epochs=3, noise=noise) for _ in range(2))
    assert same(one, other)


@pytest.mark.parametrize("change", [{"seed": 1}, {"noise": 0.01}])
def test_seed_and_noise_count(change):
    plain = contrastive(network(), pairs(300), pairs(50, 1), epochs=3)
    assert not same(plain, contrastive(network(), pairs(300), pairs(50, 1), epochs=3, **change))


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_nobody_else_s_randomness_is_used(noise):
    before = torch.random.get_rng_state()
    contrastive(network(), pairs(300), pairs(50, 1), epochs=2, noise=noise)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_noise_has_the_variance_that_was_asked_for(monkeypatch):
    seen = []
    monkeypatch.setattr(
        Perceptron, "forward", lambda self, features: seen.append(features) or self.direct(features)
    )
    features, targets = rows(1, WIDTH).repeat(256, 1), rows(256, DIM)
    features[0] = rows(1, WIDTH, seed=1)  # not all the same
    contrastive(network(), (features, targets), pairs(9), epochs=1, noise=0.04)
    (noisy,) = (batch for batch in seen if len(batch) == 256)
    plain = normalize(rows(1, WIDTH), dim=1)
    others = noisy[((noisy - plain).norm(dim=1)).argsort()[:255]]
    assert float((others - plain).var()) == pytest.approx(0.04, rel=0.15)


def test_caller_s_network_stays_as_it_is():
    start = network()
    start.direct.weight.requires_grad_(False)
    found = contrastive(start, pairs(300), pairs(50, 1), epochs=2)
    assert same(start, network())
    assert not same(start, found)
    assert start.training
    assert [name for name, value in start.named_parameters() if not value.requires_grad] == ["direct.weight"]
    assert all(value.grad is None for value in start.parameters())


def test_trained_network_is_ready_for_use():
    found = contrastive(network(), pairs(300), pairs(50, 1), epochs=1)
    assert not found.training
    assert not any(value.requires_grad for value in found.parameters())


def test_no_gradient_flows_into_the_pairs():
    encoder = nn.Linear(WIDTH, WIDTH)
    features, targets = pairs(300)
    contrastive(network(), (encoder(features), targets), pairs(50, 1), epochs=2)
    assert encoder.weight.grad is None


def overfitted(epochs=200):
    """Trained on too few pairs for the size of the network, and the losses of its epochs."""
    losses = []
    blurred = pairs(64, 1, lambda features: straight(features) + rows(64, DIM, 8))
    start = network(hidden=256)
    found = contrastive(start, pairs(64), blurred, epochs=epochs, tell=lambda _, loss: losses.append(loss))
    return found, losses


@pytest.mark.slow
def test_training_ends_ten_epochs_after_the_best_whose_state_is_kept():
    found, losses = overfitted()
    best = losses.index(min(losses))
    assert best > 0
    assert len(losses) == best + 11
    assert same(found, overfitted(epochs=best + 1)[0])


def test_start_is_kept_where_no_epoch_is_better():
    wrong = rows(50, WIDTH, 1), -straight(rows(50, WIDTH, 1))
    start, losses = contrastive(network(), pairs(300), pairs(50, 1), epochs=20), []
    found = contrastive(start, pairs(300), wrong, tell=lambda _, loss: losses.append(loss))
    assert len(losses) == 10
    assert same(found, start)


def test_epochs_are_told_in_turn():
    told = []
    contrastive(network(), pairs(300), pairs(50, 1), epochs=3, tell=lambda epoch, loss: told.append(epoch))
    assert told == [0, 1, 2]


@pytest.mark.parametrize("count", [2, 255, 256, 257, 513])
def test_batches_of_leftovers_do_no_harm(count):
    found = contrastive(network(), pairs(count), pairs(50, 1), epochs=2)
    assert all(torch.isfinite(value).all() for value in found.parameters())
    assert not same(found, network())


def test_held_out_pairs_are_measured_in_blocks(monkeypatch):
    sizes, loss = set(), MODULE._loss
    monkeypatch.setattr(MODULE, "_MEASURED", 64)
    monkeypatch.setattr(MODULE, "_loss", lambda *sides: sizes.add(len(sides[0])) or loss(*sides))
    contrastive(network(), pairs(20), pairs(300, 1), epochs=1)
    assert sizes == {20, 64, 300 - 4 * 64}


def test_double_precision_is_taken():
    features, targets = pairs(300)
    double = contrastive(network(), (features.double(), targets.double()), pairs(50, 1), epochs=1)
    assert same(double, contrastive(network(), pairs(300), pairs(50, 1), epochs=1))


BAD = [
    ((rows(9, WIDTH), rows(8, DIM)), r"\[9, 6\] and \[8, 5\]"),
    ((rows(9, WIDTH)[0], rows(6, DIM)), r"\[6\] and \[6, 5\]"),
    ((torch.full((9, WIDTH), float("nan")), rows(9, DIM)), "aren't finite"),
    ((rows(9, WIDTH), torch.full((9, DIM), float("inf"))), "aren't finite"),
    ((rows(9, WIDTH + 1), rows(9, DIM)), "pairs of widths 7 and 5 don't fit a network from 6 to 5"),
    ((rows(9, WIDTH), rows(9, DIM - 1)), "pairs of widths 6 and 4 don't fit a network from 6 to 5"),
    ((rows(1, WIDTH), rows(1, DIM)), "1 pairs are too few"),
    ((rows(0, WIDTH), rows(0, DIM)), "0 pairs are too few"),
]


@pytest.mark.parametrize(("bad", "said"), BAD)
def test_bad_pairs_are_refused(bad, said):
    with pytest.raises(FitError, match=said):
        contrastive(network(), bad, pairs(50))


@pytest.mark.parametrize(("bad", "said"), BAD)
def test_bad_held_out_pairs_are_refused(bad, said):
    with pytest.raises(FitError, match=said):
        contrastive(network(), pairs(50), bad)


def test_features_that_are_all_the_same_are_refused():
    with pytest.raises(FitError, match="all features are the same"):
        contrastive(network(), (torch.full((9, WIDTH), 0.3), rows(9, DIM)), pairs(50))
