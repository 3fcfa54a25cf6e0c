"""The helpers for authors of encoders: rows padded with a mask, and recordings as windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmencode.encoder import pad_rows, windows


def test_rows_are_padded_at_the_end_and_the_mask_says_where():
    padded, mask = pad_rows([torch.tensor([1, 2, 3]), torch.tensor([4])], 9)
    assert padded.tolist() == [[1, 2, 3], [4, 9, 9]]
    assert mask.tolist() == [[True, True, True], [True, False, False]]


def test_rows_of_vectors_keep_their_width():
    padded, mask = pad_rows([torch.ones(1, 5), torch.ones(2, 5)])
    assert padded.shape == (2, 2, 5)
    assert mask.sum() == padded.sum() / 5


@pytest.mark.parametrize(
    ("count", "least", "lengths"),
    [(7, 1, [3, 3, 1]), (7, 2, [3, 3]), (6, 2, [3, 3]), (1, 2, [1]), (3, 3, [3]), (0, 1, [0])],
)
def test_a_last_window_that_is_too_short_is_left_out_unless_it_is_alone(count, least, lengths):
    samples = np.arange(count, dtype=np.float32)
    assert [len(window) for window in windows.cut(samples, 3, least)] == lengths
    assert [len(window) for window in windows.cut(torch.from_numpy(samples), 3, least)] == lengths


def recordings(*lengths: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """Recordings of windows of these lengths, whose samples are numbered through."""
    samples = torch.arange(sum(map(sum, lengths)))
    items = samples.split([sum(own) for own in lengths])
    return windows.collate(
        [windows.tensors_of(item.split(own)) for item, own in zip(items, map(list, lengths), strict=True)]
    )


def test_windows_of_equal_length_share_a_pass():
    passes = list(windows.passes(recordings((4, 4, 2), (4,), (2,))))
    assert [places for places, _ in passes] == [[2, 4], [0, 1, 3]]
    assert [part.tolist() for _, part in passes] == [
        [[8, 9], [14, 15]],
        [[0, 1, 2, 3], [4, 5, 6, 7], [10, 11, 12, 13]],
    ]


def test_a_pass_on_a_cpu_holds_a_window_of_15_s_at_most():
    passes = windows.passes(recordings((2**17,) * 3, (2**18 + 1,)))
    assert [list(part.shape) for _, part in passes] == [[2, 2**17], [1, 2**17], [1, 2**18 + 1]]


def test_frames_come_back_in_the_order_of_their_recording():
    tensors = recordings((4, 4, 2), (4,), (2,))
    frames = ((places, samples.unsqueeze(-1)) for places, samples in windows.passes(tensors))
    rows, mask = windows.rows(frames, tensors["counts"])
    assert [row[own].flatten().tolist() for row, own in zip(rows, mask, strict=True)] == [
        list(range(10)),
        list(range(10, 14)),
        [14, 15],
    ]


def test_receptive_field_is_that_of_wav2vec_2():
    layers = [(10, 5), *[(3, 2)] * 4, *[(2, 2)] * 2]
    assert windows.receptive_field(layers) == 400
