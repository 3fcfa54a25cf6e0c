from __future__ import annotations

import sys

import numpy as np
import pytest

from mmencode.errors import MissingPackageError
from mmencode.pages.clusters import cluster

pytest.importorskip("sklearn")


def test_groups_that_lie_apart_are_found_without_their_number(blobs):
    members = cluster(blobs.vectors[:120])
    assert sorted(set(members.tolist())) == [0, 1, 2]
    assert all(len(set(members[start : start + 40].tolist())) == 1 for start in (0, 40, 80))


def test_count_that_is_chosen_has_the_best_silhouette_of_scikit_learn(blobs):
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    vectors = blobs.vectors
    scores = {
        count: silhouette_score(vectors, KMeans(count, n_init=4, random_state=0).fit_predict(vectors))
        for count in range(2, 11)
    }
    assert len(np.unique(cluster(vectors))) == max(scores, key=scores.get)


def test_largest_cluster_is_the_first(blobs):
    members = cluster(blobs.vectors[20:], 3)
    sizes = np.bincount(members).tolist()
    assert sizes == sorted(sizes, reverse=True)


def test_same_rows_have_the_same_clusters_each_time(blobs):
    assert cluster(blobs.vectors, 7).tolist() == cluster(blobs.vectors, 7).tolist()


@pytest.mark.parametrize("count", [0, 5, -1])
def test_more_clusters_than_rows_or_none_are_refused(blobs, count):
    with pytest.raises(ValueError, match="make it an int from 1 to 4"):
        cluster(blobs.vectors[:4], count)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_equal_rows_are_one_cluster(rows):
    vectors = np.ones((rows, 4), np.float32)
    assert set(cluster(vectors).tolist()) == {0}
    assert set(cluster(vectors, 1).tolist()) == {0}
    assert set(cluster(vectors, rows).tolist()) == {0}


def test_scikit_learn_that_is_not_installed_names_the_extra(blobs, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'mmencode\[map\]'"):
        cluster(blobs.vectors, 2)
