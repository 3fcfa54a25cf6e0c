"""Loads whole models in float32 from a checkpoint's folder, without a hub and without code in it."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel
from transformers.models.auto.auto_factory import _get_model_class
from transformers.utils import logging as transformers_logging

from mmencode import Encoder
from mmencode.checkpoints import Bounded, StateDict, describe_error
from mmencode.errors import WeightsError

from .adapters import merge, origin
from .sources import Checkpoint
from .weights import read_weights

# Arguments of every call of transformers' `from_pretrained` in this plugin.
SAFELY = {"local_files_only": True, "trust_remote_code": False}
# transformers changes torch's initialisers and its own logging while it loads, for all threads.
_ONE_AT_A_TIME = threading.Lock()


def load_config(checkpoint: Checkpoint) -> Any:
    """Load a checkpoint's config.json; WeightsError when transformers doesn't know the architecture."""
    checkpoint = checkpoint.whole
    checkpoint.require("config.json")
    try:
        config = AutoConfig.from_pretrained(checkpoint.folder, **SAFELY)
    except Exception as cause:  # unknown architectures and malformed settings fail in their own ways
        raise WeightsError(
            f"transformers can't read the config of {checkpoint.name!r}: {describe_error(cause)}",
            culprit=str(checkpoint.folder / "config.json"),
            remedy="its model_type must be an architecture of the installed transformers; upgrade that if it "
            "is a new one",
        ) from cause
    config._attn_implementation = None  # transformers' choice, sdpa where there is one; never the config's
    return config


def load(checkpoint: Checkpoint, config: Any, kind: Any = AutoModel) -> tuple[Any, set[str]]:
    """Load the model of the Auto class `kind`, and name the parameters without weights in the checkpoint.

    safetensors are preferred; a pickle is read as tensors only. Raises WeightsError when the weights are
    missing, truncated, of another shape, when a pickle holds anything but tensors, or when the settings
    describe a far larger model than there are weights for. An adapter is merged into its base.
    """
    if checkpoint.base is not None:
        model, missing = load(checkpoint.base, config, kind)
        with _ONE_AT_A_TIME, _quiet():
            return merge(checkpoint, model, missing), missing
    try:
        state = read_weights(checkpoint)
    except WeightsError as error:
        raise _unloadable(checkpoint, error.fact, error.remedy) from error
    model, missing = _build(checkpoint, config, kind, state)
    first = {name.partition(".")[0] for name in state}
    if len(first) == 1 and missing >= set(dict(model.named_parameters())):  # a trainer's `model.`, say
        state = {name.partition(".")[2]: tensor for name, tensor in state.items()}
        model, missing = _build(checkpoint, config, kind, state)
    return model, missing


def _build(checkpoint: Checkpoint, config: Any, kind: Any, state: StateDict) -> tuple[Any, set[str]]:
    """Build a model and fill it with tensors, so that transformers itself reads no file of weights."""
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    try:
        chosen = _get_model_class(config, kind._model_mapping)  # type: ignore[no-untyped-call]
        with _ONE_AT_A_TIME, _quiet(), Bounded(shapes, repr(checkpoint.name)):
            model, report = chosen.from_pretrained(
                None,
                config=config,
                state_dict=dict(state),
                dtype=torch.float32,
                attn_implementation=None,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # reported, and then refused below with both sizes
                **SAFELY,
            )
    except WeightsError:
        raise
    except Exception as cause:  # torch and transformers each fail in their way
        remedy = "put model.safetensors there, whole and of the architecture in config.json"
        raise _unloadable(checkpoint, describe_error(cause), remedy) from cause
    _require_sizes(checkpoint, sorted(report["mismatched_keys"]))
    return model, set(report["missing_keys"])


def _require_sizes(checkpoint: Checkpoint, unequal: list[tuple[str, Any, Any]]) -> None:
    """Raise WeightsError for the first tensor whose size isn't that of the settings, with both sizes."""
    if unequal:
        name, there, expected = unequal[0]
        more = f", and {len(unequal) - 1} more aren't, either" if len(unequal) > 1 else ""
        raise _unloadable(
            checkpoint,
            f"{name} is {list(there)} in the weights, and {list(expected)} in the settings{more}",
            "put the config.json there that belongs to the weights; none are resized here",
        )


def _unloadable(checkpoint: Checkpoint, why: str, remedy: str) -> WeightsError:
    return WeightsError(
        f"the weights of {checkpoint.name!r} can't be loaded: {why}",
        culprit=str(checkpoint.folder),
        remedy=remedy,
    )


def read_scale(number: Tensor, name: str, missing: set[str], checkpoint: Checkpoint) -> float | None:
    """Read a scale or bias that a model was trained with; WeightsError for one that isn't finite.

    None where the checkpoint lacks it, since the model's initial value means nothing.
    """
    if name in missing:
        return None
    found = float(number.detach())
    if not math.isfinite(found):
        raise WeightsError(
            f"the {name} of {checkpoint.name!r} is {found}",
            culprit=str(checkpoint.folder),
            remedy="fetch the checkpoint again, or take one from before its training diverged",
        )
    return found


def require_whole(checkpoint: Checkpoint, model: nn.Module, missing: set[str], *parts: nn.Module) -> None:
    """Raise WeightsError when the checkpoint lacks weights of a part that is used."""
    used = {id(parameter) for part in parts for parameter in part.parameters()}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in used}
    if lacking := sorted(names & missing):
        raise WeightsError(
            f"the checkpoint {checkpoint.name!r} lacks {len(lacking)} of {len(names)} weights: "
            f"{', '.join(lacking[:3])}{' ...' if len(lacking) > 3 else ''}",
            culprit=str(checkpoint.folder),
            remedy="fetch it again; its config.json must belong to its weights",
        )


def keep(*parts: nn.Module) -> None:
    """Copy the parameters of parts that are used out of the checkpoint's file, which stays mapped otherwise.

    Who saves another checkpoint there would change them, and all of the file would count as memory.
    """
    for parameter in nn.ModuleList(parts).parameters():
        parameter.data = parameter.data.clone()


def sign(encoder: Encoder, checkpoint: Checkpoint) -> None:
    """Give an encoder its architecture, and where an adapter was merged, the digest of both origins."""
    encoder.architecture = checkpoint.architecture
    encoder.weights_digest = origin(encoder)


def drop(module: Any, *names: str) -> None:
    """Remove unused parts of a module, so that their weights, perhaps random, don't count in its identity."""
    for name in names:
        if getattr(module, name, None) is not None:
            setattr(module, name, None)


def load_extractor(checkpoint: Checkpoint, kind: Any, areas: bool = False) -> Any:
    """Load the image processor or feature extractor of a checkpoint by an Auto class of transformers.

    With `areas`, the edges in its settings are numbers of pixels in all, as Qwen2-VL's are.
    """
    checkpoint = checkpoint.holding("preprocessor_config.json", "processor_config.json")
    checkpoint.require("preprocessor_config.json", "processor_config.json")
    _require_moderate(checkpoint, _AREAS if areas else {})
    try:
        made = kind.from_pretrained(checkpoint.folder, **SAFELY)
    except Exception as cause:  # unknown kinds and malformed settings fail in their own ways
        raise WeightsError(
            f"the preprocessing of {checkpoint.name!r} can't be read: {describe_error(cause)}",
            culprit=str(checkpoint.folder / "preprocessor_config.json"),
            remedy="put the checkpoint's own preprocessor_config.json there",
        ) from cause
    if getattr(made, "dither", 0.0):  # noise, drawn anew each time
        made.dither = 0.0
    return made


PREPROCESSING = (
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "sentence_bert_config.json",
)
# The largest value of a setting whose name has the word in it: larger ones would take all memory for one item
# or for the filters, whatever the weights are.
_MOST = {
    **dict.fromkeys(("height", "width", "edge", "size", "num_mel_bins", "hop_length"), 2**13),
    "seq_len": 2**13,
    **dict.fromkeys(("patch", "chunk_length", "max_length_s"), 2**16),
    **dict.fromkeys(("n_fft", "window"), 2**18),
    **dict.fromkeys(("samples", "frames", "max_length", "sampling_rate"), 2**26),
}
_AREAS = dict.fromkeys(("shortest_edge", "longest_edge", "pixels"), 2**25)


def _require_moderate(checkpoint: Checkpoint, areas: dict[str, int]) -> None:
    """Raise WeightsError for sizes in the preprocessing's settings that no item has."""
    for file in PREPROCESSING:
        waiting = [("", checkpoint.read(file))] if (checkpoint.folder / file).is_file() else []
        while waiting:
            name, value = waiting.pop()
            if isinstance(value, dict):
                waiting += [(key, inner) for key, inner in value.items()]
            elif isinstance(value, list):
                waiting += [(name, inner) for inner in value if name not in ("mel_filters", "window")]
            most = next((most for word, most in {**areas, **_MOST}.items() if word in name), math.inf)
            if type(value) in (int, float) and not abs(value) <= most:
                raise WeightsError(
                    f"the preprocessing of {checkpoint.name!r} has {name} {value}, and {most} is the most",
                    culprit=str(checkpoint.folder / file),
                    remedy="put the checkpoint's own preprocessor_config.json there",
                )


def describe(processor: Any) -> str:
    """Describe the settings of an image processor or feature extractor, for the space's identity."""
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
    """Silence transformers' progress bars and load reports, whose findings are raised as errors."""
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
