from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from mmencode.encoder import digest
from mmencode.projection import IdentityProjection, LabelAnchored

ANCHORS = normalize(torch.randn(12, 5, generator=torch.Generator().manual_seed(0)), dim=1)
LOGITS = torch.randn(3, 12, generator=torch.Generator().manual_seed(1)) * 3


def test_identity_gives_the_features():
    assert torch.equal(IdentityProjection()(LOGITS), LOGITS)


def test_certain_classifier_lands_on_the_labels_anchor():
    logits = torch.full((1, 12), -50.0)
    logits[0, 4] = 50
    torch.testing.assert_close(LabelAnchored(ANCHORS)(logits), ANCHORS[4:5])


def test_convex_combination_is_the_paper_s():
    """Norouzi et al. 2014, equation 4, written out."""
    projection = LabelAnchored(ANCHORS, top=4)
    for row, found in zip(LOGITS.softmax(dim=1), projection(LOGITS), strict=True):
        best = sorted(range(12), key=lambda label: -row[label])[:4]
        expected = sum(row[label] * ANCHORS[label] for label in best) / sum(row[label] for label in best)
        torch.testing.assert_close(found, expected)


def test_prior_is_divided_out():
    prior = torch.rand(12, generator=torch.Generator().manual_seed(2))
    projection = LabelAnchored(ANCHORS, activation="sigmoid", prior=prior, floor=0.01)
    torch.testing.assert_close(projection.scores(LOGITS), LOGITS.sigmoid() / (prior + 0.01))


def test_head_is_the_classifier():
    head = torch.nn.Linear(7, 12)
    features = torch.randn(3, 7)
    with_head = LabelAnchored(ANCHORS, head=head)(features)
    torch.testing.assert_close(with_head, LabelAnchored(ANCHORS)(head(features)))


def test_no_score_at_all_is_no_direction():
    assert not LabelAnchored(ANCHORS, activation="none")(torch.zeros(1, 12)).any()


def test_top_is_at_most_all_labels():
    assert LabelAnchored(ANCHORS, top=99)(LOGITS).shape == (3, 5)


@pytest.mark.parametrize("change", [{"top": 3}, {"activation": "sigmoid"}, {"prior": torch.ones(12)}])
def test_every_setting_counts_in_the_digest(change):
    assert digest(LabelAnchored(ANCHORS, **change)) != digest(LabelAnchored(ANCHORS))


def test_state_restores_the_settings():
    source = LabelAnchored(ANCHORS, top=3, activation="sigmoid")
    target = LabelAnchored(torch.zeros_like(ANCHORS))
    target.load_state_dict(source.state_dict())
    torch.testing.assert_close(target(LOGITS), source(LOGITS))
