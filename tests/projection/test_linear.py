from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import normalize

from mmencode.embeddings.embeddings import Embeddings
from mmencode.errors import FitError
from mmencode.projection import add_moments, from_classifier, moments, procrustes, ridge, whitening

SUMS = ("x", "y", "xx", "yx")
FITS = (ridge, procrustes, lambda found: whitening(found, 1))


def rows(count, width, seed=0):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def unit(features):
    return normalize(features.double(), dim=1)


def centred(matrix):
    return (matrix - matrix.mean(dim=0)).double()


def rotation_of(width, seed=0):
    return torch.linalg.qr(rows(width, width, seed))[0]


def batches(sizes, width=4, dim=3):
    features, targets = rows(sum(sizes), width), rows(sum(sizes), dim, seed=1)
    return features, targets, list(zip(features.split(sizes), targets.split(sizes), strict=True))


def assert_same_moments(found, expected):
    assert found.count == expected.count
    for name in SUMS:
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-12, atol=1e-12)


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=12))
def test_stream_of_batches_of_any_sizes_is_one_batch(sizes):
    features, targets, parts = batches(sizes)
    assert_same_moments(moments(parts), moments([(features, targets)]))


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(any))
def test_moments_of_parts_add_up(sizes):
    features, targets, parts = batches(sizes)
    assert_same_moments(add_moments(moments([part]) for part in parts), moments([(features, targets)]))


def test_adding_up_changes_no_part():
    part, other = moments([(rows(5, 4), rows(5, 3))]), moments([(rows(5, 4, 1), rows(5, 3, 1))])
    before = part.xx.clone()
    add_moments([part, other])
    assert part.count == 5
    assert torch.equal(part.xx, before)


@pytest.mark.parametrize("fit", FITS)
def test_length_of_the_features_doesn_t_count(fit):
    features, targets = rows(40, 4), rows(40, 3, seed=1)
    lengths = torch.rand(40, 1, generator=torch.Generator().manual_seed(2)) + 0.1
    same, scaled = fit(moments([(features, targets)])), fit(moments([(features * lengths, targets)]))
    torch.testing.assert_close(scaled.weight.abs(), same.weight.abs())  # whitening leaves the sign open


@pytest.mark.parametrize("penalty", [1e-6, 1e-2, 1.0, 30.0])
def test_ridge_is_that_of_scikit_learn(penalty):
    linear_model = pytest.importorskip("sklearn.linear_model")
    features, targets = rows(60, 7), rows(60, 4, seed=1)
    found = ridge(moments([(features, targets)]), penalty)
    x = unit(features)
    alpha = penalty * float(x.var(dim=0, unbiased=False).mean()) * len(x)
    theirs = linear_model.Ridge(alpha=alpha).fit(x.numpy(), targets.double().numpy())
    torch.testing.assert_close(found.weight, torch.from_numpy(theirs.coef_).float())
    torch.testing.assert_close(found.bias, torch.from_numpy(theirs.intercept_).float())


def test_ridge_comes_nearer_to_a_linear_map_as_the_penalty_falls():
    features, matrix, shift = rows(200, 6), rows(4, 6, seed=1).double(), rows(1, 4, seed=2).double()
    found = moments([(features, unit(features) @ matrix.T + shift)])
    errors = [
        float((ridge(found, penalty).weight - matrix).abs().max()) for penalty in (1.0, 1e-2, 1e-4, 1e-9)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-6


@pytest.mark.parametrize("penalty", [0, -1.0, float("nan"), float("inf")])
def test_penalty_is_a_positive_number(penalty):
    with pytest.raises(ValueError, match="make it a positive number"):
        ridge(moments([(rows(9, 3), rows(9, 2))]), penalty)


def test_procrustes_finds_a_rotation_under_noise():
    features, rotation = rows(2000, 8), rotation_of(8, seed=1)
    noise = 0.05 * rows(2000, 8, seed=2)
    found = procrustes(moments([(features, 2 * unit(features) @ rotation.T.double() + 1 + noise)]))
    torch.testing.assert_close(found.weight, 2 * rotation, atol=0.03, rtol=0)
    torch.testing.assert_close(found.bias, torch.ones(8), atol=0.01, rtol=0)


def test_procrustes_is_that_of_scipy():
    linalg = pytest.importorskip("scipy.linalg")
    features, targets = rows(50, 6), rows(50, 6, seed=1)
    x, y = centred(unit(features)), centred(targets)
    rotation, total = linalg.orthogonal_procrustes(x.numpy(), y.numpy())
    expected = total / float((x**2).sum()) * torch.from_numpy(rotation.T)
    torch.testing.assert_close(procrustes(moments([(features, targets)])).weight, expected.float())


@pytest.mark.parametrize(("width", "dim"), [(8, 3), (8, 8), (3, 8)])
def test_procrustes_is_orthogonal_up_to_one_scale(width, dim):
    weight = procrustes(moments([(rows(300, width), rows(300, dim, seed=1))])).weight
    gram = weight @ weight.T if dim < width else weight.T @ weight
    torch.testing.assert_close(gram / gram.diagonal().mean(), torch.eye(min(width, dim)))


@pytest.mark.parametrize(("width", "dim"), [(8, 3), (8, 8), (3, 8)])
def test_scale_of_procrustes_is_the_best(width, dim):
    features, targets = (
        rows(300, width),
        rows(300, width, seed=3)[:, :dim] @ rows(min(width, dim), dim, seed=1),
    )
    weight = procrustes(moments([(features, targets)])).weight.double()
    x, y = centred(unit(features)), centred(targets)
    errors = [float(((y - factor * x @ weight.T) ** 2).sum()) for factor in (0.99, 1, 1.01)]
    assert min(errors) == errors[1]


@pytest.mark.parametrize("fit", [ridge, procrustes])
@pytest.mark.parametrize("dim", [2, 5, 9])
def test_columns_that_don_t_vary_do_no_harm(fit, dim):
    varying = normalize(rows(30, 3), dim=1) * 0.8
    features = torch.cat([torch.full((30, 1), 0.6), varying, torch.zeros(30, 1)], dim=1)
    found = fit(moments([(features, rows(30, dim, seed=1))]))
    assert torch.isfinite(found(features)).all()
    assert torch.isfinite(found.weight).all()


@pytest.mark.parametrize("fit", [ridge, procrustes])
def test_fewer_pairs_than_columns_do_no_harm(fit):
    features, targets = rows(3, 10), rows(3, 10, seed=1)
    assert torch.isfinite(fit(moments([(features, targets)]))(features)).all()


@pytest.mark.parametrize("dim", [1, 3, 6])
def test_whitened_features_have_the_identity_as_covariance(dim):
    features = rows(500, 6) @ rows(6, 6, seed=1) + 0.3
    found = whitening(moments([(features, torch.zeros(500, 0))]), dim)(features)
    torch.testing.assert_close(
        torch.cov(found.T, correction=0).reshape(dim, dim), torch.eye(dim), atol=1e-4, rtol=0
    )
    torch.testing.assert_close(found.mean(dim=0), torch.zeros(dim), atol=1e-4, rtol=0)


def test_whitening_takes_the_directions_of_the_largest_variance():
    features = rows(500, 6) * torch.tensor([0.1, 0.1, 9, 0.1, 3, 0.1])
    weight = whitening(moments([(features, features)]), 2).weight
    assert weight.abs().argmax(dim=1).tolist() == [2, 4]


@pytest.mark.parametrize("dim", [0, 4, 6])
@pytest.mark.parametrize("features", [rows(50, 3) @ rows(3, 6, seed=1), rows(4, 6)], ids=["flat", "few"])
def test_whitening_beyond_the_rank_is_refused(dim, features):
    found = moments([(features, features)])
    assert torch.isfinite(whitening(found, 3).weight).all()
    with pytest.raises(FitError, match=f"vary in 3 directions, and {dim} were asked for"):
        whitening(found, dim)


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ([], "0 pairs are too few"),
        ([(rows(1, 4), rows(1, 3))], "1 pairs are too few"),
        ([(torch.ones(9, 4), rows(9, 3))], "all features are the same"),
        ([(torch.arange(1.0, 9)[:, None] * torch.ones(8, 4), rows(8, 3))], "all features are the same"),
    ],
)
@pytest.mark.parametrize("fit", FITS)
def test_what_can_t_be_fitted_is_refused(fit, pairs, said):
    with pytest.raises(FitError, match=said):
        fit(moments(pairs))


@pytest.mark.parametrize("fit", [ridge, procrustes])
@pytest.mark.parametrize("dim", [1, 4, 9])
def test_targets_that_are_all_the_same_are_refused(fit, dim):
    with pytest.raises(FitError, match="don't vary with the features"):
        fit(moments([(rows(30, 4), torch.full((30, dim), 0.3))]))


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ((rows(5, 4), rows(4, 3)), r"\[5, 4\] and \[4, 3\]"),
        ((rows(5, 4)[0], rows(4, 3)), r"\[4\] and \[4, 3\]"),
        ((rows(5, 4), rows(5, 3)[:, 0]), r"\[5, 4\] and \[5\]"),
        ((torch.full((5, 4), float("nan")), rows(5, 3)), "aren't finite"),
        ((rows(5, 4), torch.full((5, 3), float("inf"))), "aren't finite"),
        ((rows(5, 6), rows(5, 3)), "after pairs of widths 4 and 3 come 6 and 3"),
        ((rows(5, 4), rows(5, 2)), "after pairs of widths 4 and 3 come 4 and 2"),
    ],
)
def test_bad_batch_is_refused_and_leaves_the_sums_alone(batch, said):
    found = moments([(rows(9, 4), rows(9, 3))])
    with pytest.raises(FitError, match=said):
        found.add(*batch)
    assert_same_moments(found, moments([(rows(9, 4), rows(9, 3))]))


def test_parts_of_two_widths_don_t_add_up():
    with pytest.raises(FitError, match="after pairs of widths 4 and 3 come 5 and 3"):
        add_moments([moments([(rows(9, 4), rows(9, 3))]), moments([(rows(9, 5), rows(9, 3))])])


def test_sums_hold_on_to_no_graph():
    features = nn.Linear(4, 4)(rows(9, 4))
    found = moments([(features, nn.Linear(4, 3)(features))])
    assert not any(getattr(found, name).requires_grad for name in SUMS)


@pytest.fixture
def labels():
    vectors = normalize(rows(20, 6), dim=1).numpy()
    vectors.flags.writeable = False
    return Embeddings(vectors, space="words@1", modality="text")


@pytest.fixture
def head(labels):
    """A classifier that looks for the labels' vectors, rotated, in features of width 10."""
    classifier = nn.Linear(10, 20)
    classifier.weight.data = 3 * torch.tensor(labels.vectors) @ rotation_of(10, seed=4)[:6]
    return classifier


def test_features_that_a_classifier_looks_for_land_on_the_label(head, labels):
    projection = from_classifier(head, labels)
    features = 5 * head.weight.detach().repeat(10, 1) + 0.3 * rows(200, 10, seed=5)
    nearest = (normalize(projection(features), dim=1) @ torch.tensor(labels.vectors).T).argmax(dim=1)
    assert torch.equal(nearest, torch.arange(20).repeat(10))


def test_classifier_leads_into_the_anchors_space(head, labels):
    assert from_classifier(head, labels).into == "words@1"


def test_classifier_needs_an_anchor_for_each_label(head, labels):
    with pytest.raises(FitError, match=r"\[20, 10\] and \[19, 6\]"):
        from_classifier(head, labels[:19])
