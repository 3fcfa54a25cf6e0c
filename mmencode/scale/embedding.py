"""A source of any size is embedded: unit by unit into an output, from where the last run ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from ..arguments.counts import require_positive
from ..embeddings.files import require_format
from ..spaces.loading import load
from ..spaces.sides import Role
from ..spaces.space import Space
from .actors import Orders, versions
from .cluster import connect, divide_among, import_ray, require_alike
from .dispatch import Dispatch
from .encoding import UnitReport, encode_unit, role_of
from .gathering import Gathering
from .output import Output
from .sources import Sizes, divide
from .storage import absolute
from .units import Job, Unit

Advance = Callable[[UnitReport], None]
Format = Literal["parquet", "lance"]


@dataclass(frozen=True, slots=True)
class EmbedReport:
    """The account of a run: what was there already, what it encoded, what failed, what nothing asks for.

    units    of the source, and `done` those whose parts were there before
    encoded  those of this run, with the numbers of their vectors and failures
    failed   units that couldn't be read as a whole, which the next run tries again
    stale    parts of the output that are of no unit of the source, such as of files that were changed
    pruned   whether these were removed
    """

    units: int
    done: int
    encoded: tuple[UnitReport, ...] = ()
    failed: tuple[UnitReport, ...] = ()
    stale: tuple[str, ...] = ()
    pruned: bool = False
    vectors: int = field(init=False)
    failures: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "vectors", sum(each.vectors for each in self.encoded))
        object.__setattr__(self, "failures", sum(each.failures for each in self.encoded))


def embed(
    source: str,
    output: str,
    modality: str,
    *,
    space: str | Space = "default",
    role: Role = "",
    column: str = "",
    key: str = "",
    dim: int | None = None,
    to: Format = "parquet",
    sizes: Sizes | None = None,
    retry: bool = False,
    prune: bool = False,
    advance: Advance | None = None,
    ray: str | None = None,
    actors: int | None = None,
) -> EmbedReport:
    """Embed all items of a source into an output, unit by unit; a run that is ended goes on where it was.

    A source is a folder, a pattern, or a table (.csv, .jsonl, .parquet, .lance, or a .tar as WebDataset has
    them), on this machine or behind an address that fsspec opens. Each unit becomes a file of vectors in the
    output, which `Embeddings.load` reads, named by what its vectors depend on: what is there isn't encoded
    again, and a changed input becomes another part. Items that fail are written beside it, and stop nothing.

    column   of a table, with the items: texts, paths relative to it, or bytes; by default the modality
    key      of a table, with the key of each row, by default "key", or else its place in the table
    dim      to which vectors are cut
    to       "lance" adds the rows of all parts to one Lance dataset as well, vectors.lance in the output, in
             one commit at the end
    retry    whether units are encoded again in which items failed for what may have passed
    prune    whether parts of no unit are removed
    advance  is called with the report of each unit
    ray      the address of a Ray cluster whose devices encode units, "auto" for the one of this machine, or
             "local" to start one for the run; all its machines see source and output
    actors   processes there, by default one for each GPU or, in a cluster without, for each machine

    Raises InputError for a source that can't be divided, OutputConflictError for an output of another job,
    StoreError for one that can't be written, ClusterError for a cluster that can't be used, and the errors of
    `Space.encode` that are no item's fault.
    """
    if to not in get_args(Format):
        raise ValueError(f'to is {to!r:.100}: make it "parquet" or "lance"')
    require_format("part.parquet")  # before anything is encoded
    if ray is not None:
        import_ray()
        source, output = absolute(source), absolute(output)
        actors = None if actors is None else require_positive(actors, "actors", other="None")
    elif actors is not None:
        raise ValueError("actors are processes of a cluster: name one with ray, or leave actors out")
    place = Output(output)
    gathering = Gathering(place) if to == "lance" else None
    loaded = load(space) if isinstance(space, str) else space
    loaded.spec(loaded.key(modality, role))
    job = Job(loaded.id, modality, role, column, key, dim)
    divided = divide(source, modality, sizes or Sizes(), column=column, key=key)
    units = {unit.name(job): unit for unit in divided}
    place.claim(job, loaded.card)
    place.plan(units)
    there = place.names()
    stale = tuple(sorted((there | place.failed_names()) - units.keys()))
    again = _passing(place, there & units.keys()) if retry else set()
    todo = [unit for name, unit in units.items() if name not in there or name in again]
    if gathering is not None:
        gathering.drop(again)
    if ray is None or not todo:
        reports = list(_follow(_run(loaded, todo, job, place), advance))
    else:
        with connect(ray) as cluster:
            reports = list(_follow(_run_on(cluster, loaded, todo, job, place, actors), advance))
    if prune:
        for name in stale:
            place.remove(name)
    if gathering is not None:
        gathering.gather()
    return EmbedReport(
        units=len(units),
        done=len(units) - len(todo),
        encoded=tuple(each for each in reports if not each.error),
        failed=tuple(each for each in reports if each.error),
        stale=stale,
        pruned=prune,
    )


def _follow(reports: Iterable[UnitReport], advance: Advance | None) -> Iterator[UnitReport]:
    for report in reports:
        if advance is not None:
            advance(report)
        yield report


def _run(space: Space, units: Iterable[Unit], job: Job, output: Output) -> Iterator[UnitReport]:
    """Encode units in this process, one after the other."""
    for unit in units:
        yield encode_unit(space, unit, job, output)


def _run_on(
    ray: Any, space: Space, units: Sequence[Unit], job: Job, output: Output, actors: int | None
) -> Iterator[UnitReport]:
    """Encode units on the actors of a cluster that is the same as this process."""
    journey = space.journey()
    key = space.key(job.modality, role_of(job))
    shares = divide_among(ray, journey.runtime["device"], actors)
    require_alike(ray, shares)
    orders = Orders(journey, job, key, output.place, units[0], versions())
    with closing(Dispatch(ray, orders, shares).run(units)) as reports:
        yield from reports


def _passing(output: Output, names: set[str]) -> set[str]:
    """The parts among whose failures are some that may have passed."""
    return {name for name in names if any(each.fault != "content" for each in output.read_failures({name}))}
