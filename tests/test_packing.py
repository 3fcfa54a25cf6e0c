from __future__ import annotations

import pytest
import torch
from torch import nn

from mmencode.engine.packing import PackedLinear, pack


class Odd(nn.Linear):
    """A linear layer that computes something else."""

    def forward(self, inputs):
        return 2 * super().forward(inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 96), (2, 7, 96), (0, 96)])
@torch.inference_mode()
def test_packed_layer_computes_the_same(dtype, bias, shape):
    plain = nn.Linear(96, 128, bias=bias).to(dtype)
    holder = nn.Sequential(plain)
    pack(holder)
    if not isinstance(holder[0], PackedLinear):
        pytest.skip(f"this torch packs no {dtype}")
    inputs = torch.randn(shape).to(dtype)
    tolerance = 1e-5 if dtype == torch.float32 else 0.02
    torch.testing.assert_close(holder[0](inputs), plain(inputs), atol=tolerance, rtol=tolerance)
    assert torch.equal(holder[0].weight, plain.weight)
    assert (holder[0].bias is None) != bias


def test_other_layers_stay_as_they_are():
    small, odd, attention = nn.Linear(8, 8), Odd(96, 96), nn.MultiheadAttention(96, 4)
    half = nn.Linear(96, 96).half()
    holder = nn.ModuleList([small, odd, attention, half])
    pack(holder)
    assert list(holder) == [small, odd, attention, half]
    assert not any(isinstance(module, PackedLinear) for module in holder.modules())


def test_nothing_is_packed_without_onednn(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    holder = nn.Sequential(nn.Linear(96, 96))
    pack(holder)
    assert type(holder[0]) is nn.Linear


def test_unknown_attribute_is_still_an_error():
    holder = nn.Sequential(nn.Linear(96, 96))
    pack(holder)
    with pytest.raises(AttributeError, match="nothing"):
        holder[0].nothing  # noqa: B018
