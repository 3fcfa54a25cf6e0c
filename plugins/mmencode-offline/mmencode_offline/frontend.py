"""The front end of YAMNet, which turns a waveform into patches of a log-mel spectrogram, in numpy.

Hershey et al., "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017; the numbers are
YAMNet's published parameters.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

Array = np.ndarray[Any, np.dtype[np.float32]]

RATE = 16_000
MELS = 64
PATCH, PATCH_HOP = 96, 48  # frames
WORDS = "16 kHz mono, resampled by windowed sinc; 25 ms frames every 10 ms, log of 64 mel bins 125 to 7500 Hz"
WINDOWS = "patches of 96 frames (0.96 s) every 48, the tail padded with silence"

_FRAME, _HOP, _FFT = 400, 160, 512
_LOWEST, _HIGHEST, _OFFSET = 125.0, 7_500.0, 0.001
_FIRST, _FURTHER = 15_600, 7_680  # samples of the first patch, and what each further one adds
_ROWS = 15  # in one product of at most 2 ** 18 multiplications
_BLOCK = 4_096  # frames at once, so that a long recording doesn't multiply its memory


class LogMel:
    """Turns samples `[n]` at 16 kHz, about -1 to 1, into one or more patches, `[patches, 96, 64]`."""

    def __init__(self) -> None:
        self._window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FRAME) / _FRAME)).astype(np.float32)
        self._mel = mel_matrix().astype(np.float32)

    def __call__(self, samples: Array) -> Array:
        """Compute the patches; the last one is padded with zeros where samples run out."""
        further = max(0, -(-(len(samples) - _FIRST) // _FURTHER))
        padded = np.pad(samples, (0, _FIRST + further * _FURTHER - len(samples)))
        frames = sliding_window_view(padded, _FRAME)[::_HOP]  # [frames, 400]
        blocks = [self._log_mel(frames[at : at + _BLOCK]) for at in range(0, len(frames), _BLOCK)]
        spectrogram = np.concatenate(blocks)  # [frames, 64]
        patches = sliding_window_view(spectrogram, PATCH, axis=0)[::PATCH_HOP]  # [patches, 64, 96]
        found: Array = patches.swapaxes(1, 2).copy()  # the windows are a read-only view
        return found

    def _log_mel(self, frames: Array) -> Array:
        spectrum = np.abs(np.fft.rfft(frames * self._window, _FFT)).astype(np.float32)  # [frames, 257]
        logarithm: Array = np.log(_product(spectrum, self._mel) + np.float32(_OFFSET))
        return logarithm


def _product(rows: Array, matrix: Array) -> Array:
    """Multiply `rows @ matrix` a few rows at a time, which keeps OpenBLAS from using threads of its own.

    Its threads go on spinning for milliseconds and take the processor from the network's: with them a short
    recording took more than twice as long.
    """
    blocks = -(-len(rows) // _ROWS)
    padded = np.pad(rows, ((0, blocks * _ROWS - len(rows)), (0, 0)))
    product: Array = np.matmul(padded.reshape(blocks, _ROWS, -1), matrix)  # [blocks, rows, columns]
    return product.reshape(blocks * _ROWS, -1)[: len(rows)]


def mel_matrix() -> np.ndarray[Any, np.dtype[np.float64]]:
    """Compute mel filters `[257, 64]`, triangles linear in mel (HTK); the constant bin has no weight."""
    bins = _mel(np.arange(_FFT // 2 + 1) * RATE / _FFT)[:, None]
    edges = np.linspace(_mel(np.array(_LOWEST)), _mel(np.array(_HIGHEST)), MELS + 2)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - lower) / (centre - lower), (upper - bins) / (upper - centre)
    weights: np.ndarray[Any, np.dtype[np.float64]] = np.maximum(0.0, np.minimum(rising, falling))
    weights[0] = 0.0
    return weights


def _mel(hertz: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    mel: np.ndarray[Any, np.dtype[np.float64]] = 1127.0 * np.log1p(hertz / 700.0)
    return mel
