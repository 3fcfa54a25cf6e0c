"""Settings of open_clip models, checked where they come from a file or a hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from open_clip.transform import PreprocessCfg

from ...errors import WeightsError
from ...inputs.settings import matters, read_object, settings_digest

Settings = dict[str, Any]
Tower = Literal["image", "text"]

FILE = "open_clip_config.json"
_PLACES = {"image": ("vision_cfg", CLIPVisionCfg), "text": ("text_cfg", CLIPTextCfg)}
# No influence on vectors, or recorded elsewhere: in the tokenizer's identity, in another library's settings.
_ELSEWHERE = {
    *("patch_dropout", "timm_drop", "timm_drop_path", "timm_model_pretrained"),
    *("hf_model_pretrained", "hf_model_name", "hf_tokenizer_name", "tokenizer_mode", "tokenizer_kwargs"),
}
# Larger sizes would take all memory for one item, whatever the weights are.
_MOST = {"image_size": 2**12, "context_length": 2**16}
_WAYS = {
    "mode": ("RGB",),
    "interpolation": ("bicubic", "bilinear", "random"),
    "resize_mode": ("shortest", "longest", "squash"),
    "fill_color": range(256),
}
_TOKENIZER = {"clean", "strip_sep_token", "language"}


def read_config(path: Path) -> Settings:
    """Read the file open_clip_config.json; WeightsError unless its `model_cfg` describes a model."""
    config = read_object(
        path, "put it there: open_clip saves it with the weights, and hubs keep it beside them"
    )
    require_model(config, str(path))
    return config


def require_model(config: Mapping[str, Any], origin: str) -> None:
    """Raise WeightsError unless settings describe a model for which nothing more would be fetched."""
    found = config.get("model_cfg")
    model: Settings = found if isinstance(found, dict) else {}
    vision, text = model.get("vision_cfg"), model.get("text_cfg")
    if not isinstance(vision, dict) or not isinstance(text, dict) or "embed_dim" not in model:
        raise WeightsError(
            f"{origin!r} describes no open_clip model",
            remedy="make it an object whose model_cfg holds embed_dim, vision_cfg and text_cfg",
        )
    if ":" in str(vision.get("timm_model_name")):  # timm would ask a hub for its configuration
        raise WeightsError(
            f"{origin!r} wants the image tower {vision['timm_model_name']!r} from elsewhere",
            remedy="make timm_model_name the plain name of one of timm's architectures",
        )
    for part, name in ((vision, "image_size"), (text, "context_length")):
        sizes = part.get(name, 1)
        for size in sizes if isinstance(sizes, list) else [sizes]:
            if type(size) is not int or not 0 < size <= _MOST[name]:
                raise WeightsError(
                    f"{origin!r} has {name} {size!r:.100}", remedy=f"make it an int from 1 to {_MOST[name]}"
                )
    unknown = {str(name) for name in text.get("tokenizer_kwargs") or {}} - _TOKENIZER
    if unknown:
        raise WeightsError(
            f"{origin!r} has tokenizer_kwargs that aren't heeded: {', '.join(sorted(unknown))}",
            remedy=f"leave them out; there may be {', '.join(sorted(_TOKENIZER))}",
        )


def architecture(settings: Mapping[str, Any], tower: Tower) -> str:
    """Describe one tower for its identity, by a digest of its settings that aren't open_clip's defaults.

    So a checkpoint with its settings beside it and open_clip's own architecture of that name are equal.
    """
    key, kind = _PLACES[tower]
    defaults, own = asdict(kind()), settings[key]
    given = {
        name: value
        for name, value in own.items()
        if name not in _ELSEWHERE and not (name in defaults and value == defaults[name])
    }
    facts = {
        "embed_dim": settings["embed_dim"],
        "quick_gelu": bool(settings.get("quick_gelu")),
        "coca": "multimodal_cfg" in settings,
        "tower": given,
    }
    if own.get("hf_model_name"):
        facts["transformers"] = _hugging_face(own["hf_model_name"])
    return f"open_clip {settings_digest(facts, matters)}"


def _hugging_face(name: str) -> Settings:
    """Read the config.json of a text tower of transformers, from a folder or from the hub's cache."""
    from transformers import PretrainedConfig

    found: Settings = PretrainedConfig.get_config_dict(name, local_files_only=True)[0]
    return found


def preparation(settings: Mapping[str, Any], origin: str) -> Settings:
    """Check the image preprocessing of a `preprocess_cfg` or a published tag; WeightsError for nonsense."""
    names = set(asdict(PreprocessCfg()))
    given = {name: value for name, value in settings.items() if name in names and value is not None}
    for name in ("mean", "std"):
        numbers = given.get(name, (1.0, 1.0, 1.0))
        whole = isinstance(numbers, list | tuple) and len(numbers) == 3
        if not whole or not all(type(number) in (int, float) for number in numbers):
            raise WeightsError(
                f"{origin!r} has {name} {numbers!r:.100}",
                remedy="make it three numbers, of red, green and blue",
            )
        if name in given:
            given[name] = tuple(float(number) for number in numbers)
    for name, choices in _WAYS.items():
        if given.get(name, choices[0]) not in choices:
            raise WeightsError(
                f"{origin!r} has {name} {given[name]!r:.100}", remedy=f"make it one of {choices}"
            )
    return given
