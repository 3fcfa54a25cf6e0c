"""Units are handed to actors of a cluster one by one, and those of actors that die to others."""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any

from ..errors import EncoderError, InputError
from ..errors.causes import describe_error
from .actors import Orders, RemoteActor
from .cluster import Shares, is_alive
from .encoding import UnitReport, fail_unit
from .output import Output
from .units import Unit

_DEATHS = 3  # of actors by one unit, or of actors in a row before they were ready
_LOSSES = 10  # of a unit's actors with their nodes, which says little about the unit
_DOUBTS = 60  # times that an actor which doesn't answer is asked whether it is alive, about a second each
_PATIENCE = 60.0  # seconds until it is said that the cluster has no place for an actor


@dataclass(slots=True)
class _Task:
    unit: Unit
    deaths: int = 0
    losses: int = 0


@dataclass(slots=True, eq=False)
class _Lane:
    """An actor on its way: it starts, has a task, waits for one, or is in doubt.

    where   the answer to the question on which node it is
    doubts  how often it was asked whether it is alive
    """

    actor: Any
    where: Any
    task: _Task | None = None
    ready: bool = False
    doubts: int = 0
    since: float = 0.0


class Dispatch:
    """Run units on actors: one at a time on each, so that a death concerns the unit that it interrupts.

    Ray restarts and retries nothing by itself. The actor of a unit that died is replaced, and its unit goes
    to the next one that is free; after three deaths it is recorded as failed, and the run goes on. Where a
    whole node was lost, units that it had are tried up to ten times. Errors that aren't the fault of a unit
    end the run, as they end the local one.
    """

    def __init__(self, ray: Any, orders: Orders, shares: Shares) -> None:
        self._ray, self._shares, self._job = ray, shares, orders.job
        self._output = Output(orders.output)
        self._orders = ray.put(orders)
        self._class = ray.remote(
            num_cpus=shares.cpus,
            num_gpus=shares.gpus,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
        )(RemoteActor)
        self._count = shares.count
        self._waiting: deque[_Task] = deque()
        self._idle: list[_Lane] = []
        self._busy: dict[Any, _Lane] = {}  # by what is awaited from it
        self._falls = 0  # actors in a row that died before they were ready
        self._warned = False

    def run(self, units: Iterable[Unit]) -> Generator[UnitReport, None, None]:
        """Encode units in any order; gives the report of each as soon as it is there."""
        self._waiting.extend(map(_Task, units))
        try:
            while self._waiting or any(lane.task for lane in self._busy.values()):
                self._assign()
                done, _ = self._ray.wait(list(self._busy), timeout=_PATIENCE / 4)
                for ref in done:
                    report = self._settle(ref, self._busy.pop(ref))
                    if report is not None:
                        yield report
                if not done:
                    self._warn_of_want()
        finally:
            for lane in [*self._idle, *self._busy.values()]:
                self._kill(lane)

    def _assign(self) -> None:
        """Hand tasks to actors that wait, and start others while there are more tasks than are coming."""
        while self._waiting and self._idle:
            lane = self._idle.pop()
            lane.task = self._waiting.popleft()
            self._busy[lane.actor.encode.remote(lane.task.unit)] = lane
        starting = sum(not lane.ready for lane in self._busy.values())
        room = self._count - len(self._idle) - len(self._busy)
        for _ in range(min(room, len(self._waiting) - starting)):
            actor = self._class.remote()
            lane = _Lane(actor, actor.node.remote(), since=time.monotonic())
            self._busy[actor.start.remote(self._orders, self._shares.device)] = lane

    def _settle(self, ref: Any, lane: _Lane) -> UnitReport | None:
        """Take what an actor gave, or find out what became of it."""
        errors = self._ray.exceptions
        try:
            found = self._ray.get(ref)
        except errors.RayTaskError as error:
            self._kill(lane)
            cause = getattr(error, "cause", None)
            if isinstance(cause, Exception):
                raise cause from error
            raise EncoderError(f"an actor failed: {describe_error(error)}") from error
        except errors.ActorUnavailableError:
            return self._doubt(lane)
        except errors.RayError as error:
            return self._bury(lane, error)
        if lane.doubts:  # it is alive, but what it was asked for is lost
            return self._bury(lane, None)
        report: UnitReport | None = found
        lane.ready, lane.task, self._falls = True, None, 0
        self._idle.append(lane)
        return report

    def _doubt(self, lane: _Lane) -> UnitReport | None:
        """Ask an actor that can't be reached whether it is alive, which tells a slow answer from a death."""
        lane.doubts += 1
        if lane.doubts > _DOUBTS:
            return self._bury(lane, None)
        self._busy[lane.actor.node.remote()] = lane
        return None

    def _bury(self, lane: _Lane, error: Exception | None) -> UnitReport | None:
        """Let an actor go that died, or that was lost without an error, and see to its task."""
        self._kill(lane)  # so that it can't write when another one does
        died = error is not None and not self._is_lost(lane)
        if lane.task is None:
            if died:
                self._fall(error)
            return None
        task = lane.task
        task.deaths += died
        task.losses += not died
        if task.deaths < _DEATHS and task.losses < _LOSSES:
            self._waiting.append(task)
            return None
        count, what = (task.deaths, "") if died else (task.losses, " with its node")
        cause = InputError(
            f"the process that encoded it died {count} times{what}: {_reason(error)}",
            source=str(task.unit),
            remedy="look for the item that does this, by smaller units, or for memory that was missing",
            fault="process",
        )
        return fail_unit(task.unit, self._job, self._output, cause)

    def _fall(self, error: Exception | None) -> None:
        """Count an actor that died before it was ready; do with fewer if three did in a row."""
        self._falls += 1
        if self._falls < _DEATHS:
            return
        self._falls = 0
        self._count -= 1
        if not self._count:
            raise EncoderError(
                f"the processes of the cluster die while the encoder is loaded: {_reason(error)}",
                remedy="load it in one process of such a node, which shows why; often memory is missing",
            )
        warnings.warn(
            f"{_DEATHS} actors died while the encoder was loaded: the run goes on with {self._count}",
            RuntimeWarning,
            stacklevel=2,
        )

    def _is_lost(self, lane: _Lane) -> bool:
        """Whether an actor is gone with its node; not if it died before it could say on which one it was."""
        try:
            return not is_alive(self._ray, str(self._ray.get(lane.where, timeout=0)))
        except self._ray.exceptions.RayError:
            return False

    def _has_place(self, lane: _Lane) -> bool:
        return bool(self._ray.wait([lane.where], timeout=0)[0])

    def _warn_of_want(self) -> None:
        """Say once that actors wait for a place in the cluster."""
        late = [
            lane
            for lane in self._busy.values()
            if not lane.ready and time.monotonic() - lane.since > _PATIENCE and not self._has_place(lane)
        ]
        if late and not self._warned:
            self._warned = True
            asked = f"{self._shares.cpus} CPUs" + (
                f" and {self._shares.gpus} GPU" if self._shares.gpus else ""
            )
            warnings.warn(
                f"{len(late)} of {self._count} actors wait for a place in the cluster: each needs {asked}, "
                "which others may have; `ray status` shows that. The run goes on with those that have one",
                RuntimeWarning,
                stacklevel=2,
            )

    def _kill(self, lane: _Lane) -> None:
        self._ray.kill(lane.actor, no_restart=True)


def _reason(error: Exception | None) -> str:
    """The first line of what a cluster says of a death; the last one where code of ours raised an error."""
    lines = [line.strip() for line in str(error or "").splitlines() if line.strip()] or ["it was lost"]
    return lines[-1 if "creation task" in lines[0] else 0]
