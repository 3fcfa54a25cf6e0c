from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from mmencode import Embeddings
from mmencode.pages import survey


@dataclass
class FakeRows:
    """Rows as an index gives them."""

    embeddings: Embeddings
    modalities: tuple[str, ...]
    metadata: tuple[dict, ...]


@pytest.fixture
def rows(blobs):
    metadata = tuple({"year": 1990 + place} if place % 2 else {} for place in range(len(blobs)))
    return FakeRows(blobs, ("image",) * 80 + ("text",) * 41, metadata)


def test_rows_are_laid_out_grouped_and_searched_for_outliers(rows):
    pytest.importorskip("sklearn")
    found = survey(rows, by=["cluster", "modality", "year", "cluster"], clusters=3)
    assert [grouping.name for grouping in found.groupings] == ["cluster", "modality", "year"]
    assert found.groupings[0].groups == ("cluster 1", "cluster 2", "cluster 3")
    assert found.groupings[1].counts() == [80, 41]
    assert found.groupings[2].groups[-1] == "no value"
    assert found.layout.points.shape == (121, 2)
    assert found.outliers[0].row == 120
    assert (found.space, len(found), found.keys[0]) == ("fake@1", 121, "group 0/0.png")


def test_same_rows_give_the_same_survey_each_time(rows):
    pytest.importorskip("sklearn")
    first, second = (survey(rows, by=["cluster"]) for _ in range(2))
    np.testing.assert_array_equal(first.layout.points, second.layout.points)
    assert (first.groupings, first.outliers) == (second.groupings, second.outliers)


def test_centring_brings_modalities_together(rows):
    def gap(found):
        return np.linalg.norm(found.layout.points[:80].mean(axis=0) - found.layout.points[80:].mean(axis=0))

    assert gap(survey(rows)) > 0.1
    assert gap(survey(rows, centre=True)) < 1e-6


def test_embeddings_without_keys_are_numbered(blobs):
    plain = Embeddings(blobs.vectors[:3], space="fake@1", modality="audio")
    found = survey(plain)
    assert found.keys == ("row 0", "row 1", "row 2")
    assert found.groupings[0].groups == ("audio",)


def test_column_that_no_row_has_is_refused_with_those_there_are(rows):
    with pytest.raises(ValueError, match="'colour': name one of modality, cluster, year"):
        survey(rows, by=["colour"])


def test_no_rows_are_refused(blobs):
    with pytest.raises(ValueError, match="no rows"):
        survey(blobs[:0])
