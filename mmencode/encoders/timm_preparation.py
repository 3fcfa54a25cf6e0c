"""Image preprocessing of timm's models: in words, and whether a model's name determines it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
from timm.data.config import resolve_data_config
from timm.models import get_pretrained_cfg

from ..errors import WeightsError

DataConfig = Mapping[str, Any]


def require_one(name: str, path: str) -> None:
    """Raise WeightsError where a name has no tag and its published tags prepare images differently."""
    architecture, dot, _ = name.partition(".")
    tags: dict[str, str] = {}
    for published in () if dot else timm.list_pretrained(f"{architecture}.*"):
        own: Any = get_pretrained_cfg(published)
        config = resolve_data_config(pretrained_cfg=own.to_dict())  # type: ignore[no-untyped-call]
        tags.setdefault(describe(config), published)
    if len(tags) > 1:
        choices = "; ".join(f"timm/{tag}/{path} for {words}" for words, tag in tags.items())
        raise WeightsError(
            f"{path!r} doesn't say how its images are prepared, and the published weights of {name!r} differ",
            remedy=f"name the tag whose preparation is meant: {choices}",
        )


def describe(config: DataConfig) -> str:
    """Describe a `timm.data.resolve_data_config` in words, for the space's identity."""
    _, height, width = config["input_size"]
    return (
        f"RGB {height}x{width}, {config['crop_mode']} crop {_number(config['crop_pct'])}, "
        f"{config['interpolation']}, mean {_numbers(config['mean'])}, std {_numbers(config['std'])}"
    )


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(map(_number, values))


def _number(value: float) -> str:
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
