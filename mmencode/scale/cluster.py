"""A Ray cluster: connected to, looked at, and divided among actors, before any work is done."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..engine.cores import count_cores
from ..errors.causes import message_of
from ..plugins.packages import import_package
from .actors import ClusterError, require_same, versions

LOCAL = "local"
_ANSWER = 60.0  # seconds for nodes to say what they have; later ones are asked when an actor starts there
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0"}


@dataclass(frozen=True, slots=True)
class Shares:
    """The actors among which a cluster is divided: how many, and the CPUs and GPUs that each has."""

    count: int
    cpus: int
    gpus: int

    @property
    def device(self) -> str:
        """The device of an actor, which sees no other GPU than its own."""
        return "cuda" if self.gpus else "cpu"


def import_ray() -> Any:
    """Import Ray; MissingPackageError where it isn't installed."""
    return import_package("ray", "clusters need ray", "pip install 'mmencode[ray]'")


@contextmanager
def connect(address: str) -> Iterator[Any]:
    """Connect to a cluster, or start one on this machine for "local"; a connection that is there is used.

    ClusterError for a cluster that can't be connected to, such as one of another Ray or Python.
    """
    ray = import_ray()
    if ray.is_initialized():
        _require_connected_to(ray, address)
        yield ray
        return
    asked: dict[str, Any] = {}
    if address == LOCAL:
        asked = {"num_cpus": count_cores().usable, "include_dashboard": False}
    with _signals_kept():
        try:
            with _environment(_QUIET):
                ray.init(address, log_to_driver=False, configure_logging=False, **asked)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as cause:
            ray.shutdown()
            raise ClusterError(
                f"the cluster {address} can't be used: {message_of(cause)}",
                remedy="give the address that `ray status` works with, and install the same Ray and Python "
                'here as there; "local" starts a cluster on this machine',
            ) from cause
        try:
            yield ray
        finally:
            ray.shutdown()


def require_alike(ray: Any, shares: Shares) -> None:
    """Raise ClusterError if a node that may get an actor has another Python or mmencode, or has none."""
    wanted = "GPU" if shares.gpus else "CPU"
    nodes = {node["NodeID"]: node["NodeName"] for node in _nodes(ray) if node["Resources"].get(wanted)}

    def look() -> tuple[str, str]:  # sent by value, since mmencode may not be there
        import platform

        try:
            import mmencode

            found = mmencode.__version__
        except ImportError:
            found = ""
        return ".".join(platform.python_version_tuple()[:2]), found

    task = ray.remote(num_cpus=0, max_retries=0)(look)
    asked = {task.options(scheduling_strategy=_at(node)).remote(): name for node, name in nodes.items()}
    answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_ANSWER) if asked else ([], [])
    for ref in answered:
        try:
            found = ray.get(ref)
        except ray.exceptions.RayError:  # a node that is gone gets no actor
            continue
        require_same(versions(), found, asked[ref])


def divide_among(ray: Any, device: Any, actors: int | None) -> Shares:
    """Divide a cluster: an actor for each GPU or, without any, for each node; or so many actors.

    On GPUs each has its part of the CPUs beside them; on nodes without, as many as the smallest one has.
    `device` is the one that was asked for: "cpu" leaves GPUs alone. ClusterError for a cluster without such
    devices.
    """
    resources = [node["Resources"] for node in _nodes(ray)]
    first = device if isinstance(device, str) else next(iter(device), "auto")
    with_gpu = [each for each in resources if each.get("GPU", 0) >= 1]
    if first.startswith("cuda") or (first == "auto" and with_gpu):
        return _divide_gpus(with_gpu, actors)
    if first not in ("auto", "cpu"):
        raise ClusterError(
            f"device {first!r} can't be had from a cluster",
            remedy='leave device out, or make it "cpu" or "cuda"',
        )
    cpus = [int(each["CPU"]) for each in resources if each.get("CPU", 0) >= 1]
    if not cpus:
        raise ClusterError("the cluster has no CPU", remedy="wait until its nodes are there: `ray status`")
    if actors is None:
        return Shares(len(cpus), min(cpus), 0)
    share = next((k for k in range(max(cpus), 0, -1) if sum(each // k for each in cpus) >= actors), 1)
    return Shares(actors, share, 0)


def is_alive(ray: Any, node: str) -> bool:
    """Whether a node of the cluster is still there."""
    return any(each["NodeID"] == node for each in _nodes(ray))


def _divide_gpus(nodes: Sequence[Mapping[str, float]], actors: int | None) -> Shares:
    if not nodes:
        raise ClusterError(
            "the cluster has no GPU", remedy='make device "cpu", or wait for its nodes: `ray status`'
        )
    count = sum(int(each["GPU"]) for each in nodes) if actors is None else actors
    return Shares(count, min(int(each.get("CPU", 0) // each["GPU"]) for each in nodes), 1)


def _at(node: str) -> Any:
    """Say to Ray that a task is for one node."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node_id=node, soft=False)


def _nodes(ray: Any) -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _require_connected_to(ray: Any, address: str) -> None:
    here = ray.get_runtime_context().gcs_address
    if address not in ("auto", LOCAL, here):
        raise ClusterError(
            f"this process is connected to the cluster {here} already, and not to {address}",
            remedy="end that connection before, by Ray's own shutdown, or name that one",
        )


@contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """Have variables for the processes that are started meanwhile, where they aren't set already."""
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Give SIGTERM back to whom it belonged, since Ray takes it in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
