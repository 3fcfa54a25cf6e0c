"""From a checkpoint's folder to a whole model in float32, without a hub and without code of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel
from transformers.utils import logging as transformers_logging

from mmencode.errors import WeightsError

from .sources import Checkpoint, brief

# What every call of transformers' `from_pretrained` here gets.
SAFELY = {"local_files_only": True, "trust_remote_code": False}
# transformers changes torch's initialisers and its own logging while it loads, for all threads.
_ONE_AT_A_TIME = threading.Lock()


def configuration(checkpoint: Checkpoint) -> Any:
    """The checkpoint's config; WeightsError when transformers doesn't know the architecture."""
    checkpoint.require("config.json")
    try:
        config = AutoConfig.from_pretrained(checkpoint.folder, **SAFELY)
    except Exception as cause:  # unknown architectures and malformed settings fail in their own ways
        raise WeightsError(
            f"transformers can't read the config of {checkpoint.name!r}: {brief(cause)}",
            culprit=str(checkpoint.folder / "config.json"),
            remedy="its model_type must be an architecture of the installed transformers; upgrade that if it "
            "is a new one",
        ) from cause
    config._attn_implementation = None  # transformers' choice, sdpa where there is one; never the config's
    return config


def require_kind(checkpoint: Checkpoint, config: Any, known: tuple[str, ...], family: str) -> None:
    """WeightsError unless the architecture is one of those that a family computes."""
    if config.model_type not in known:
        raise WeightsError(
            f"the checkpoint {checkpoint.name!r} is a {config.model_type}; {family} takes {', '.join(known)}",
            remedy="`mmencode list` shows the families of this plugin",
        )


def load(checkpoint: Checkpoint, config: Any, kind: Any = AutoModel) -> tuple[Any, set[str]]:
    """The model that `kind` makes of the checkpoint, and the names of parameters that it has no weights for.

    safetensors are preferred; a pickle is read with weights_only=True. Raises WeightsError when the weights
    are missing, truncated, of another shape, or when a pickle holds anything but tensors.
    """
    try:
        with _ONE_AT_A_TIME, _quiet():
            model, report = kind.from_pretrained(
                checkpoint.folder,
                config=config,
                dtype=torch.float32,
                attn_implementation=None,
                weights_only=True,
                output_loading_info=True,
                **SAFELY,
            )
    except Exception as cause:  # safetensors, zipfile, pickle, torch and transformers each fail in their way
        raise WeightsError(
            f"the weights of {checkpoint.name!r} can't be loaded: {brief(cause)}",
            culprit=str(checkpoint.folder),
            remedy="put model.safetensors there, whole and of the architecture in config.json; a "
            "pytorch_model.bin must hold tensors and no code",
        ) from cause
    return model, set(report["missing_keys"])


def require_whole(checkpoint: Checkpoint, model: nn.Module, missing: set[str], *parts: nn.Module) -> None:
    """WeightsError when a parameter of the parts that are used has no weights in the checkpoint."""
    used = {id(parameter) for part in parts for parameter in part.parameters()}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in used}
    if lacking := sorted(names & missing):
        raise WeightsError(
            f"the checkpoint {checkpoint.name!r} lacks {len(lacking)} of {len(names)} weights: "
            f"{', '.join(lacking[:3])}{' ...' if len(lacking) > 3 else ''}",
            culprit=str(checkpoint.folder),
            remedy="fetch it again; its config.json must belong to its weights",
        )


def drop(module: Any, *names: str) -> None:
    """Take away parts that nothing here computes, so that their weights, random perhaps, are no identity."""
    for name in names:
        if getattr(module, name, None) is not None:
            setattr(module, name, None)


def extractor(checkpoint: Checkpoint, kind: Any) -> Any:
    """The image processor or feature extractor of a checkpoint, made by an Auto class of transformers."""
    checkpoint.require("preprocessor_config.json", "processor_config.json")
    try:
        made = kind.from_pretrained(checkpoint.folder, **SAFELY)
    except Exception as cause:  # unknown kinds and malformed settings fail in their own ways
        raise WeightsError(
            f"the preprocessing of {checkpoint.name!r} can't be read: {brief(cause)}",
            culprit=str(checkpoint.folder / "preprocessor_config.json"),
            remedy="put the checkpoint's own preprocessor_config.json there",
        ) from cause
    if getattr(made, "dither", 0.0):  # noise, drawn anew each time
        made.dither = 0.0
    return made


def described(processor: Any) -> str:
    """The settings of an image processor or feature extractor in words, for the space's identity."""
    settings = {
        key: value
        for key, value in processor.to_dict().items()
        if value is not None
        and not key.startswith("_")
        and key not in ("processor_class", "mel_filters", "window")
    }
    return ", ".join(f"{key} {value}" for key, value in sorted(settings.items()))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' bars and reports: what matters of them is raised."""
    logging: Any = transformers_logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
