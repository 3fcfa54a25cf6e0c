"""High dynamic range (BT.2100, PQ and HLG) is brought to the standard range that encoders know.

The signal becomes light, and light of BT.2408's reference white, 203 cd/m2, becomes white. Above half of that
it is compressed smoothly up to the peak of 1000 cd/m2 (Reinhard et al., "Photographic Tone Reproduction for
Digital Images", 2002, equation 4), by one factor for the three colours, so that hues stay; then it is
brought to BT.709's primaries and sRGB's transfer function.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

Light = np.ndarray[Any, np.dtype[np.float32]]

PQ, HLG = 16, 18  # FFmpeg's numbers of the transfer functions
TRANSFERS = (PQ, HLG)
_WHITE, _PEAK = 203.0, 1000.0  # cd/m2
_TO_709 = np.array(  # BT.2087
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
_LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)
_ROWS = 64  # converted at once, so that floats of a whole frame are never held


def to_standard(pixels: np.ndarray[Any, np.dtype[np.uint16]], transfer: int) -> np.ndarray[Any, Any]:
    """Convert RGB of 16 bits and BT.2020, `[h, w, 3]`, to sRGB of eight bits."""
    made = np.empty(pixels.shape, np.uint8)
    for start in range(0, len(pixels), _ROWS):
        light = _light_of(transfer)[pixels[start : start + _ROWS]]
        if transfer == HLG:  # BT.2100: the display's own gamma for a peak of 1000 cd/m2
            scene = light @ _LUMINANCE
            light = light * (np.maximum(scene, 1e-6) ** 0.2)[..., None] * np.float32(_PEAK)
        made[start : start + _ROWS] = _encode(_compress(light / np.float32(_WHITE)) @ _TO_709.T)
    return made


@cache
def _light_of(transfer: int) -> Light:
    """The light of each of the 65536 values: cd/m2 for PQ, the scene's from 0 to 1 for HLG."""
    signal = np.arange(2**16) / (2**16 - 1)
    if transfer == PQ:  # SMPTE ST 2084
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        power = signal ** (1 / m2)
        light = 10_000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
    else:  # ARIB STD-B67
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    return light.astype(np.float32)


def _compress(light: Light) -> Light:
    """Compress light above half of white, so that the peak becomes white, by one factor for each pixel."""
    knee = 0.5
    top = light.max(axis=-1, keepdims=True)
    over = np.maximum(top - knee, 0) / (1 - knee)
    peak = (_PEAK / _WHITE - knee) / (1 - knee)
    shown = over * (1 + over / peak**2) / (1 + over)
    factor = np.where(top > knee, (knee + (1 - knee) * shown) / np.maximum(top, 1e-6), 1)
    compressed: Light = (light * factor).astype(np.float32)
    return compressed


def _encode(light: Light) -> np.ndarray[Any, Any]:
    linear = light.clip(0, 1)
    signal = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(signal * 255).astype(np.uint8)
