"""PEFT adapters (LoRA) are merged into their base once it is loaded: by peft, from safetensors alone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from mmencode.checkpoints import Bounded, StateDict, describe_error, read_state, settings_digest
from mmencode.errors import MissingPackageError, WeightsError

from .sources import ADAPTER, Checkpoint

_WEIGHTS, _PICKLED = "adapter_model.safetensors", "adapter_model.bin"
# The settings of LoRA that count in a merge, and those that don't: training, names, versions.
_MERGED = (
    *("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "lora_bias", "bias"),
    *("fan_in_fan_out", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
    "modules_to_save",
)
_IDLE = {
    *("peft_type", "task_type", "base_model_name_or_path", "revision", "auto_mapping", "peft_version"),
    *("inference_mode", "lora_dropout", "init_lora_weights", "megatron_core", "qalora_group_size"),
    *("ensure_weight_tying", "runtime_config"),
}
# Where they stand the tensors say, and some are written in any order.
_TOLD_BY_NAMES = (
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "modules_to_save",
)
_HARMLESS_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")  # the others change the base
_PREFIX = "base_model.model."
_LONGEST, _QUANTIFIERS = 2**12, 6  # characters of a pattern, and * + { in it: more could match for hours
_ORIGIN = "mmencode_origin"  # an attribute of parameters: the digest of the base's numbers


def merge(checkpoint: Checkpoint, model: Any, missing: set[str]) -> Any:
    """Merge the adapter in a checkpoint's folder into its base model, and return that.

    Names of parameters that the adapter brings whole are taken out of `missing`. Each parameter remembers
    where it comes from, for `origin`. Raises WeightsError for an adapter that isn't LoRA in safetensors, asks
    for more than a merge, or was made for another base; MissingPackageError without peft.
    """
    settings = checkpoint.settings(ADAPTER)
    _require_lora(checkpoint, settings)
    _require_same_kind(checkpoint, settings, model)
    state = _read(checkpoint)
    _require_bounded(checkpoint, settings, state)
    origins = {
        name: _digest_of({name: parameter})
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if name not in missing
    }
    adapter = f"{_digest_of(state)} {settings_digest(_counting(settings))}"
    found = _merge(checkpoint, settings, model, _fit_names(state, model))
    saved = _whole_modules(settings)
    for name, parameter in found.named_parameters(remove_duplicate=False):
        if name in missing and any(f".{word}." in f".{name}" for word in saved):
            missing.discard(name)
        setattr(parameter, _ORIGIN, f"{origins.get(name, '')} {adapter}")
    return found


def origin(module: nn.Module) -> str:
    """The digest of where a module's weights come from, base and adapter; "" where no adapter was merged.

    Machines round the products of a merge differently, so the merged weights themselves identify nothing.
    """
    state: dict[str, Any] = module.state_dict(keep_vars=True)
    if not any(hasattr(tensor, _ORIGIN) for tensor in state.values()):
        return ""
    known = {
        name: getattr(tensor, _ORIGIN, "") or _digest_of({name: tensor}) for name, tensor in state.items()
    }
    content = "\n".join(f"{name} {known[name]}" for name in sorted(known))
    return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"


def _digest_of(state: StateDict) -> str:
    total = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _counting(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        key: settings[key]
        for key in _MERGED
        if key not in _TOLD_BY_NAMES and settings.get(key) not in (None, {})
    }


def _read(checkpoint: Checkpoint) -> StateDict:
    path = checkpoint.folder / _WEIGHTS
    if not path.is_file() and (checkpoint.folder / _PICKLED).exists():
        raise WeightsError(
            f"the adapter {checkpoint.name!r} is a pickle, {_PICKLED}, which is never opened",
            culprit=str(checkpoint.folder),
            remedy=f"save it again with peft, which writes {_WEIGHTS}",
        )
    checkpoint.require(_WEIGHTS)
    state = read_state(path, "fetch the adapter again")
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise WeightsError(
                f"{name} of {str(path)!r} has NaN or infinity", remedy="fetch the adapter again"
            )
    return state


def _require_lora(checkpoint: Checkpoint, settings: dict[str, Any]) -> None:
    """Raise unless the adapter is a LoRA that merges into single weights, and peft is there to do it."""
    kind = settings.get("peft_type")
    if kind != "LORA":
        raise _refusal(checkpoint, f"its peft_type is {kind!r}, and only 'LORA' is merged here")
    if settings.get("init_lora_weights", True) not in _HARMLESS_STARTS:
        raise _refusal(
            checkpoint,
            f"its init_lora_weights {settings['init_lora_weights']!r:.100} changes the base, too",
        )
    asked = [key for key, value in settings.items() if value and key not in _MERGED and key not in _IDLE]
    if asked:
        raise _refusal(checkpoint, f"it asks for {asked[0]}: {settings[asked[0]]!r:.100}")
    if not find_spec("peft"):
        raise MissingPackageError(
            f"{checkpoint.name!r} is an adapter, which peft merges into its base, and peft isn't installed",
            culprit=str(checkpoint.folder / ADAPTER),
            remedy='pip install "mmencode-transformers[adapters]"',
        )


def _refusal(checkpoint: Checkpoint, why: str) -> WeightsError:
    return WeightsError(
        f"the adapter {checkpoint.name!r} isn't merged here: {why}",
        culprit=str(checkpoint.folder / ADAPTER),
        remedy="merge it with peft (merge_and_unload), save the model, and name that folder",
    )


def _require_same_kind(checkpoint: Checkpoint, settings: dict[str, Any], model: Any) -> None:
    """Raise WeightsError where the adapter says that it was trained on a model of another architecture."""
    told = _mapping(settings, "auto_mapping")
    library = str(told.get("parent_library") or "")
    if library.startswith("transformers.models.") and library != type(model).__module__:
        raise _foreign(checkpoint, model, f"it was trained on a {told.get('base_model_class')}")


def _foreign(checkpoint: Checkpoint, model: Any, why: str) -> WeightsError:
    base = checkpoint.base.name if checkpoint.base else checkpoint.name
    return WeightsError(
        f"the adapter {checkpoint.name!r} is for another base than {base!r}, a {type(model).__name__}: {why}",
        culprit=str(checkpoint.folder / ADAPTER),
        remedy="write the base that it was trained on into its base_model_name_or_path: a hub's id, or a "
        "folder that begins with /, ./, ../ or ~",
    )


def _require_bounded(checkpoint: Checkpoint, settings: dict[str, Any], state: StateDict) -> None:
    """Raise WeightsError for ranks, patterns and lists that no adapter with these tensors has."""
    sizes = {size for tensor in state.values() for size in tensor.shape}
    ranks = [settings.get("r", 8), *_mapping(settings, "rank_pattern").values()]
    if unknown := [rank for rank in ranks if type(rank) is not int or not 0 < rank <= max(sizes, default=0)]:
        raise _refusal(checkpoint, f"no tensor of it has the rank {unknown[0]!r:.50}")
    scales = [settings.get("lora_alpha", 8), *_mapping(settings, "alpha_pattern").values()]
    if wrong := [scale for scale in scales if type(scale) not in (int, float)]:
        raise _refusal(checkpoint, f"its lora_alpha {wrong[0]!r:.50} is no number")
    for pattern in _patterns(settings):
        tangled = re.search(r"\)\s*[*+{]", pattern) or len(re.findall(r"[*+{]", pattern)) > _QUANTIFIERS
        if tangled or len(pattern) > _LONGEST:
            raise _refusal(checkpoint, f"its pattern {pattern!r:.100} could take for ever to match")
    for word in _whole_modules(settings):
        if not any(f".{word}." in f".{name}" for name in state):
            raise _refusal(checkpoint, f"it lacks the module {word!r:.100} of its modules_to_save")


def _mapping(settings: dict[str, Any], key: str) -> dict[str, Any]:
    found = settings.get(key)
    return found if isinstance(found, dict) else {}


def _patterns(settings: dict[str, Any]) -> Iterator[str]:
    """Yield what peft matches as regular expressions; a list of target modules has none."""
    for key in ("target_modules", "exclude_modules"):
        if isinstance(settings.get(key), str):
            yield settings[key]
    layers = settings.get("layers_pattern")
    yield from map(str, layers if isinstance(layers, list) else [layers or ""])
    for key in ("rank_pattern", "alpha_pattern"):
        yield from _mapping(settings, key)


def _whole_modules(settings: dict[str, Any]) -> list[str]:
    return [str(word) for word in settings.get("modules_to_save") or []]


def _fit_names(state: StateDict, model: Any) -> StateDict:
    """Take the head's prefix off the names of an adapter that was trained on a model with one.

    `base_model.model.model.layers...` is what a language model with its head has; the model that is loaded
    here has `base_model.model.layers...`.
    """
    plain = {name.removeprefix(_PREFIX): tensor for name, tensor in state.items()}
    inside = {name: name.partition(".")[2] for name in plain}
    children = dict(model.named_children())
    if plain and all(
        name.partition(".")[0] not in children and inner.partition(".")[0] in children
        for name, inner in inside.items()
    ):
        plain = {inside[name]: tensor for name, tensor in plain.items()}
    return {f"{_PREFIX}{name}": tensor for name, tensor in plain.items()}


def _merge(checkpoint: Checkpoint, settings: dict[str, Any], model: Any, state: StateDict) -> Any:
    """Put the adapter into the model by peft, check that all of it has a place there, and merge it."""
    from peft import (
        LoraConfig,
        PeftModel,
        set_peft_model_state_dict,
    )  # imported here, since few checkpoints need it

    chosen = {key: settings[key] for key in _MERGED if settings.get(key) is not None}
    shapes = {name: tuple(tensor.shape) for name, tensor in [*model.named_parameters(), *state.items()]}
    try:
        with Bounded(shapes, f"the adapter {checkpoint.name!r}"):
            adapted = PeftModel(model, LoraConfig(**chosen, inference_mode=True))
            report: Any = set_peft_model_state_dict(adapted, dict(state))
        lacking = [name for name in report.missing_keys if ".lora_" in name]
        unplaced = sorted(report.unexpected_keys)
        if unplaced:
            raise _foreign(checkpoint, model, f"there is no place for {unplaced[0]} in it")
        if lacking:
            raise _foreign(checkpoint, model, f"the adapter has no {sorted(lacking)[0]}")
        return adapted.merge_and_unload(safe_merge=True)
    except WeightsError:
        raise
    except (ValueError, RuntimeError) as cause:  # of names that aren't there, and other shapes
        raise _foreign(checkpoint, model, describe_error(cause)) from cause
    except Exception as cause:  # peft's own faults
        raise _refusal(checkpoint, f"peft fails: {describe_error(cause)}") from cause
