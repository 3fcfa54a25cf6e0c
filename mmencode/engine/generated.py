"""The probes of a modality: a few generated items, always the same, to see what an encoder makes of them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..errors import InputError, MmencodeError
from ..errors.causes import describe_error, quote
from ..inputs import Limits, Waveform, reader
from ..inputs.reading import load_target
from ..inputs.within import call_within
from ..plugins.composites import INTERLEAVED, is_composite, parts_of
from ..plugins.core_modalities import CORE
from ..plugins.modalities import find_modality, origin_of
from ..plugins.modality import ModalitySpec

LEAST, MOST = 3, 64  # probes of a plugin's modality
_WAIT = Limits().wait  # seconds that a plugin may take over them
_TEXTS = (
    "a photo of a dog",
    "Two children fly a red kite over the harbour while an old man repairs his boat.",
    "thunder",
    "The meeting was moved from 9:30 to 14:00; please bring the signed forms, your badge and 3 copies.",
)


def generated_items(modality: str, parts: Sequence[str] = (), wait: float = _WAIT) -> list[Any]:
    """Make the probes of a modality, as callers pass items; none where it declares none.

    Those of a composite are made of the probes of its parts; `parts` are the modalities of interleaved items.
    Probes of a plugin that can't be made, or not within `wait` seconds, count as none, with a warning, since
    nothing else depends on them.
    """
    if is_composite(modality):
        each = [generated_items(part, wait=wait) for part in parts or parts_of(modality)]
        return combine_items(modality, each, parts)
    spec = find_modality(modality)
    if spec is None or not spec.probes:
        return []
    try:
        if spec.name in CORE:
            return list(load_target(spec, "probes")())
        found = call_within(wait, lambda: load_target(spec, "probes")(), lambda: _late(wait))
        _require_probes(found)
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as cause:  # the plugin's own code
        _warn(spec, cause)
        return []
    return list(found)


def combine_items(modality: str, items: Sequence[Sequence[Any]], parts: Sequence[str] = ()) -> list[Any]:
    """Combine items of several modalities into different ones of a composite, as many as the most of a part.

    All parts are present. None where a part has no items.
    """
    if not all(items):
        return []
    rows = [[each[place % len(each)] for each in items] for place in range(max(map(len, items)))]
    if modality == INTERLEAVED:
        return [list(zip(parts, row, strict=True)) for row in rows]
    return [tuple(row) for row in rows]


def generated_values(modality: str, parts: Sequence[str] = ()) -> list[Any]:
    """Make the probes of a modality as `Encoder.preprocess` takes them; none where it declares none."""
    items = generated_items(modality, parts)
    if modality in CORE:  # they are safe values already
        return items
    read, limits = reader(modality, parts=parts), Limits()
    try:
        values = call_within(_WAIT, lambda: [read(item, limits) for item in items], lambda: _late(_WAIT))
        return list(values)
    except (InputError, TimeoutError) as cause:
        for name in parts or (modality,):
            spec = find_modality(name)
            if spec is not None and spec.name not in CORE:
                _warn(spec, cause)
        return []


def _late(seconds: float) -> TimeoutError:
    return TimeoutError(f"they take more than {seconds:g} s")


def _require_probes(found: Any) -> None:
    """Raise TypeError unless a plugin's probes are a list or tuple of LEAST to MOST items."""
    if not isinstance(found, list | tuple) or not LEAST <= len(found) <= MOST:
        raise TypeError(f"{quote(found, 80)} is no list of {LEAST} to {MOST} items")


def _warn(spec: ModalitySpec, cause: BaseException) -> None:
    said = cause.fact if isinstance(cause, MmencodeError) else describe_error(cause)
    warnings.warn(
        f"the probes of modality {spec.name!r} of {origin_of(spec)} can't be used: {said}; its author should "
        "correct them: until then its encoders are neither verified nor tried",
        UserWarning,
        stacklevel=3,
    )


def texts() -> list[Any]:
    """Make short and long texts."""
    return list(_TEXTS)


def images() -> list[Any]:
    """Make pictures of smooth colours, hard edges, and grain, at several shapes."""
    pictures = []
    for seed, (height, width) in enumerate(((240, 320), (300, 200), (256, 256), (180, 400))):
        draw = np.random.default_rng(seed)
        y, x = np.mgrid[0:height, 0:width] / max(height, width)
        phases = draw.uniform(1, 12, (3, 3))
        waves = [np.sin(a * x * 6 + b * y * 6 + c) for a, b, c in phases]
        picture = np.stack(waves, axis=-1) * 90 + 128  # [h, w, 3]
        picture[height // 4 : height // 2, width // 3 :] = draw.uniform(0, 255, 3)
        picture += draw.normal(0, 12, picture.shape)
        pictures.append(Image.fromarray(picture.clip(0, 255).astype(np.uint8)))
    return pictures


def sounds() -> list[Any]:
    """Make tones that fade, a rising tone, and noise, about a second each at 16 kHz."""
    time = np.arange(16000) / 16000
    waves = [
        np.sin(2 * np.pi * 440 * time) * np.exp(-3 * time),
        np.sin(2 * np.pi * (100 + 1500 * time) * time),
        np.random.default_rng(0).normal(0, 0.2, 16000) * (1 - time),
    ]
    return [Waveform(sound.astype(np.float32), 16000) for sound in waves]
