from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from mmencode.embeddings.embeddings import Embeddings
from mmencode.encoder import digest
from mmencode.projection import LabelAnchored

ANCHORS = normalize(torch.randn(12, 5, generator=torch.Generator().manual_seed(0)), dim=1)
LOGITS = torch.randn(3, 12, generator=torch.Generator().manual_seed(1)) * 3


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


def test_one_that_is_cast_with_an_encoder_gives_the_same_but_for_rounding():
    draw = torch.Generator().manual_seed(0)
    anchors, weight, features = (torch.randn(5, 8, generator=draw) for _ in range(3))
    head = torch.nn.Linear(8, 5)
    head.weight = torch.nn.Parameter(weight, requires_grad=False)
    projection = LabelAnchored(anchors, head=head, prior=torch.full((5,), 0.2)).requires_grad_(False)
    expected = projection(features)
    found = projection.to(torch.bfloat16)(features.bfloat16())
    assert found.dtype == torch.bfloat16
    assert torch.cosine_similarity(found.float(), expected).min() > 0.999


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


@pytest.mark.parametrize("writeable", [True, False])
def test_embeddings_are_anchors_that_know_their_space(writeable):
    vectors = ANCHORS.numpy().copy()
    vectors.flags.writeable = writeable
    projection = LabelAnchored(Embeddings(vectors, space="words@1", modality="text"))
    assert projection.into == "words@1"
    assert digest(projection) == digest(LabelAnchored(ANCHORS))
    assert torch.equal(projection(LOGITS), LabelAnchored(ANCHORS)(LOGITS))


def test_tensor_leads_nowhere_in_particular():
    assert LabelAnchored(ANCHORS).into == ""


def test_anchors_that_change_later_change_no_projection():
    vectors = np.eye(3, dtype=np.float32)
    anchors, embeddings = torch.eye(3), Embeddings(vectors, space="words@1", modality="text")
    made = [LabelAnchored(anchors), LabelAnchored(embeddings)]
    before = [digest(projection) for projection in made]
    anchors.zero_()
    vectors[:] = 0
    assert [digest(projection) for projection in made] == before


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"activation": "relu"}, "'relu': make it one of softmax, sigmoid, none"),
        ({"top": 0}, "top is 0"),
        ({"prior": torch.ones(11)}, r"\[11\]: make it \[12\]"),
        ({"prior": torch.ones(1)}, r"\[1\]: make it \[12\]"),
    ],
)
def test_wrong_argument_is_said_at_once(wrong, said):
    with pytest.raises(ValueError, match=said):
        LabelAnchored(ANCHORS, **wrong)
