"""Weights are read from untrusted checkpoints as tensors by name, and must fit their module exactly.

Every family of encoders reads its checkpoints by these functions, plugins included.
"""

from __future__ import annotations

import json
import os
import re
import threading
from argparse import Namespace
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import WeightsError
from ..errors.causes import describe_error, message_of
from .pickled import REMEDY, require_tensors_only
from .settings import require_file

StateDict = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]

_HEADER = 2**24  # bytes of a safetensors header, which has about a hundred for each tensor
# Keys that trainers put a state dict under, in timm's order of preference.
_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict")
_NOT_WEIGHTS = {
    b"version https://git-lfs": ("a pointer of Git LFS, and not the weights", "fetch the file: git lfs pull"),
    b"<!doctype html": ("an HTML page", "fetch the weights again: the address gave a page"),
    b"<html": ("an HTML page", "fetch the weights again: the address gave a page"),
}
# torch keeps its list of trusted types in one place for all threads.
_NAMESPACE = threading.Lock()


def read_state(path: str | os.PathLike[str], remedy: str = "check the path of the checkpoint") -> StateDict:
    """Read the tensors of a checkpoint by name: a safetensors file, or a state dict of torch.save.

    The first bytes say which it is. A state dict inside `{"state_dict": ...}`, `{"model": ...}` and the like
    is unwrapped, averaged (EMA) weights first, and the prefixes of `DataParallel` and `torch.compile` are
    taken off. Tensors of torch.save are memory-mapped: copy them before the file may change.

    Raises WeightsError for a file that is missing, damaged, or holds more than tensors. No code of it runs.
    """
    source = Path(path)
    require_safe(source, remedy)
    try:
        if _is_safetensors(source):
            return _without_wrappers(load_file(source))
        return _without_wrappers(_find_tensors(_load(source), source))
    except WeightsError:
        raise
    except Exception as cause:  # safetensors, zipfile, pickle and torch each fail in their own way
        raise WeightsError(
            f"{str(source)!r} can't be read as a checkpoint: {describe_error(cause)}",
            remedy=REMEDY,
        ) from cause


def require_safe(path: str | os.PathLike[str], remedy: str = "check the path of the checkpoint") -> None:
    """Raise WeightsError unless a path is a regular file of tensors, which take no more than its size."""
    source = Path(path)
    size = require_file(source, remedy)
    if not size:
        raise WeightsError(f"{str(source)!r} is empty: 0 bytes", remedy=REMEDY)
    beginning = _read_start(source, 64).lstrip().lower()
    for mark, (what, cure) in _NOT_WEIGHTS.items():
        if beginning.startswith(mark):
            raise WeightsError(f"{str(source)!r} is {what}", remedy=cure)
    if _is_safetensors(source):
        _read_header(source)
    else:
        require_tensors_only(source)


def shapes_of(path: str | os.PathLike[str], remedy: str = "check the path of the checkpoint") -> Shapes:
    """Read the shapes of a checkpoint's tensors without their data; raises as `read_state`."""
    source = Path(path)
    require_safe(source, remedy)
    if not _is_safetensors(source):
        return {name: tuple(tensor.shape) for name, tensor in read_state(source, remedy).items()}
    header = _read_header(source)
    return {name: tuple(facts["shape"]) for name, facts in header.items() if name != "__metadata__"}


def fill(
    module: nn.Module,
    state: Mapping[str, Tensor],
    origin: str,
    remedy: str,
    *,
    culprit: str = "",
    optional: Collection[str] = (),
    ignored: Collection[str] = (),
    unread: Collection[str] = (),
) -> set[str]:
    """Copy a state dict into a module whose tensors it must match; return the `optional` names it lacks.

    A common prefix of all names, such as a trainer's `model.`, is taken off; names in `ignored` are passed
    over, and of those in `unread` only the shapes are checked. Raises WeightsError, whose message begins with
    `origin`, for tensors that are missing, unexpected or of another shape.
    """
    expected = module.state_dict()
    required = expected.keys() - set(optional)
    state = _without_prefix(state, required)
    state = {name: tensor for name, tensor in state.items() if name not in ignored}
    if wrong := _differences(state, expected, required):
        raise WeightsError(f"{origin}: {'; '.join(wrong)}", culprit=culprit, remedy=remedy)
    left = set(unread)
    copied = {name: tensor for name, tensor in state.items() if name not in left}
    module.load_state_dict(copied, strict=False)
    return set(expected) - state.keys()


def reason(cause: BaseException) -> str:
    """The reason why a library failed to read weights, without its advice to unpickle them unsafely."""
    said = message_of(cause, 4000)
    if "weights_only" not in said:
        return describe_error(cause)
    names = re.findall(r"(?:GLOBAL|globals:|Unsupported class) ([\w.]*\w)", said)
    return f"the file holds more than tensors{': ' if names else ''}{', '.join(dict.fromkeys(names))}"


def require_numbers(module: nn.Module, name: str, sound: set[int] | None = None) -> None:
    """Raise WeightsError for NaN or infinity in an encoder; buffers may hold infinity, as masks do.

    Parameters whose ids are in `sound` are passed over, and those that are found sound are added to it.
    """
    sound = set() if sound is None else sound
    parameters = [(key, each) for key, each in module.named_parameters() if id(each) not in sound]
    for tensors, numbers in ((parameters, True), (module.named_buffers(), False)):
        for key, tensor in tensors:
            if what := _find_non_finite(tensor.detach(), numbers):
                raise WeightsError(
                    f"the weights of encoder {name!r} are damaged: {key} contains {what}",
                    remedy="fetch the checkpoint again, or take one from before its training diverged",
                )
    sound.update(id(each) for _, each in parameters)


def _find_non_finite(tensor: Tensor, infinite: bool) -> str:
    """Name the non-finite numbers in a tensor, if any; its sum, which they spoil, is checked first."""
    if not tensor.is_floating_point() or tensor.is_meta or tensor.element_size() < 2:
        return ""
    if tensor.sum().isfinite():
        return ""
    if tensor.isnan().any():
        return "NaN"
    return "infinity" if infinite and tensor.isinf().any() else ""


def _read_start(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as cause:
        raise WeightsError(
            f"{str(path)!r} can't be read: {describe_error(cause)}", remedy="check its rights"
        ) from cause


def _is_safetensors(path: Path) -> bool:
    beginning = _read_start(path, 9)
    return beginning[8:] == b"{" and int.from_bytes(beginning[:8], "little") < 2**40


def _read_header(path: Path) -> dict[str, Any]:
    """Read the header of a safetensors file, with checks of its length and shapes (not of the offsets)."""
    length = int.from_bytes(_read_start(path, 8), "little")
    if length > min(_HEADER, path.stat().st_size - 8):
        raise WeightsError(
            f"{str(path)!r} claims a header of {length} bytes; the file has {path.stat().st_size}, and "
            f"{_HEADER} are the most",
            remedy=f"it is damaged or cut off: {REMEDY}",
        )
    try:
        header = json.loads(_read_start(path, 8 + length)[8:])
        for name, facts in header.items():
            if name != "__metadata__" and not all(type(size) is int for size in facts["shape"]):
                raise ValueError(f"the shape of {name!r:.100} is {facts['shape']!r:.100}")
        return dict(header)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as cause:
        raise WeightsError(
            f"the header of {str(path)!r} can't be read: {describe_error(cause)}", remedy=REMEDY
        ) from cause


def _load(path: Path) -> Any:
    """Load a file of torch.save by its weights-only unpickler, memory-mapped where it is a zip archive."""
    names = require_tensors_only(path)
    if "argparse Namespace" not in names:
        return _unpickle(path)
    # Many trainers save their command-line arguments beside the tensors.
    with _NAMESPACE, torch.serialization.safe_globals([Namespace]):
        return _unpickle(path)


def _unpickle(path: Path) -> Any:
    if path.suffix == ".safetensors":  # by such a name alone, torch from 2.14 on takes a file for safetensors
        with path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    mapped = _read_start(path, 2) == b"PK"
    return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)


def _find_tensors(found: Any, path: Path) -> StateDict:
    """Find the state dict in a loaded object, unwrapping the keys that trainers put around it."""
    if isinstance(found, Mapping):
        for wrapper in _WRAPPERS:
            if isinstance(found.get(wrapper), Mapping):
                return _find_tensors(found[wrapper], path)
        state = {key: value for key, value in found.items() if isinstance(value, Tensor)}
        if state and all(type(key) is str for key in state):
            return state
    what = f"a mapping of {', '.join(map(repr, list(found)[:5]))}" if isinstance(found, Mapping) else ""
    raise WeightsError(
        f"{str(path)!r} holds no tensors by name, but {what or type(found).__name__}", remedy=REMEDY
    )


def _without_wrappers(state: StateDict) -> StateDict:
    """Take the prefixes of torch.compile and DataParallel off the names."""
    plain = {name.replace("_orig_mod.", ""): tensor for name, tensor in state.items()}
    while plain and all(name.startswith("module.") for name in plain):
        plain = {name.removeprefix("module."): tensor for name, tensor in plain.items()}
    return plain


def _without_prefix(state: Mapping[str, Tensor], required: Collection[str]) -> dict[str, Tensor]:
    """Take a common prefix off the names if exactly one makes all required names present."""
    if not required or state.keys() >= set(required):
        return dict(state)
    sought = max(required, key=len)
    prefixes = {name.removesuffix(sought) for name in state if name.endswith(f".{sought}")}
    fitting = [prefix for prefix in prefixes if all(prefix + name in state for name in required)]
    if len(fitting) != 1:
        return dict(state)
    (prefix,) = fitting
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _differences(state: StateDict, expected: Mapping[str, Tensor], required: Collection[str]) -> list[str]:
    """Describe how a state dict differs from the expected one: wrong shapes, missing and unexpected names."""
    wrong = []
    for name, tensor in state.items():
        other = expected.get(name)
        if other is not None and tensor.shape != other.shape:
            wrong.append(f"{name} is {list(tensor.shape)} there, and {list(other.shape)} is expected")
        elif other is not None and tensor.is_floating_point() != other.is_floating_point():
            wrong.append(f"{name} is of type {tensor.dtype} there, and {other.dtype} is expected")
    wrong = [*wrong[:2], f"{len(wrong) - 2} more are of other shapes"] if len(wrong) > 3 else wrong
    if missing := sorted(set(required) - state.keys()):
        wrong.append(f"it lacks {len(missing)} of {len(expected)} tensors, {missing[0]!r} for one")
    if extra := sorted(state.keys() - expected.keys()):
        first = {name.partition(".")[0] for name in state}
        behind = f"; all its names begin with {first.pop() + '.'!r}" if len(first) == 1 and missing else ""
        wrong.append(f"it has {len(extra)} that don't belong there, {extra[0]!r} for one{behind}")
    return wrong
