"""Bridging of two spaces that share a modality, by encoding one corpus of that modality in both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch

from ..arguments.lists import require_list
from ..embeddings.array_types import Vectors
from ..engine.runtime import Runtime
from ..errors import FitError, MmencodeError
from ..inputs.owning import own_each
from ..projection import Chain, IdentityProjection, Linear, Projection
from .alignment import CHUNK, KEPT, FitMethod, Pairs, fit, hash_item, split
from .composition import EncoderLike, compose
from .recall import recall
from .space import Space

_NOISE = 0.004  # variance of C-MCR's noise on unit vectors


def bridge(
    name: str,
    source: Space,
    target: Space,
    corpus: Iterable[Any],
    *,
    via: str = "text",
    method: FitMethod = "ridge",
    prefer: Literal["source", "target"] = "target",
    unpaired: Mapping[str, Iterable[Any]] | None = None,
    held_out: Mapping[str, Pairs] | None = None,
    seed: int = 0,
    force: bool = False,
    runtime: Runtime | None = None,
) -> Space:
    """Project the modalities of one space into another, by a map that is fitted to a corpus encoded in both.

    The result has the modalities of both spaces; one that both have is taken from `prefer`. Those that were
    added to the source lead over the same map, behind their own projections. A composite that is a sum of its
    parts is one in the result, too.

    The map's AlignmentReport, on held-out parts of the corpus, is the `report` of the result's projections.
    It says nothing about modalities that were never paired. For these, pass `held_out` pairs by modality,
    each an item and its partner of the modality `via`: their recall over the bridge is the report's
    "held_out".

    A map that was fitted to texts meets other vectors when images go through it, since each modality of a
    space keeps to a region of its own. Two corrections come from C-MCR (Wang et al., "Connecting Multi-modal
    Contrastive Representations", NeurIPS 2023): the mean of `unpaired` items of the source's other modalities
    is moved to that of the corpus; and "contrastive", which trains a small network instead of a matrix, adds
    noise to its inputs. C-MCR's memories, which replace each vector by a mean of stored ones, are left out.

    Raises UnknownModalityError, and as `mmencode.align`.
    """
    source.spec(via), target.spec(via)
    require_list(corpus, "corpus")
    for modality, others in (unpaired or {}).items():
        require_list(others, f"unpaired[{modality!r}]")
    for modality, pairs in (held_out or {}).items():
        require_list(pairs, f"held_out[{modality!r}]", of=" of (item, partner) tuples")
    modalities = [each for each in source.modalities if not source.spec(each).weights]
    there = [each for each in target.modalities if not target.spec(each).weights]
    bridged = set(modalities) - (set(there) if prefer == "target" else set())
    if unknown := set(held_out or {}) - bridged:
        raise ValueError(f"held_out has {sorted(unknown)}: the bridge leads {sorted(bridged)}")
    noise = _NOISE if method == "contrastive" else 0.0
    most = 2**62 if method == "contrastive" else KEPT
    centre = Centre()
    held = split(_encode_corpus(source, target, via, corpus, centre), 5, seed, most)
    projection = fit(
        held,
        method,
        source=source.id,
        target=target.id,
        seed=seed,
        force=force,
        noise=noise,
        device=(runtime or target.runtime).device,
    )
    theirs: dict[str, EncoderLike] = dict.fromkeys(there, target)
    ours: dict[str, EncoderLike] = {}
    absent: dict[str, MmencodeError] = {}
    for modality in modalities:
        items = (unpaired or {}).get(modality)
        steps = [] if items is None else [_shift(centre.mean - _encode_mean(source, modality, items))]
        try:
            ours[modality] = source.spec(modality), _chain_behind(source, modality, [*steps, projection])
        except MmencodeError as error:
            if not source.is_gained(modality):
                raise
            absent[modality] = error  # the others go on without what a plugin added
    parts = {**ours, **theirs} if prefer == "target" else {**theirs, **ours}
    space = compose(name, parts, runtime=runtime or target.runtime)
    _note_absent(space, absent)
    for modality, pairs in (held_out or {}).items():
        projection = space.projections[modality]
        projection.report = {**projection.report, "held_out": _measure(space, modality, via, pairs)}
    first, last = (source, target) if prefer == "target" else (target, source)
    for spec in {**first.specs, **last.specs}.values():
        if spec.weights and not spec.role and spec.modality not in space.specs:
            space = space.fuse(spec.modality, spec.weights)
    return space


def _note_absent(space: Space, absent: Mapping[str, MmencodeError]) -> None:
    """Have a space say why it lacks some modalities, whenever one of them is asked for."""
    members = space._members
    kept = {key: error for key, error in absent.items() if key not in members.specs}
    members.joining = replace(members.joining, absent={**members.joining.absent, **kept})


def _measure(space: Space, modality: str, via: str, pairs: Pairs) -> dict[str, Any]:
    """Measure the recall of partners by items, and of items by partners."""
    items, partners = zip(*pairs, strict=True)
    ours, theirs = space.encode(modality, items).vectors, space.encode(via, partners).vectors
    return {
        "forward": recall([(ours, theirs)]).to_dict(),
        "backward": recall([(theirs, ours)], truth="queries").to_dict(),
    }


class Centre:
    """The mean of vectors that come in parts."""

    def __init__(self) -> None:
        self._sum: Any = 0.0
        self._count = 0

    def add(self, rows: Vectors) -> None:
        """Add vectors to the mean."""
        self._sum = self._sum + rows.sum(axis=0, dtype=np.float64)
        self._count += len(rows)

    @property
    def mean(self) -> Vectors:
        """The mean of all vectors so far; FitError without any."""
        if not self._count:
            raise FitError("there is nothing to take the mean of", remedy="give some items")
        mean: Vectors = (self._sum / self._count).astype(np.float32)
        return mean


def _encode_corpus(
    source: Space, target: Space, via: str, corpus: Iterable[Any], centre: Centre
) -> Iterator[tuple[Vectors, Vectors, list[bytes]]]:
    """Encode a corpus in both spaces, a chunk at a time, and add the source's vectors to `centre`."""
    items, start = own_each(corpus), 0
    while chunk := list(islice(items, CHUNK)):
        ours, theirs = source.encode(via, chunk).vectors, target.encode(via, chunk).vectors
        centre.add(ours)
        yield ours, theirs, [hash_item(item, via, start + place) for place, item in enumerate(chunk)]
        start += len(chunk)


def _encode_mean(space: Space, modality: str, items: Iterable[Any]) -> Vectors:
    """Encode items, and return the mean of their vectors."""
    centre = Centre()
    for part in space.stream(modality, items):
        centre.add(part.vectors)
    return centre.mean


def _shift(by: Vectors) -> Linear:
    """A projection that adds one vector to each of its inputs."""
    return Linear(torch.eye(len(by)), torch.from_numpy(by))


def _chain_behind(source: Space, modality: str, steps: list[Projection]) -> Projection:
    """Chain projections, in order, behind the one that leads a modality into the source space."""
    own = source.tower(modality).projection
    *firsts, last = steps if isinstance(own, IdentityProjection) else [own, *steps]
    chain = last
    for first in reversed(firsts):
        chain = Chain(first, chain)
    chain.into, chain.report, chain.note = last.into, last.report, last.note
    return chain
