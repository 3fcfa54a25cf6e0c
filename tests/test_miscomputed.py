"""Convolutions that a processor computes wrongly in bfloat16 compute in float32, and right ones stay."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mmencode.engine.miscomputed import InFloat32, mend

KINDS = {
    "of few channels": lambda: nn.Conv1d(4, 8, 16, stride=8, padding=4),
    "of eight channels": lambda: nn.Conv2d(8, 8, 8),
    "with the same padding": lambda: nn.Conv1d(6, 4, 16, padding="same"),
    "in groups": lambda: nn.Conv1d(16, 16, 16, groups=4),
    "of volumes": lambda: nn.Conv3d(8, 8, (2, 8, 8)),
    "transposed": lambda: nn.ConvTranspose1d(8, 4, 16, stride=8),
    "of pictures": lambda: nn.Conv2d(3, 64, 14, stride=14),
}


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("kind", KINDS)
def test_every_convolution_gives_what_it_gives_in_float32(kind):
    torch.manual_seed(0)
    plain = nn.Sequential(KINDS[kind](), nn.ReLU())
    cast = copy.deepcopy(plain).bfloat16()
    mend(cast)
    shape = [40] * (len(plain[0].kernel_size) if kind != "of volumes" else 3)
    given = torch.randn(2, plain[0].in_channels, *shape)
    with torch.no_grad():
        expected, found = plain(given), cast(given.bfloat16())
    assert found.dtype == torch.bfloat16
    assert torch.cosine_similarity(found.float().flatten(), expected.flatten(), 0) > 0.999


class Wrong(nn.Conv1d):
    """Computes in bfloat16 what no convolution computes."""

    def forward(self, input):
        outputs = super().forward(input)
        return outputs if outputs.dtype == torch.float32 else outputs.flip(-1)


def test_a_layer_that_is_wrong_is_found_by_name_and_travels_mended():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv1d(3, 5, 3), Wrong(5, 4, 3, padding=1), nn.Conv1d(4, 2, 1))
    cast = copy.deepcopy(plain).bfloat16()
    before = {name: value.clone() for name, value in cast.state_dict().items()}
    assert mend(cast) == ["1"]
    assert mend(cast) == []  # once is enough
    assert {type(vars(layer).get("forward")) for layer in cast} == {type(None), InFloat32}
    assert all(torch.equal(before[name], value) for name, value in cast.state_dict().items())
    given = torch.randn(2, 3, 50)
    with torch.no_grad():
        for moved in (cast, copy.deepcopy(cast)):
            found = moved(given.bfloat16()).float()
            assert torch.cosine_similarity(found.flatten(), plain(given).flatten(), 0) > 0.999


def test_float32_and_layers_that_take_something_else_stay_as_they_are():
    class Odd(nn.Conv1d):
        def forward(self, input, gate):
            return super().forward(input) * gate

    assert mend(nn.Sequential(nn.Conv1d(4, 8, 16))) == []
    assert mend(nn.Sequential(Odd(4, 8, 16)).bfloat16()) == []
