"""Units of work: a part of a source that becomes one part of the output, and the job that they belong to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["files", "fragment", "lines", "rows", "table", "tar"]


@dataclass(frozen=True, slots=True)
class File:
    """A file of a source: its path or address, its name below the source, its size, and what changes with it.

    etag  as its storage says it; on a disk, the time of its last change
    """

    path: str
    name: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Unit:
    """A part of a source that is encoded as a whole, small enough to travel to another machine.

    kind    "files": items that are files; "lines": bytes of a file with JSON lines; "rows": a group of
            rows of a Parquet file; "table": a CSV file; "tar": an archive of items; "fragment": one of a
            Lance dataset
    files   those that it reads; all but the first kind have one
    start   and `stop`: the bytes of "lines", or the numbers of the rows of "rows"
    group   the number of the group of rows, or of the fragment
    """

    kind: Kind
    files: tuple[File, ...]
    start: int = 0
    stop: int = 0
    group: int = 0

    def name(self, job: Job) -> str:
        """Name the part of the output: by a hash of everything that its vectors depend on."""
        files = [[file.name, file.size, file.etag] for file in self.files]
        return _hash([self.kind, files, self.start, self.stop, self.group, job.digest])

    def __str__(self) -> str:
        first = self.files[0].name
        if self.kind == "files":
            return f"{len(self.files)} files from {first}"
        if self.kind == "lines":
            return f"bytes {self.start} to {self.stop} of {first}"
        if self.kind == "fragment":
            return f"fragment {self.group} of {first}"
        return f"rows {self.start} to {self.stop} of {first}" if self.kind == "rows" else first


@dataclass(frozen=True, slots=True)
class Job:
    """The settings that every vector of an output depends on: never the device, the threads or the engine.

    space   the id of the space
    column  of tables, with the items, and `key`, with their keys; "" for the usual ones
    dim     to which vectors are cut; None for all
    """

    space: str
    modality: str
    role: str = ""
    column: str = ""
    key: str = ""
    dim: int | None = None

    @property
    def digest(self) -> str:
        """The hash of all settings."""
        return _hash(asdict(self))

    def differences(self, other: Job) -> list[str]:
        """List the settings that differ, each with both values."""
        mine, theirs = asdict(self), asdict(other)
        return [
            f"{name} is {theirs[name]!r}, not {mine[name]!r}" for name in mine if mine[name] != theirs[name]
        ]

    def to_text(self) -> str:
        """Write the settings as JSON."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    @staticmethod
    def from_text(text: str) -> Job:
        """Read what `to_text` wrote; ValueError for anything else."""
        found = json.loads(text)
        if not isinstance(found, dict) or set(found) != set(Job.__slots__):
            raise ValueError("it isn't the description of a job")
        return Job(**found)


def group_files(files: Sequence[File], count: int) -> list[tuple[File, ...]]:
    """Divide sorted files into groups of about `count`, so that a new file changes one group only.

    A group ends behind a file whose name's hash says so, which happens once in `count` files on average, and
    at four times as many.
    """
    groups: list[tuple[File, ...]] = []
    held: list[File] = []
    for file in files:
        held.append(file)
        ends = (
            int(hashlib.sha256(file.name.encode(errors="surrogateescape")).hexdigest()[:12], 16) % count == 0
        )
        if ends or len(held) == 4 * count:
            groups.append(tuple(held))
            held = []
    return [*groups, tuple(held)] if held else groups


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:32]
