"""An actor encodes the units of a job that it is given, in a process of a cluster, on a device of its own."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from .._version import __version__
from ..errors import InputError, MmencodeError
from ..spaces.space import Space
from ..spaces.travelling import Journey
from .encoding import UnitReport, encode_unit
from .output import Output
from .sources import require_there
from .units import Job, Unit


class ClusterError(MmencodeError):
    """A cluster can't do the work: it isn't there, or has another mmencode, Python or storage."""


@dataclass(frozen=True, slots=True)
class Orders:
    """The orders of an actor: what to encode with, for which job, and what must be the same where it is.

    witness  a unit of the source, which an actor must see
    key      of the encoder that the job needs
    """

    journey: Journey
    job: Job
    key: str
    output: str
    witness: Unit
    versions: tuple[str, str]

    def carry_out(self, device: str, cores: int) -> UnitActor:
        """Load the space and warm it here; ClusterError or IdentityError where this isn't the same place."""
        require_same(self.versions, versions(), platform.node())
        output = Output(self.output)
        try:
            require_there(self.witness)
            if output.read_job() != self.job:
                raise InputError("job.json isn't in it", source=self.output)
        except InputError as cause:
            raise ClusterError(
                f"{platform.node()} can't see {cause.source}: {cause.fact}",
                remedy="name a source and an output that all machines of the cluster share, such as s3://...",
            ) from cause
        space: Space = self.journey.arrive(device, cores)
        space.warm(self.key)
        return UnitActor(space, self.job, output)


class UnitActor:
    """A space that is warm, which encodes one unit after another."""

    def __init__(self, space: Space, job: Job, output: Output) -> None:
        self._space, self._job, self._output = space, job, output

    def encode(self, unit: Unit) -> UnitReport:
        """Encode a unit, as every engine does."""
        return encode_unit(self._space, unit, self._job, self._output)


class RemoteActor:
    """The actor as a cluster sees it: made in no time, so that what goes wrong later says so by itself."""

    def __init__(self) -> None:
        self._actor: UnitActor | None = None

    def node(self) -> str:
        """Say on which node of the cluster this is."""
        import ray

        return str(ray.get_runtime_context().get_node_id())

    def start(self, orders: Orders, device: str) -> None:
        """Load what the orders need, with as many threads as the cluster assigned cores."""
        import ray
        import torch

        assigned = ray.get_runtime_context().get_assigned_resources()
        cores = max(1, int(assigned.get("CPU", 1)))
        torch.set_num_threads(cores)
        self._actor = orders.carry_out(device, cores)

    def encode(self, unit: Unit) -> UnitReport:
        """Encode a unit with what `start` loaded."""
        assert self._actor is not None
        return self._actor.encode(unit)


def versions() -> tuple[str, str]:
    """Find what must be the same everywhere: Python's version without its last number, and mmencode's."""
    return ".".join(platform.python_version_tuple()[:2]), __version__


def require_same(here: tuple[str, str], there: tuple[str, str], node: str) -> None:
    """Raise ClusterError for a node with other versions than those here."""
    for name, mine, theirs in zip(("Python", "mmencode"), here, there, strict=True):
        if mine != theirs:
            raise ClusterError(
                f"{name} is {theirs or 'missing'} on the node {node} of the cluster, and {mine} here",
                remedy="install the same Python, mmencode and plugins on all of its machines",
            )
