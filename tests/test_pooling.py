from __future__ import annotations

import torch

from mmencode import pooling

HIDDEN = torch.tensor([[[1.0, -1.0], [3.0, -5.0], [99.0, 99.0]], [[2.0, 2.0], [4.0, 4.0], [6.0, 0.0]]])
MASK = torch.tensor([[1, 1, 0], [1, 1, 1]])


def test_cls_is_the_first_position():
    assert pooling.cls(HIDDEN, MASK).tolist() == [[1, -1], [2, 2]]


def test_mean_leaves_padding_out():
    assert pooling.mean(HIDDEN, MASK).tolist() == [[2, -3], [4, 2]]


def test_last_token_is_the_last_that_counts_on_either_side():
    assert pooling.last_token(HIDDEN, MASK).tolist() == [[3, -5], [6, 0]]
    assert pooling.last_token(HIDDEN.flip(1), MASK.flip(1)).tolist() == [[1, -1], [2, 2]]


def test_max_leaves_padding_out():
    assert pooling.max(HIDDEN, MASK).tolist() == [[3, -1], [6, 4]]
