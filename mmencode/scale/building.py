"""An index is built of the vectors in an output, which aren't encoded again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from .._atomic import require_new
from ..errors import Fault, InputError, SpaceMismatchError, UnknownNameError
from ..index.building import build_whole
from ..index.places import place_of
from ..index.resident import MEMORY
from ..index.results import Failure as ListedFailure
from ..spaces.loading import load
from ..spaces.space import Space
from .duplicates import duplicates_among
from .output import Failure, Output, OutputConflictError
from .units import Job

_SHOWN = 8  # keys and parts in a message


@dataclass(frozen=True, slots=True)
class BuildReport:
    """The account of a build: the rows of the index, and the failures that it lists.

    stale    parts of the output that are of no unit of its source, and so in no index
    missing  parts that aren't there, or units that couldn't be read, which a partial build goes without
    """

    rows: int
    failures: int
    stale: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def build_index(
    output: str,
    path: str | os.PathLike[str],
    *,
    space: str | Space | None = None,
    partial: bool = False,
    memory: int = MEMORY,
    storage_options: Mapping[str, str] | None = None,
) -> BuildReport:
    """Build an index, which isn't there yet, of all vectors that `embed` wrote into an output.

    Nothing is encoded. The index appears whole or not at all, and lists the items that failed. One part is in
    memory at a time. The space is by default the installed one that the output names; with its fingerprint.
    Parts that are of no unit of the source any more are left out. With `partial`, so are those that are
    missing.

    `path`, `memory` and `storage_options` are as in `Index.create`.

    Raises OutputConflictError for a folder that is no output, an unfinished one, or one of several jobs, and
    for keys that several rows have; SpaceMismatchError for vectors of another space than `space`, InputError
    for vectors that were cut; FileExistsError, StoreError, and the errors of `load`.
    """
    if isinstance(place_of(path, storage_options), Path):
        require_new(Path(path))  # before all keys are read
    place = Output(output)
    job = _require_job(place)
    planned, there = _require_plan(place), place.names()
    names, missing = sorted(planned & there), tuple(sorted(planned - there))
    if missing and not partial:
        raise _refuse_unfinished(place, planned, missing)
    opened = _open_space(place, job, space)
    try:
        if job.dim is not None and job.dim != opened.dim:
            raise InputError(
                f"its vectors are cut to {job.dim} numbers, and an index holds all {opened.dim}",
                source=output,
                remedy="encode into another output without a width, or search these with Embeddings",
            )
        for name in names:
            place.require_part(name, job.space, opened.dim)
        if twice := duplicates_among(place, names):
            raise _refuse_doubled(place, twice)
        parts = (part for name in names if len(part := place.load_part(name)))
        wanted = {*names, *missing}

        def failures() -> Iterator[ListedFailure]:
            return _failures(place, wanted, job)

        rows, listed = build_whole(
            path, opened, parts, failures, memory=memory, storage_options=storage_options
        )
    finally:
        if opened is not space:
            opened.close()
    return BuildReport(rows, listed, tuple(sorted(there - planned)), missing)


def _require_job(place: Output) -> Job:
    job = place.read_job()
    if job is None:
        raise OutputConflictError(
            f"{place.place} is no output of `mmencode embed`: it has no job.json",
            remedy="name the folder that was given to it as --output",
        )
    return job


def _require_plan(place: Output) -> set[str]:
    planned = place.read_plan()
    if planned is None:
        raise OutputConflictError(
            f"{place.place} doesn't say which parts it should have",
            remedy="run `mmencode embed` with its source again, which encodes nothing that is there",
        )
    return planned


def _refuse_unfinished(place: Output, planned: set[str], missing: tuple[str, ...]) -> OutputConflictError:
    failed = len(set(missing) & place.failed_names())
    some = f", {failed} of them since their files couldn't be read" if failed else ""
    return OutputConflictError(
        f"{place.place} is unfinished: {len(missing)} of {len(planned)} parts are missing{some}",
        remedy="run `mmencode embed` with its source again, which encodes only these; or build of what is "
        "there: mmencode.scale.build_index(output, path, partial=True), --partial",
    )


def _open_space(place: Output, job: Job, space: str | Space | None) -> Space:
    """Open the space of the output's vectors; SpaceMismatchError where another one is given."""
    card = place.read_card()
    if card.id != job.space:
        raise OutputConflictError(
            f"{place.place} has vectors of {job.space}, and the card of {card.id}",
            remedy="put back the card.json of its own, or encode into another output",
        )
    if not isinstance(space, Space):
        try:
            return load(card.name if space is None else space, id=job.space)
        except UnknownNameError as error:
            error.remedy += (
                "; or give the space itself: mmencode.scale.build_index(output, path, space=space)"
            )
            raise
    if space.card.fingerprint != card.fingerprint:
        raise SpaceMismatchError(
            f"{place.place} has vectors of {job.space}, and the space is {space.id}",
            remedy="give the space that they were encoded with",
        )
    return space


def _refuse_doubled(place: Output, twice: dict[str, list[str]]) -> OutputConflictError:
    shown = "; ".join(
        f"{key!r:.100} in {' and '.join(names[:2])}" for key, names in list(twice.items())[:_SHOWN]
    )
    return OutputConflictError(
        f"{len(twice)} keys of {place.place} have several rows: {shown:.1000}",
        remedy="give the rows of the source keys of their own, and encode it into another output",
    )


def _failures(place: Output, names: set[str], job: Job) -> Iterator[ListedFailure]:
    """Read the failures of these parts as the index lists them; one of a whole unit has its source as key."""
    for failure in place.read_failures(names):
        yield ListedFailure(
            failure.key or failure.source, job.modality, _reason_of(failure), _fault_of(failure)
        )


def _reason_of(failure: Failure) -> str:
    return f"{failure.message} ({failure.source})" if failure.source != failure.key else failure.message


def _fault_of(failure: Failure) -> Fault:
    return cast(Fault, failure.fault) if failure.fault in get_args(Fault) else "content"
