"""The JSON files beside weights: read with limits, and made into a digest that tells them apart."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import WeightsError
from ..errors.causes import describe_error, message_of

LARGEST = 2**24  # bytes of a file of settings: those with thousands of labels have one or two millions
DEEPEST = 64  # objects and lists within each other
_MISSING = "check the path"
_IDLE = {
    *("_name_or_path", "_commit_hash", "transformers_version", "_diffusers_version", "architectures"),
    *("dtype", "torch_dtype", "attn_implementation", "_attn_implementation", "use_cache", "torchscript"),
    *("id2label", "label2id", "num_labels", "problem_type", "finetuning_task", "task_specific_params"),
    *("output_attentions", "output_hidden_states", "return_dict", "gradient_checkpointing"),
    *("initializer_range", "initializer_factor", "init_std"),
}


def require_file(path: str | os.PathLike[str], remedy: str = _MISSING, most: int | None = None) -> int:
    """WeightsError unless there is an ordinary file, of at most so many bytes; the bytes that it has.

    A pipe or a device would never end.
    """
    shown = os.fspath(path)
    try:
        found = os.stat(shown)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError for a null byte
        where = "" if os.path.isabs(shown) else f"; it is relative to {os.getcwd()}"
        raise WeightsError(f"there is no file {shown!r}{where}", remedy=remedy) from None
    except OSError as cause:
        raise WeightsError(f"{shown!r} can't be looked at: {message_of(cause)}", remedy=remedy) from cause
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, socket or device"
        raise WeightsError(f"{shown!r} is {kind}, and no file", remedy="name the file itself")
    if most is not None and found.st_size > most:
        raise WeightsError(f"{shown!r} has {found.st_size} bytes, and {most} are the most", remedy=remedy)
    return found.st_size


def read_settings(path: str | os.PathLike[str], remedy: str = "fetch it again") -> Any:
    """What JSON a file of settings holds.

    Raises WeightsError, which names the file, when it isn't there, is no JSON, or is larger or deeper than
    any settings are.
    """
    require_file(path, remedy, LARGEST)
    shown = os.fspath(path)
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except RecursionError as cause:
        raise _too_deep(shown, remedy) from cause
    except (OSError, ValueError) as cause:
        raise WeightsError(f"{shown!r} can't be read: {describe_error(cause)}", remedy=remedy) from cause
    if _depth(found) > DEEPEST:
        raise _too_deep(shown, remedy)
    return found


def read_object(path: str | os.PathLike[str], remedy: str = "fetch it again") -> dict[str, Any]:
    """The JSON object in a file of settings; WeightsError, also when it holds something else."""
    found = read_settings(path, remedy)
    if not isinstance(found, dict):
        raise WeightsError(f"{os.fspath(path)!r} holds no JSON object", remedy=remedy)
    return found


def matters(name: str) -> bool:
    """Whether vectors can depend on an entry of a config.json as Hugging Face's libraries write them.

    Names, versions, types of the saved numbers, labels, and what is used in training only: they can't.
    """
    return name not in _IDLE and not any(part in name for part in ("dropout", "layerdrop", "drop_path"))


def settings_digest(settings: Any, counts: Callable[[str], bool] = lambda name: True) -> str:
    """SHA-256 of settings as canonical JSON; `counts` says whether an entry of that name does, at any depth.

    For `Encoder.architecture`: so many heads, an epsilon or an activation change vectors and no weight.
    """
    canonical = json.dumps(_counting(settings, counts), sort_keys=True, separators=(",", ":"), default=str)
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def _counting(value: Any, counts: Callable[[str], bool]) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _counting(inner, counts) for name, inner in value.items() if counts(str(name))}
    if isinstance(value, list | tuple):
        return [_counting(inner, counts) for inner in value]
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)  # 1.0 and 1 are one setting
    return value


def _depth(value: Any) -> int:
    """How many objects and lists stand within each other, counted no further than needed."""
    depth, layer = 0, [value]
    while layer and depth <= DEEPEST:
        layer = [inner for outer in layer for inner in _inner(outer)]
        depth += bool(layer)
    return depth


def _inner(value: Any) -> list[Any]:
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [inner for inner in values if isinstance(inner, dict | list)]


def _too_deep(shown: str, remedy: str) -> WeightsError:
    return WeightsError(f"{shown!r} has more than {DEEPEST} objects within each other", remedy=remedy)
