"""The cores that this process may use: by affinity, and by the quota of its control groups."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import floor
from pathlib import Path

CONTROL_GROUPS, MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


@dataclass(frozen=True, slots=True)
class Cores:
    """The cores of a process: how many it may run on, and how many's time it may take, None for all of it."""

    affinity: int
    quota: float | None = None

    @property
    def usable(self) -> int:
        """The threads that can compute at once without being stopped: one where the quota is below a core."""
        return self.affinity if self.quota is None else max(1, min(self.affinity, floor(self.quota)))


def count_cores(groups: Path | None = None, membership: Path | None = None) -> Cores:
    """Count the cores of this process, as they are now.

    `groups` is where control groups are mounted, `membership` the file that says which ones this process is
    in. A system without them, or one that doesn't let them be read, has no quota.
    """
    try:
        affinity = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity
        affinity = os.cpu_count() or 1
    quotas = [
        quota
        for folder in _folders(groups or CONTROL_GROUPS, membership or MEMBERSHIP)
        if (quota := _quota(folder)) is not None
    ]
    return Cores(affinity, min(quotas, default=None))


def _folders(groups: Path, membership: Path) -> Iterator[Path]:
    """The folders of this process's groups that may hold a quota of cores, with all that they lie in.

    Each of these bounds what is within it. In a container the path may be the host's, of which nothing is
    mounted but the last group, as if it were the root.
    """
    try:
        lines = membership.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if number == "0" and not names:  # version 2, alone or beside version 1
            roots = [groups, groups / "unified"]
        elif "cpu" in names.split(","):
            roots = [groups / names, groups / "cpu"]
        else:
            continue
        parts = [part for part in path.split("/") if part and part != ".."]
        for root in roots:
            yield from (root.joinpath(*parts[:depth]) for depth in range(len(parts) + 1))


def _quota(folder: Path) -> float | None:
    """The cores whose time a group may take, by version 2's file or by version 1's; None for no bound."""
    with suppress(OSError, ValueError):
        limit, period = (folder / "cpu.max").read_text().split()
        return None if limit == "max" else _ratio(int(limit), int(period))
    with suppress(OSError, ValueError):
        limit, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return _ratio(int(limit), int(period))
    return None


def _ratio(limit: int, period: int) -> float | None:
    return limit / period if limit > 0 and period > 0 else None
