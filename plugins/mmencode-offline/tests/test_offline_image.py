"""EfficientNet-Lite0 computes what timm's own network computes on the same weights."""

import io

import numpy as np
import pytest
import timm
import torch
from mmencode_offline import image
from mmencode_offline.sources import EFFICIENTNET, read
from PIL import Image
from timm.data import create_transform

from mmencode.errors import WeightsError


def photos() -> list[Image.Image]:
    rng = np.random.default_rng(5)
    coarse = [Image.fromarray(rng.integers(0, 256, (6, 9, 3), np.uint8)) for _ in range(3)]
    return [
        picture.resize(size) for picture, size in zip(coarse, [(300, 260), (224, 500), (90, 80)], strict=True)
    ]


# As timm's published weights of this architecture have it.
DATA_CONFIG = {
    "input_size": (3, 224, 224),
    "crop_pct": 0.875,
    "crop_mode": "center",
    "interpolation": "bicubic",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
}


def timms() -> torch.nn.Module:
    """timm's network with the same file's tensors."""
    model = timm.create_model(image.ARCHITECTURE)
    file = torch.load(io.BytesIO(read(EFFICIENTNET)), map_location="cpu", weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), file.values(), strict=True)))
    return model.eval()


def test_logits_equal_timms_own_forward() -> None:
    reference, encoder, projection = timms(), image.encoder(), image.projection()
    transform = create_transform(**DATA_CONFIG, is_training=False)
    with torch.inference_mode():
        expected = reference(torch.stack([transform(photo) for photo in photos()]))
        features = encoder(encoder.collate([encoder.preprocess(photo) for photo in photos()]))
        logits = projection.head(features)
    assert features.shape == (3, 1280)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "size", [(224, 224), (256, 256), (300, 260), (90, 801), (1, 3), (1001, 333), (257, 511)]
)
def test_pixels_are_timms_own(size: tuple[int, int]) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8))
    transform = create_transform(**DATA_CONFIG, is_training=False, normalize=False)
    assert torch.equal(image.encoder().preprocess(noise)["pixels"], transform(noise))


def test_layers_have_timms_names_and_places_are_those_of_its_map() -> None:
    encoder, reference = image.encoder(), timms()
    theirs = {name: tensor for name, tensor in reference.state_dict().items() if "classifier" not in name}
    assert list(encoder.model.state_dict()) == list(theirs)
    tensors = encoder.collate([encoder.preprocess(photo) for photo in photos()])
    with torch.inference_mode():
        tokens, mask = encoder.forward_tokens(tensors)
        maps = reference.forward_features((tensors["pixels"] / 255 - 0.5) / 0.5)
    torch.testing.assert_close(tokens, maps.flatten(2).transpose(1, 2), rtol=1e-4, atol=1e-4)
    assert mask.all()
    assert encoder.grid == (7, 7)


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
    own = timms().state_dict()
    swapped = dict(zip(own, reversed(own.values()), strict=True))
    with pytest.raises(WeightsError, match=r"doesn't fit conv_stem\.weight"):
        image._network(swapped)
    with pytest.raises(WeightsError, match="has 1 tensors where 2 are needed"):
        image._head({"a": torch.zeros(1)})
