"""EfficientNet-Lite0 computes what timm's own network computes on the same weights."""

import numpy as np
import pytest
import torch
from mmencode_offline import image
from PIL import Image
from timm.data import create_transform

from mmencode.errors import WeightsError


def photos() -> list[Image.Image]:
    rng = np.random.default_rng(5)
    coarse = [Image.fromarray(rng.integers(0, 256, (6, 9, 3), np.uint8)) for _ in range(3)]
    return [
        picture.resize(size) for picture, size in zip(coarse, [(300, 260), (224, 500), (90, 80)], strict=True)
    ]


def test_logits_equal_timms_own_forward() -> None:
    reference, encoder, projection = image.classifier(), image.encoder(), image.projection()
    transform = create_transform(**image.DATA_CONFIG, is_training=False)
    with torch.inference_mode():
        expected = reference(torch.stack([transform(photo) for photo in photos()]))
        features = encoder(encoder.collate([encoder.preprocess(photo) for photo in photos()]))
        logits = projection.head(features)
    assert features.shape == (3, 1280)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


def test_the_vector_is_the_mean_of_the_ten_best_labels_anchors() -> None:
    projection = image.projection()
    features = torch.randn(2, 1280, generator=torch.manual_seed(0)).abs()
    with torch.inference_mode():
        probabilities = projection.head(features).softmax(dim=-1)
        best, labels = probabilities.topk(10)
        expected = [
            sum(weight * projection.anchors[label] for weight, label in zip(row, columns, strict=True))
            / row.sum()
            for row, columns in zip(best, labels, strict=True)
        ]
        torch.testing.assert_close(projection(features), torch.stack(expected))


def test_anchors_are_unit_vectors_one_for_each_label() -> None:
    anchors = image.projection().anchors
    assert anchors.shape == (1000, 384)
    torch.testing.assert_close(anchors.norm(dim=-1), torch.ones(1000), rtol=0, atol=1e-3)


def test_a_checkpoint_of_another_network_is_refused() -> None:
    own = image.classifier().state_dict()
    swapped = dict(zip(own, reversed(own.values()), strict=True))
    with pytest.raises(WeightsError, match=r"doesn't fit conv_stem\.weight"):
        image._by_position(swapped, own)
    with pytest.raises(WeightsError, match="has 1 tensors"):
        image._by_position({"a": torch.zeros(1)}, own)
