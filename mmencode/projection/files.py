"""Projections are kept in safetensors files: the state as tensors, everything else as JSON in the header."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .._atomic import file_aside, open_regular, size_of
from ..errors import EncoderError, WeightsError
from ..errors.causes import message_of
from .anchored import LabelAnchored
from .autoencoder import Autoencoder
from .base import IdentityProjection, Projection, Settings, shape_of
from .chain import Chain
from .contrastive import Perceptron
from .linear import Linear, Truncation

FORMAT = 1
HEADER = 2**20  # most bytes of a file's header, which holds the settings and the report
KINDS: Mapping[str, type[Projection]] = {
    kind.kind: kind
    for kind in (Autoencoder, IdentityProjection, LabelAnchored, Linear, Perceptron, Truncation, Chain)
}
_FACTS = {"format", "kind", "into", "note", "report", "settings"}
_DAMAGE = (OSError, SafetensorError, ValueError, LookupError, TypeError, AttributeError, RuntimeError)


@dataclass(frozen=True, slots=True)
class Fit:
    """The space that a projection leads into, by its id, and the report of how well it does."""

    into: str
    report: Mapping[str, Any]


def save_projection(projection: Projection, path: str | os.PathLike[str]) -> None:
    """Write one of mmencode's own projections to a file, which appears whole or not at all.

    Raises EncoderError for another class, or for a head or report that can't be saved.
    """
    _require_own_kinds(projection)
    facts = {
        "format": FORMAT,
        **shape_of(projection),
        "into": projection.into,
        "note": projection.note,
        "report": projection.report,
    }
    state = {name: tensor.contiguous() for name, tensor in projection.state_dict().items()}
    content = save(state, {"mmencode": _json(facts)})
    with file_aside(path) as aside:
        aside.write_bytes(content)


def load_projection(path: str | os.PathLike[str]) -> Projection:
    """Read a file that `save_projection` wrote; WeightsError, naming the file, for any other content."""
    source = Path(path)
    try:
        _require_small_header(source)
        with safe_open(source, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("mmencode", "{}"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        return _restore(facts, state)
    except FileNotFoundError as cause:
        raise _unreadable(source, "there is no such file") from cause
    except _DAMAGE as cause:
        raise _unreadable(source, message_of(cause)) from cause


def read_fit(path: str | os.PathLike[str]) -> Fit:
    """Read what a projection's file says of its fit, without its tensors; raises as `load_projection`."""
    source = Path(path)
    try:
        _require_small_header(source)
        with safe_open(source, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("mmencode", "{}"))
        _require_facts(facts)
        return Fit(facts["into"], facts["report"])
    except FileNotFoundError as cause:
        raise _unreadable(source, "there is no such file") from cause
    except (*_DAMAGE, RecursionError) as cause:
        raise _unreadable(source, message_of(cause)) from cause


def _require_own_kinds(projection: Projection) -> None:
    """Raise EncoderError unless a projection, and each inside it, is of a class that mmencode can restore."""
    for each in projection.modules():
        if isinstance(each, Projection) and type(each) is not KINDS.get(each.kind):
            raise EncoderError(
                f"a projection of the class {type(each).__name__} can't be saved",
                remedy=f"a plugin can ship it; mmencode saves its own kinds: {', '.join(KINDS)}",
            )


def _make_blank(shape: Settings) -> Projection:
    """Make a projection of a shape, whose state is still to be loaded; ValueError for an unknown kind."""
    if shape["kind"] not in KINDS:
        raise ValueError(f"it is of the kind {shape['kind']!r:.100}; this mmencode knows {', '.join(KINDS)}")
    kind = KINDS[shape["kind"]]
    inner = {name: _make_blank(shape["settings"][name]) for name in kind.inner}
    return kind.blank({**shape["settings"], **inner})


def _json(facts: Mapping[str, Any]) -> str:
    try:
        return json.dumps(facts, sort_keys=True)
    except (TypeError, ValueError) as cause:
        raise EncoderError(
            f"the report of a projection can't be saved: {cause}", remedy="keep plain values in `report`"
        ) from cause


def _require_small_header(source: Path) -> None:
    """Raise ValueError for a header longer than any projection's, before JSON and modules are made of it."""
    with open_regular(source) as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(HEADER, size_of(file)):
            raise ValueError(f"its header has {length} bytes, and a projection's has {HEADER} at most")


def _require_facts(facts: Any) -> None:
    """Raise ValueError unless a file's header has all facts of a projection."""
    if type(facts) is not dict or not facts:
        raise ValueError("it holds no projection")
    if facts.get("format") != FORMAT:
        raise ValueError(f"it has the format {facts.get('format')!r}; this mmencode reads {FORMAT}")
    if lacking := _FACTS - facts.keys():
        raise ValueError(f"it lacks {', '.join(sorted(lacking))}")
    if not (isinstance(facts["into"], str) and isinstance(facts["note"], str)):
        raise ValueError("its `into` or `note` is no text")
    if not isinstance(facts["report"], dict):
        raise ValueError("its report is no JSON object")


def _restore(facts: Mapping[str, Any], state: Mapping[str, Tensor]) -> Projection:
    _require_facts(facts)
    shape = {"kind": facts["kind"], "settings": facts["settings"]}
    with torch.device("meta"):  # draws no initial weights, which would move the state of the user's generator
        blank = _make_blank(shape)
        _require_state(state, blank.state_dict())  # before memory of the declared shapes is taken
    projection: Projection = blank.to_empty(device="cpu")
    projection.load_state_dict(state)
    if shape_of(projection) != shape:
        raise ValueError("its state and its settings don't go together")
    projection.into, projection.note, projection.report = facts["into"], facts["note"], facts["report"]
    return projection.eval().requires_grad_(False)


def _require_state(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless tensors have the names, shapes and types that are wanted, and are finite."""
    for name in found.keys() & wanted.keys():
        said, due = (f"{each.dtype} {list(each.shape)}" for each in (found[name], wanted[name]))
        if said != due:
            raise ValueError(f"size mismatch: its {name} is {said}, and should be {due}")
    if found.keys() != wanted.keys():
        raise ValueError(f"it has the tensors {', '.join(found)!s:.200}, not {', '.join(wanted)!s:.200}")
    for name, tensor in found.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"its {name} isn't all finite numbers")


def _unreadable(source: Path, why: str) -> WeightsError:
    return WeightsError(
        f"the projection can't be read: {why}",
        culprit=str(source),
        remedy="get the file again from whoever made it, with an mmencode as new as theirs",
    )
