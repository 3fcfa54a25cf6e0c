"""Folded convolutions compute what the layers of a network computed; what can't be folded stays as it was."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import relu
from torch.nn.utils.parametrizations import weight_norm

import mmencode
from mmencode import Encoder, EncoderSpec, Space
from mmencode.encoder.identity import digest
from mmencode.encoders.timm import TimmEncoder
from mmencode.engine import folding, towers
from mmencode.engine.convolutions import Activation, Convolution, FusedConv2d, activation_of, can_fuse
from mmencode.engine.folding import fold

pytestmark = pytest.mark.skipif(not can_fuse(), reason="this torch has no oneDNN for convolutions")
ACTIVATIONS = [
    nn.Identity(),
    nn.ReLU(),
    nn.ReLU6(),
    nn.Hardtanh(-0.3, 0.7),
    nn.SiLU(),
    nn.GELU(),
    nn.GELU("tanh"),
    nn.Hardswish(),
    nn.Sigmoid(),
    nn.Hardsigmoid(),
    nn.Tanh(),
]


class Seeing(Encoder):
    """An encoder of images by a network, which ends in the mean of its map."""

    width = 8
    preprocessing = "RGB 24x24"

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def preprocess(self, item):
        return {
            "pixels": torch.from_numpy(np.array(item.resize((24, 24)), np.float32)).permute(2, 0, 1) / 255
        }

    def forward(self, tensors):
        return self.network(tensors["pixels"]).mean(dim=(2, 3))


def conv(kernel: int = 3, **options) -> nn.Conv2d:
    return nn.Conv2d(3, 8, kernel, **options)


def norm(channels: int = 8) -> nn.BatchNorm2d:
    """A batch norm with statistics, as training leaves them."""
    made = nn.BatchNorm2d(channels)
    draw = torch.Generator().manual_seed(channels)
    for tensor in (made.running_mean, made.bias.data):
        tensor.normal_(0, 0.3, generator=draw)
    for tensor in (made.running_var, made.weight.data):
        tensor.uniform_(0.3, 2, generator=draw)
    return made


def folds(encoder: nn.Module) -> int:
    return sum(isinstance(module, FusedConv2d) for module in encoder.modules())


def folded(network: nn.Module) -> tuple[Encoder, int]:
    """The twin of an encoder, and how many convolutions in it are folded; the encoder must be as it was."""
    torch.manual_seed(0)
    plain = Seeing(network).eval().requires_grad_(False)
    before_kinds, before_digest = kinds(plain), digest(plain)
    encoder = fold(plain, "image")
    count = folds(encoder)
    assert (encoder is plain) is (count == 0)
    assert (kinds(plain), digest(plain)) == (before_kinds, before_digest)
    assert not any(module.training for module in encoder.modules())
    pixels = torch.rand(3, 3, 24, 24)
    with torch.inference_mode():
        before, after = plain({"pixels": pixels}), encoder({"pixels": pixels})
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)
    return encoder, count


def kinds(module: nn.Module) -> list[str]:
    return [type(each).__name__ for each in module.modules() if not [*each.children()]]


@pytest.mark.parametrize(
    "name", ["test_resnet", "test_efficientnet", "test_efficientnet_evos", "test_nfnet", "test_vit"]
)
def test_features_of_timms_networks_stay_what_they_are(name):
    torch.manual_seed(0)
    plain = TimmEncoder(timm.create_model(name).eval())
    for key, buffer in plain.named_buffers():
        if "running_var" in key:
            buffer.uniform_(0.5, 1.5)
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in plain.modules())
    encoder = fold(plain, "image")
    assert folds(encoder) == norms
    tensors = {"pixels": torch.randint(0, 256, (2, 3, 160, 160), dtype=torch.uint8)}
    with torch.inference_mode():
        torch.testing.assert_close(encoder(tensors), plain(tensors), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@pytest.mark.parametrize(
    "options", [{}, {"stride": 2, "padding": 1, "bias": False}, {"dilation": 2, "padding": 2}], ids=str
)
def test_norm_and_activation_become_one_layer_with_the_convolution(activation, options):
    encoder, count = folded(nn.Sequential(conv(**options), norm(), activation))
    assert count == 1
    assert kinds(encoder) == ["FusedConv2d", "Identity", "Identity"]


def test_unknown_activation_stays_behind_the_folded_norm():
    encoder, count = folded(nn.Sequential(conv(), norm(), nn.Softplus()))
    assert count == 1
    assert kinds(encoder) == ["FusedConv2d", "Identity", "Softplus"]


def test_activation_that_stands_in_several_places_stays_in_all():
    shared = nn.ReLU(inplace=True)
    network = nn.Sequential(conv(), norm(), shared, nn.Conv2d(8, 8, 3), norm(), shared)
    encoder, count = folded(network)
    assert count == 2
    assert kinds(encoder).count("ReLU") == 1  # modules() has each once
    assert kinds(encoder).count("BatchNorm2d") == 0


class Between(nn.Module):
    """A convolution whose outputs `through` sees before the norm does."""

    def __init__(self, through) -> None:
        super().__init__()
        self.conv, self.norm, self.through = conv(), norm(), through

    def forward(self, pixels):
        made = self.conv(pixels)
        return self.norm(self.through(made)) + (made if self.through is None else 0)


class Twice(Between):
    """A convolution whose outputs go by the norm, too."""

    def forward(self, pixels):
        made = self.conv(pixels)
        return self.norm(made) + made


@pytest.mark.parametrize(
    "network",
    [
        Between(relu),
        Between(lambda made: made.add_(0.5)),
        Between(lambda made: made.clone()),
        Twice(None),
        nn.Sequential(weight_norm(conv()), norm()),
        nn.Sequential(conv(padding="same"), norm()),
        nn.Sequential(conv(padding=1, padding_mode="reflect"), norm()),
        nn.Sequential(nn.ConvTranspose2d(3, 8, 3), norm()),
        nn.Sequential(conv(), nn.BatchNorm2d(8, track_running_stats=False)),
        nn.Sequential(conv(), nn.GroupNorm(2, 8)),
        nn.Sequential(conv(), nn.ReLU(), norm()),
    ],
    ids=lambda network: type(network).__name__,
)
def test_what_cannot_be_folded_stays_as_it_is(network):
    encoder, count = folded(network)
    assert count == 0
    assert kinds(encoder) == kinds(network)


def test_layer_with_hooks_stays_as_it_is():
    network = nn.Sequential(conv(), norm())
    network[0].register_forward_hook(lambda layer, given, made: 2 * made)
    assert folded(network)[1] == 0


def test_network_that_looks_into_its_layers_stays_as_it_is():
    class Looking(Between):
        def forward(self, pixels):
            return self.norm(self.conv(pixels)) * self.norm.weight.view(-1, 1, 1)

    encoder, count = folded(Looking(None))
    assert count == 0
    assert kinds(encoder) == ["Conv2d", "BatchNorm2d"]


def test_layer_that_is_called_twice_is_folded_once():
    class Siamese(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(conv(), norm(), nn.ReLU())

        def forward(self, pixels):
            return self.stem(pixels) - self.stem(pixels.flip(3))

    assert folded(Siamese())[1] == 1


def test_what_has_nothing_to_fold_is_shared_with_the_twin():
    head = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU())
    encoder, count = folded(nn.Sequential(nn.Sequential(conv(), norm()), head))
    assert count == 1
    assert encoder.network[1] is head


def test_large_networks_have_no_twin(monkeypatch):
    monkeypatch.setattr(folding, "MOST", 4 * 8 * 3 * 9 - 1)
    assert folded(nn.Sequential(conv(), norm()))[1] == 0
    monkeypatch.setattr(folding, "MOST", 4 * 8 * 3 * 9)
    assert folded(nn.Sequential(conv(), norm()))[1] == 1


def test_encoder_of_a_modality_without_probes_has_no_twin():
    encoder = Seeing(nn.Sequential(conv(), norm())).eval()
    assert fold(encoder, "of no plugin") is encoder


@settings(max_examples=60, deadline=None)
@given(
    kernel=st.integers(1, 6),
    stride=st.integers(1, 3),
    before=st.integers(0, 3),
    more=st.integers(0, 3),
    height=st.integers(6, 15),
    width=st.integers(6, 15),
)
def test_zeros_on_one_side_are_in_kernel_and_padding(kernel, stride, before, more, height, width):
    torch.manual_seed(kernel)
    pad, plain = nn.ZeroPad2d((before, before + more, before, before + more)), conv(kernel, stride=stride)
    pixels = torch.randn(2, 3, height, width)
    fused = FusedConv2d(Convolution.of(plain).with_zeros(before, before + more), Activation(), pixels.shape)
    with torch.inference_mode():
        torch.testing.assert_close(fused(pixels), plain(pad(pixels)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("padding", [(0, 1, 0, 1), (1, 2, 1, 2), (1, 1, 1, 1), (1, 0, 1, 0), (0, 1, 1, 0)])
def test_padding_of_its_own_goes_with_the_convolution_where_it_can(padding):
    encoder, count = folded(
        nn.Sequential(nn.ZeroPad2d(padding), conv(stride=2, bias=False), norm(), nn.ReLU6())
    )
    assert count == 1
    gone = padding[0] <= padding[1] and padding[:2] == padding[2:]
    assert ("ZeroPad2d" in kinds(encoder)) is not gone


def test_fused_layer_travels_and_shows_all_that_it_computes_with():
    plain = conv(padding=1, groups=1)
    numbers = Convolution.of(plain).with_norm(norm().eval())
    layer = FusedConv2d(numbers, Activation("relu"), (1, 3, 24, 24))
    pixels = torch.randn(2, 3, 9, 17)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        with torch.inference_mode():
            assert torch.equal(other(pixels), layer(pixels))
    assert torch.equal(layer.state_dict()["weight"], numbers.weight)
    assert torch.equal(layer.state_dict()["bias"], numbers.bias)
    assert (layer.in_channels, layer.out_channels, layer.kernel_size, layer.padding) == (3, 8, (3, 3), (1, 1))


def test_activation_of_another_kind_is_none():
    assert activation_of(nn.Softplus()) is None
    assert activation_of(nn.GELU("tanh")) == Activation("gelu", (), "tanh")


def whole() -> Encoder:
    torch.manual_seed(1)
    return Seeing(nn.Sequential(conv(padding=1), norm(), nn.ReLU()))


def test_space_has_the_same_id_and_vectors_with_folded_towers(monkeypatch):
    spec = EncoderSpec(name="folding", modality="image", target="test_folding:whole", dim=8)
    pictures = [np.random.default_rng(place).integers(0, 256, (30, 40, 3), np.uint8) for place in range(5)]
    with Space("folding", [spec]) as space:
        quick, tower = space.encode("image", pictures), space.tower("image")
        assert (folds(tower.forward), folds(tower.encoder)) == (1, 0)
    monkeypatch.setattr(towers, "fold", lambda encoder, modality: encoder)
    with Space("folding", [spec]) as space:
        plain = space.encode("image", pictures)
    assert quick.space == plain.space
    np.testing.assert_allclose(quick.vectors, plain.vectors, atol=1e-6)


def test_default_space_has_no_batch_norm_left_and_its_published_id():
    with mmencode.load("default", device="cpu", dtype="float32") as space:
        left = {*kinds(space.tower("image").forward)} & {"BatchNorm2d", "Conv2d", "ZeroPad2d", "ReLU6"}
        assert not left
        assert space.card.id == "offline@dc905b1686deee4a"
