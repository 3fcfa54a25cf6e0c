"""Embeddings through fewer numbers: beside principal components, and on surfaces that are bent."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

import mmencode
from mmencode import Embeddings, autoencode
from mmencode.errors import FitError, SpaceMismatchError
from mmencode.projection import load_projection, save_projection


def bent(count, seed=0, noise=0.0):
    """Unit vectors that one angle says all about, on a closed curve in twelve dimensions."""
    draw = np.random.default_rng(seed)
    angle = draw.uniform(0, 2 * np.pi, (count, 1))
    waves = [wave(angle * k) / k for wave in (np.cos, np.sin) for k in (1, 2, 3)]
    turn = np.linalg.qr(np.random.default_rng(9).normal(size=(12, 12)))[0][:6]
    rows = np.concatenate(waves, axis=1) @ turn + noise * draw.normal(size=(count, 12))
    return given(rows)


def given(rows, space="a@1", **more):
    rows = np.asarray(rows, np.float32)
    return Embeddings(
        rows / np.linalg.norm(rows, axis=1, keepdims=True), space=space, modality="text", **more
    )


@pytest.fixture(scope="module")
def curve():
    return autoencode(bent(750), 2, hidden=64, epochs=100)


def test_it_loses_less_than_principal_components_where_the_surface_is_bent(curve):
    assert curve.report["autoencoder"] < 0.5 * curve.report["pca"]
    assert curve.report["rows"] + curve.report["held_out"] == 750


def test_untrained_it_is_the_principal_components_of_scikit_learn():
    rows = given(np.random.default_rng(0).normal(size=(400, 12)) * np.arange(1, 13))
    start = autoencode(rows, 4, epochs=0)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(0)).numpy()
    fitted, measured = rows.vectors[order[160:]], rows.vectors[order[80:160]]
    reference = PCA(4).fit(fitted)
    lost = ((reference.inverse_transform(reference.transform(measured)) - measured) ** 2).sum()
    assert start.report["pca"] == start.report["autoencoder"]
    assert start.report["pca"] == pytest.approx(
        lost / ((measured - measured.mean(axis=0)) ** 2).sum(), rel=1e-4
    )
    np.testing.assert_allclose(abs(start.codes(rows)), abs(reference.transform(rows.vectors)), atol=1e-5)


def test_all_numbers_lose_nothing():
    rows = given(np.random.default_rng(0).normal(size=(200, 6)))
    found = autoencode(rows, 6, epochs=0)
    assert found.report["autoencoder"] == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(found.reconstruct(rows), rows, atol=1e-5)


def test_same_seed_gives_the_same_numbers_and_leaves_the_generator_alone():
    state = torch.get_rng_state()
    one, other = (autoencode(bent(200), 2, epochs=3) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(one.codes(bent(20)), other.codes(bent(20)))
    assert one.into == other.into
    assert autoencode(bent(200), 2, epochs=3, seed=1).into != one.into


def test_reduced_vectors_belong_to_a_space_of_their_own(curve):
    rows = bent(50, seed=1)
    keyed = rows.with_keys([str(number) for number in range(50)])
    reduced = curve.reduce(keyed)
    assert reduced.space == curve.into != rows.space
    assert (reduced.dim, reduced.keys, reduced.modality) == (2, keyed.keys, "text")
    np.testing.assert_allclose(np.linalg.norm(reduced, axis=1), 1, atol=1e-6)
    with pytest.raises(SpaceMismatchError):
        mmencode.similarity(reduced, rows.truncate(2, force=True))


def test_reconstruction_is_nearer_to_the_clean_vector_than_the_noisy_one_is():
    clean, noisy = bent(300, seed=2), bent(300, seed=2, noise=0.15)
    network = autoencode(bent(750), 2, noise=0.5, hidden=64, epochs=150)
    cosines = [
        (np.asarray(rows) * np.asarray(clean)).sum(axis=1).mean()
        for rows in (noisy, network.reconstruct(noisy))
    ]
    assert 1 - cosines[1] < 0.6 * (1 - cosines[0])


def test_odd_vectors_have_the_largest_errors(curve):
    odd = given(np.random.default_rng(5).normal(size=(20, 12)))
    assert np.median(curve.errors(odd)) > 10 * np.quantile(curve.errors(bent(200, seed=3)), 0.9)


def test_vectors_of_another_space_are_refused(curve):
    with pytest.raises(
        SpaceMismatchError, match="an autoencoder for vectors of a@1 was given vectors of b@2"
    ):
        curve.codes(given(bent(5), space="b@2"))


def test_it_is_saved_and_loaded_whole(curve, tmp_path):
    save_projection(curve, tmp_path / "curve.safetensors")
    again = load_projection(tmp_path / "curve.safetensors")
    np.testing.assert_array_equal(again.reconstruct(bent(20)), curve.reconstruct(bent(20)))
    assert (again.report, again.into) == (curve.report, curve.into)


@pytest.mark.parametrize(
    ("rows", "dim", "words"),
    [
        (given(np.eye(12)), 2, "12 rows are too few"),
        (given(np.tile(np.eye(3), (20, 4))), 4, "vary in 2 directions"),
        (given(np.random.default_rng(0).normal(size=(50, 4))), 0, "0 numbers were asked for"),
        (given(np.random.default_rng(0).normal(size=(50, 4))), 5, "5 numbers were asked for"),
    ],
)
def test_what_cannot_be_fitted_says_why(rows, dim, words):
    with pytest.raises(FitError, match=words):
        autoencode(rows, dim)


def test_rows_that_are_not_finite_are_refused():
    rows = bent(60)
    rows.torch()[3, 0] = np.nan
    with pytest.raises(FitError, match="aren't finite"):
        autoencode(rows, 2)


@pytest.mark.parametrize("options", [{"noise": -1.0}, {"hidden": 0}])
def test_nonsense_is_a_value_error(options):
    with pytest.raises(ValueError, match="noise is"):
        autoencode(bent(60), 2, **options)
