"""Reads the tensors of a checkpoint, whole or in shards, by mmencode's own readers."""

from __future__ import annotations

import os
from pathlib import Path

from mmencode.checkpoints import StateDict, read_object, read_state
from mmencode.errors import WeightsError

from .sources import Checkpoint

# In the order in which transformers looks for them: safetensors first, a pickle of tensors last.
_FILES = ("model.safetensors", "pytorch_model.bin")


def read_weights(checkpoint: Checkpoint) -> StateDict:
    """Read a checkpoint's tensors by name; WeightsError for files that are missing, damaged, or elsewhere.

    Trainers' prefixes are taken off; see `mmencode.checkpoints.read_state`.
    """
    for name in _FILES:
        path, index = checkpoint.folder / name, checkpoint.folder / f"{name}.index.json"
        if os.path.lexists(path):
            return read_state(path)
        if os.path.lexists(index):
            return _join_shards(checkpoint, index)
    raise WeightsError(
        f"the checkpoint {checkpoint.name!r} has no {' or '.join(_FILES)}",
        culprit=str(checkpoint.folder),
        remedy=f"put {_FILES[0]} there; it belongs to the files that save_pretrained writes",
    )


def _join_shards(checkpoint: Checkpoint, index: Path) -> StateDict:
    """Read tensors from the shards that an index assigns them to."""
    places = read_object(index).get("weight_map")
    if not isinstance(places, dict) or not all(_is_shard(file) for file in places.values()):
        raise WeightsError(
            f"{str(index)!r} names files that are no shards in its own folder",
            remedy="its weight_map must give each tensor the plain name of a file beside it",
        )
    shards = {file: read_state(checkpoint.folder / file) for file in sorted(set(places.values()))}
    lacking = [name for name, file in places.items() if name not in shards[file]]
    if lacking:
        raise WeightsError(
            f"{str(index)!r} says that {places[lacking[0]]} has the tensor {lacking[0]!r}, which isn't there",
            remedy="fetch the checkpoint again",
        )
    return {name: shards[file][name] for name, file in places.items()}


def _is_shard(file: object) -> bool:
    return isinstance(file, str) and Path(file).name == file and file.endswith((".safetensors", ".bin"))
