"""JSON settings beside weights are read within limits, and hashed by the entries that vectors depend on."""

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

LARGEST = 2**24  # bytes of a file of settings; with thousands of labels they have one or two million
DEEPEST = 64  # levels of nested objects and lists
_MISSING = "check the path"
_IRRELEVANT = {  # entries on which no vector depends
    *("_name_or_path", "_commit_hash", "transformers_version", "_diffusers_version", "architectures"),
    *("dtype", "torch_dtype", "attn_implementation", "_attn_implementation", "use_cache", "torchscript"),
    *("id2label", "label2id", "num_labels", "problem_type", "finetuning_task", "task_specific_params"),
    *("output_attentions", "output_hidden_states", "return_dict", "gradient_checkpointing"),
    *("initializer_range", "initializer_factor", "init_std"),
}


def require_file(path: str | os.PathLike[str], remedy: str = _MISSING, most: int | None = None) -> int:
    """Raise WeightsError unless the path is a regular file of at most `most` bytes; return its size.

    A pipe or a device is refused, since reading it might never end.
    """
    shown = os.fspath(path)
    try:
        found = os.stat(shown)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError for a null byte
        where = "" if os.path.isabs(shown) else f"; it is relative to {os.getcwd()}"
        raise WeightsError(f"there is no file {shown!r}{where}", remedy=remedy) from None
    except OSError as cause:
        raise WeightsError(f"{shown!r} can't be accessed: {message_of(cause)}", remedy=remedy) from cause
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, socket or device"
        raise WeightsError(f"{shown!r} is {kind}, and no file", remedy="name the file itself")
    if most is not None and found.st_size > most:
        raise WeightsError(f"{shown!r} has {found.st_size} bytes, and {most} are the most", remedy=remedy)
    return found.st_size


def read_settings(path: str | os.PathLike[str], remedy: str = "fetch it again") -> Any:
    """Read a JSON file of settings.

    Raises WeightsError, which names the file, when it is missing, isn't JSON, has more than 16 MiB or more
    than 64 nested levels.
    """
    require_file(path, remedy, LARGEST)
    shown = os.fspath(path)
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except RecursionError as cause:
        raise _too_deep(shown, remedy) from cause
    except (OSError, ValueError) as cause:
        raise WeightsError(f"{shown!r} can't be read: {describe_error(cause)}", remedy=remedy) from cause
    if _nesting(found) > DEEPEST:
        raise _too_deep(shown, remedy)
    return found


def read_object(path: str | os.PathLike[str], remedy: str = "fetch it again") -> dict[str, Any]:
    """Read a JSON file of settings that must hold an object; raises WeightsError as `read_settings`."""
    found = read_settings(path, remedy)
    if not isinstance(found, dict):
        raise WeightsError(f"{os.fspath(path)!r} holds no JSON object", remedy=remedy)
    return found


def matters(name: str) -> bool:
    """Whether vectors can depend on the entry of this name in a Hugging Face config.json.

    They don't depend on names, versions, saved dtypes, labels, and settings of training.
    """
    return name not in _IRRELEVANT and not any(part in name for part in ("dropout", "layerdrop", "drop_path"))


def settings_digest(settings: Any, counts: Callable[[str], bool] = lambda name: True) -> str:
    """The SHA-256 digest of settings as canonical JSON, of the entries whose names `counts` accepts.

    `Encoder.architecture` returns it: a number of heads, an epsilon or an activation changes the vectors, but
    no weight, so the digest of the weights doesn't tell them apart. `counts` is asked at every depth.
    """
    canonical = json.dumps(_select(settings, counts), sort_keys=True, separators=(",", ":"), default=str)
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def _select(value: Any, counts: Callable[[str], bool]) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _select(inner, counts) for name, inner in value.items() if counts(str(name))}
    if isinstance(value, list | tuple):
        return [_select(inner, counts) for inner in value]
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)  # 1.0 and 1 are one setting
    return value


def _nesting(value: Any) -> int:
    """The depth of nested objects and lists, counted up to one more than DEEPEST."""
    depth, layer = 0, [value]
    while layer and depth <= DEEPEST:
        layer = [inner for outer in layer for inner in _inner(outer)]
        depth += bool(layer)
    return depth


def _inner(value: Any) -> list[Any]:
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [inner for inner in values if isinstance(inner, dict | list)]


def _too_deep(shown: str, remedy: str) -> WeightsError:
    return WeightsError(f"{shown!r} is nested deeper than {DEEPEST} levels", remedy=remedy)
