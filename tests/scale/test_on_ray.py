"""On a real cluster of several nodes every key is in vectors or failures once, whatever is killed, and when.

Encoders wait where a test wants to kill something (held_encoder.py), so that no moment depends on a clock.
Ten moments of each are tried with MMENCODE_RAY_MOMENTS=10, and fewer by default.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ray", reason="ray: .ci/run hosts installs it")
import held_encoder
import ray
from ray.cluster_utils import Cluster

from mmencode import Embeddings, Space
from mmencode.engine.runtime import Runtime
from mmencode.errors import IdentityError
from mmencode.scale import ClusterError, Sizes, embed

pytestmark = [pytest.mark.hosts, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

HERE = Path(__file__).parent
BOUND = 120  # seconds for whatever is waited for, on a machine with much else to do
MOMENTS = int(os.environ.get("MMENCODE_RAY_MOMENTS", "2"))
ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "OMP_NUM_THREADS": "",  # Ray says how many
    # Who was killed refuses connections, which counts at once; who is slow has a minute to answer.
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "60000",
    "RAY_health_check_failure_threshold": "5",
}


@contextmanager
def environment(**variables):
    before = {name: os.environ.get(name) for name in variables}
    for name, value in variables.items():
        os.environ[name] = value
        if not value:
            del os.environ[name]
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@pytest.fixture(scope="module")
def cluster():
    """A cluster of a head without CPUs and two nodes with one each, which this process is connected to."""
    with environment(**ENVIRONMENT):
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            made.add_node(num_cpus=1)
            made.add_node(num_cpus=1)
            ray.init(made.address, log_to_driver=False, configure_logging=False)
            yield made
        finally:
            ray.shutdown()
            made.shutdown()


@pytest.fixture(scope="module")
def space():
    with Space("held", [held_encoder.spec()], runtime=Runtime("cpu")) as made:
        yield made


def wait_for(condition, what):
    end = time.monotonic() + BOUND
    while not (found := condition()):
        assert time.monotonic() < end, f"{what} took more than {BOUND} seconds"
        time.sleep(0.05)
    return found


class Run:
    """A run in a thread, whose items hold it."""

    def __init__(self, space, source, out, **options):
        self.reports = []
        self.result = self.error = None
        options = {"ray": "auto", "actors": 2, "sizes": Sizes(bytes=1), "space": space, **options}
        self._call = lambda: embed(str(source), str(out), "text", advance=self.reports.append, **options)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            self.result = self._call()
        except BaseException as error:
            self.error = error

    def end(self):
        self._thread.join(BOUND)
        assert not self._thread.is_alive(), "the run doesn't end"
        if self.error is not None:
            raise self.error
        return self.result

    def pid_at(self, folder):
        """The number of the process that an item holds, once it does."""
        return pid_at(folder, lambda: self._thread.is_alive(), self)


def pid_at(folder, is_running, run=None):
    def look():
        if (folder / "pid").exists():
            return int((folder / "pid").read_text())
        assert is_running(), f"the run ended before: {run and run.error!r}"
        return None

    return wait_for(look, f"{folder.name} to be reached")


def rows_of(tmp_path, count, texts=()):
    """Rows k0 to kN as a table; `texts` replaces those of some."""
    rows = [{"key": f"k{n}", "text": f"word {n}"} for n in range(count)]
    for place, text in dict(texts).items():
        rows[place]["text"] = text
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def vectors_of(out):
    found = {}
    for path in (out / "vectors").glob("*"):
        part = Embeddings.load(path)
        for key, vector in zip(part.keys, part.vectors, strict=True):
            assert key not in found, f"{key} is in several parts"
            found[key] = vector
    return found


def failures_of(out):
    paths = (out / "failures").glob("*")
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def assert_whole(out, count, blank=()):
    """Every key is in vectors or failures, once."""
    failed = sorted(failure["key"] for failure in failures_of(out))
    assert failed == sorted(f"k{n}" for n in blank)
    assert sorted(vectors_of(out)) == sorted({f"k{n}" for n in range(count)} - set(failed))


def holds(tmp_path, count, rows=24):
    """So many of the rows hold, in turn before their unit is encoded and before it is written."""
    places = [1 + place * (rows - 2) // max(1, count) for place in range(count)]
    words = itertools.cycle(("hold", "hold-saving"))
    return [(place, f"{next(words)} {tmp_path / f'moment{place}'}") for place in places]


def folder_of(text):
    return Path(text.partition(" ")[2])


def node_of(cluster, pid):
    """The node of the cluster whose raylet started a process."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    parent = int(stat.rpartition(")")[2].split()[1])
    (found,) = [
        node
        for node in cluster.list_all_nodes()
        if parent in [each.process.pid for each in node.all_processes["raylet"]]
    ]
    return found


def test_64_tiny_files_use_both_actors_of_a_cluster_with_as_many_cpus(cluster, space, tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    held = [tmp_path / "one", tmp_path / "other"]
    texts = {0: f"hold {held[0]}", 1: f"hold {held[1]}", 63: ""}
    for n in range(64):
        row = {"key": f"k{n}", "text": texts.get(n, f"word {n}")}
        (folder / f"{n:02}.jsonl").write_text(json.dumps(row) + "\n")
    run = Run(space, folder, tmp_path / "out")
    pids = {run.pid_at(each) for each in held}  # both hold at once
    threads = [(each / "threads").read_text() for each in held]
    for each in held:
        (each / "go").touch()
    report = run.end()
    assert len(pids) == 2
    assert threads == ["1", "1"]  # what Ray assigned, of all the cores here
    assert (report.units, report.vectors, report.failures, report.failed) == (64, 63, 1, ())
    assert_whole(tmp_path / "out", 64, blank=[63])
    embed(str(folder), str(tmp_path / "local"), "text", space=space)
    on_ray, local = vectors_of(tmp_path / "out"), vectors_of(tmp_path / "local")
    assert on_ray.keys() == local.keys()
    for key, vector in local.items():
        np.testing.assert_array_equal(on_ray[key], vector)
    assert {path.name for path in (tmp_path / "out" / "vectors").iterdir()} == {
        path.name for path in (tmp_path / "local" / "vectors").iterdir()
    }
    assert embed(str(folder), str(tmp_path / "out"), "text", space=space, ray="auto").done == 64


def test_actors_that_are_killed_lose_and_double_nothing(cluster, space, tmp_path):
    moments = holds(tmp_path, MOMENTS)
    source = rows_of(tmp_path, 24, [*moments, (23, "")])
    run = Run(space, source, tmp_path / "out")
    for _, text in moments:
        os.kill(run.pid_at(folder_of(text)), signal.SIGKILL)
    report = run.end()
    assert (report.vectors, report.failures, report.failed) == (23, 1, ())
    assert_whole(tmp_path / "out", 24, blank=[23])


def test_nodes_that_are_killed_lose_and_double_nothing(cluster, space, tmp_path):
    moments = holds(tmp_path, MOMENTS)
    source = rows_of(tmp_path, 24, [*moments, (23, "")])
    run = Run(space, source, tmp_path / "out")
    for _, text in moments:
        node = node_of(cluster, run.pid_at(folder_of(text)))
        with environment(**ENVIRONMENT):
            cluster.remove_node(node, allow_graceful=False)
            cluster.add_node(num_cpus=1)
    report = run.end()
    assert (report.vectors, report.failures, report.failed) == (23, 1, ())
    assert_whole(tmp_path / "out", 24, blank=[23])


DRIVER = """
import sys
import held_encoder
from mmencode import Space
from mmencode.engine.runtime import Runtime
from mmencode.scale import Sizes, embed

space = Space("held", [held_encoder.spec()], runtime=Runtime("cpu"))
embed(sys.argv[1], sys.argv[2], "text", space=space, sizes=Sizes(bytes=1), ray=sys.argv[3], actors=2)
"""


def test_drivers_that_are_killed_go_on_where_they_were(cluster, space, tmp_path):
    moments = holds(tmp_path, max(1, MOMENTS // 2 if MOMENTS < 10 else MOMENTS))
    source = rows_of(tmp_path, 24, [*moments, (23, "")])
    command = [sys.executable, "-c", DRIVER, str(source), str(tmp_path / "out"), cluster.address]
    with environment(**ENVIRONMENT):
        for _, text in moments:
            process = subprocess.Popen(command)
            try:
                pid_at(folder_of(text), lambda process=process: process.poll() is None)
            finally:
                process.kill()
                process.wait(BOUND)
    report = Run(space, source, tmp_path / "out").end()
    assert report.units == 24
    assert report.done + len(report.encoded) == 24
    assert_whole(tmp_path / "out", 24, blank=[23])


def test_a_unit_whose_actor_dies_three_times_is_recorded_and_the_others_go_on(cluster, space, tmp_path):
    source = rows_of(tmp_path, 8, {2: "die"})
    run = Run(space, source, tmp_path / "out")
    report = run.end()
    assert (report.vectors, report.failures) == (7, 0)
    (failed,) = report.failed
    assert "died 3 times" in failed.error
    (failure,) = failures_of(tmp_path / "out")
    assert (failure["key"], failure["fault"]) == (None, "process")
    assert sorted(vectors_of(tmp_path / "out")) == [f"k{n}" for n in range(8) if n != 2]
    assert run.reports[-1].error  # it was tried after others, which didn't wait for it
    rows_of(tmp_path, 8)  # the item is mended, and its unit and those behind it are others now
    assert Run(space, source, tmp_path / "out", prune=True, actors=1).end().failed == ()
    assert_whole(tmp_path / "out", 8)


def test_two_runs_on_one_output_at_once_lose_and_double_nothing(cluster, space, tmp_path):
    texts = [(0, f"hold {tmp_path / 'one'}"), (11, "")]
    source = rows_of(tmp_path, 12, texts)
    first = Run(space, source, tmp_path / "out", actors=1)
    first.pid_at(tmp_path / "one")
    second = Run(space, source, tmp_path / "out", actors=1).end()
    (tmp_path / "one" / "go").touch()
    assert first.end().vectors == second.vectors == 11
    assert_whole(tmp_path / "out", 12, blank=[11])


def test_a_node_with_other_weights_is_refused_before_it_encodes(cluster, space, tmp_path):
    with environment(**ENVIRONMENT, HELD_GAIN="2"):
        node = cluster.add_node(num_cpus=1)
    source = rows_of(tmp_path, 6, {n: f"hold {tmp_path / f'{n}'}" for n in range(4)})
    try:
        with pytest.raises(IdentityError, match="is another one in this process"):
            Run(space, source, tmp_path / "out", actors=3).end()
    finally:
        cluster.remove_node(node, allow_graceful=False)
    assert vectors_of(tmp_path / "out").keys() <= {"k4", "k5"}  # those of the nodes with the right weights


OTHER = """
import sys, types

sys.modules["mmencode"] = types.ModuleType("mmencode")
sys.modules["mmencode"].__version__ = "9.9"
"""


def test_a_node_with_another_mmencode_is_refused_before_any_work(cluster, space, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "sitecustomize.py").write_text(OTHER)
    with environment(**{**ENVIRONMENT, "PYTHONPATH": f"{other}:{ENVIRONMENT['PYTHONPATH']}"}):
        node = cluster.add_node(num_cpus=1)
    try:
        with pytest.raises(ClusterError, match=r"mmencode is 9\.9 on the node"):
            Run(space, rows_of(tmp_path, 2), tmp_path / "out").end()
    finally:
        cluster.remove_node(node, allow_graceful=False)
    assert not (tmp_path / "out" / "vectors").exists()


def test_a_place_that_the_machines_dont_share_is_refused_before_any_work(cluster, space, tmp_path):
    with pytest.raises(ClusterError, match="can't see memory://"):
        Run(space, rows_of(tmp_path, 2), "memory://bucket/out").end()


def test_the_command_starts_a_cluster_of_its_own_and_prints_one_document(tmp_path):
    pytest.importorskip("mmencode_offline", reason="embeds in the default space")
    source = rows_of(tmp_path, 6, {5: ""})
    command = [sys.executable, "-m", "mmencode.cli", "embed", str(source), "-m", "text"]
    command += ["-o", str(tmp_path / "out"), "--unit-bytes", "1", "--ray", "local", "--actors", "1", "--json"]
    with environment(**ENVIRONMENT):
        done = subprocess.run(command, stdout=subprocess.PIPE, timeout=2 * BOUND, cwd=tmp_path)
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert (found["units"], found["vectors"], found["failures"]) == (6, 5, 1)
    assert_whole(tmp_path / "out", 6, blank=[5])
