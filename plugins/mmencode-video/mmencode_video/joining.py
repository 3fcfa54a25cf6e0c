"""A space with images gains videos by one line: its own image tower, pooled and measured, joins it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from PIL import Image

from mmencode import IdentityProjection, Space, align
from mmencode.errors import UnknownModalityError

from . import mmencode_encoders

_FILMS, _LENGTH, _STEP = 32, 6, 4  # generated films, their frames, and the pixels by which these move
_SHAPE = (96, 128)


def join_video(
    space: Space,
    *,
    name: str = "",
    pooling: Literal["mean", "attention"] = "mean",
    count: int | None = None,
    rate: float | None = None,
    pairs: Iterable[tuple[Any, Any]] | None = None,
    to: str = "text",
) -> Space:
    """Make the space with videos: pooled vectors of frames, by its own image tower; its id stays.

    name     by which the space is loaded, where that isn't `space.name`: the folder of one that was saved
    count    how many frames of each video are looked at; eight unless `count` or `rate` is given
    rate     how many frames of each second are looked at
    pairs    videos, each with an item of the modality `to` that belongs to it, on which the encoder is
             measured. Without them it is measured on generated films, which must find the pictures that
             they move over: that says that the tower is the space's own, and nothing about real videos

    Raises UnknownModalityError for a space without images, SpaceMismatchError where `name` loads another
    space than this, FitError where videos don't find their partners better than by chance.
    """
    if "image" not in space.modalities:
        raise UnknownModalityError(
            f"the space {space.name!r} has no images, whose encoder videos would use",
            remedy="choose a space with images, such as a CLIP",
        )
    if count is not None and rate is not None:
        raise TypeError("give a count or a rate, and not both")
    policy = f"{count}:" if count is not None else f"{rate:g}fps:" if rate is not None else ""
    family = next(spec for spec in mmencode_encoders() if spec.name == f"video/{pooling}/*")
    over = f"image@{space.tower_card('image').digest}"  # so that both hold one network
    spec = replace(family.member(f"{policy}{name or space.name}", space.dim), over=over)
    if pairs is None:
        pairs, to = generated_pairs(8.0 if rate is None else rate), "image"
    lead = align(spec, space, pairs, to=to, folds=3, method=IdentityProjection())
    return space.join({"video": (spec, lead)})


def generated_pairs(rate: float) -> list[tuple[Any, Image.Image]]:
    """Make films that move over generated pictures, each with the part of the picture in its middle."""
    height, width = _SHAPE
    made: list[tuple[Any, Image.Image]] = []
    for number in range(_FILMS):
        draw = np.random.default_rng(number)
        span = _STEP * _LENGTH
        y, x = np.mgrid[0:height, 0 : width + span] / width
        waves = [np.sin(a * x + b * y + c) for a, b, c in draw.uniform(-25, 25, (3, 3))]
        picture = np.stack(waves, axis=-1) * draw.uniform(30, 110, 3) + draw.uniform(60, 190, 3)
        for colour in draw.uniform(0, 255, (4, 3)):
            top, left = draw.integers(0, height - 24), draw.integers(0, width)
            picture[top : top + draw.integers(12, 60), left : left + draw.integers(12, 60)] = colour
        pixels = picture.clip(0, 255).astype(np.uint8)
        film = np.stack([pixels[:, start : start + width] for start in range(0, span, _STEP)])
        made.append(((film, rate), Image.fromarray(film[_LENGTH // 2])))
    return made
