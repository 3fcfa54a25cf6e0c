"""How many cores a process may use, and that what mmencode computes takes no more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmencode.engine.cores import Cores, count_cores
from mmencode.engine.memory import CAPACITY, keep_few_operations
from mmencode.engine.waiting import UNSET, choose_waiting, describe_waiting, find_remedy

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="control groups and affinity are Linux's")


def _groups(folder: Path, membership: str, **files: str) -> tuple[Path, Path]:
    """A fake of mounted control groups: membership is the text of /proc/self/cgroup, files path=content."""
    for name, content in files.items():
        path = folder / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (folder / "membership").write_text(membership)
    return folder / "fs", folder / "membership"


@pytest.mark.parametrize(
    ("membership", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        (
            "0::/a/b\n",
            {"cpu.max": "300000 100000", "a/cpu.max": "50000 100000", "a/b/cpu.max": "max 100000"},
            0.5,
        ),
        ("0::/a\n", {"a/cpu.max": "200000 100000", "b/cpu.max": "1000 100000"}, 2.0),
        ("0::/docker/1\n", {"cpu.max": "250000 100000"}, 2.5),  # a container, with the host's path
        ("0::/../1\n", {"cpu.max": "250000 100000"}, 2.5),
        ("0::/a\n", {"unified/a/cpu.max": "100000 50000"}, 2.0),
        (
            "4:cpu,cpuacct:/a\n0::/\n",
            {"cpu,cpuacct/a/cpu.cfs_quota_us": "75000", "cpu,cpuacct/a/cpu.cfs_period_us": "50000"},
            1.5,
        ),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ("1:cpuset:/\n", {"cpu/cpu.cfs_quota_us": "1000\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ("0::/\n", {"cpu.max": "nonsense"}, None),
        ("nonsense\n", {}, None),
    ],
)
def test_quota_is_the_least_of_all_groups_that_the_process_is_in(tmp_path, membership, files, quota):
    assert count_cores(*_groups(tmp_path, membership, **files)).quota == quota


def test_system_without_control_groups_has_no_quota(tmp_path):
    assert count_cores(tmp_path / "none", tmp_path / "nowhere").quota is None


@pytest.mark.parametrize(
    ("cores", "usable"),
    [(Cores(8), 8), (Cores(8, 2.9), 2), (Cores(8, 0.5), 1), (Cores(2, 16.0), 2), (Cores(1, 1.0), 1)],
)
def test_usable_cores_exceed_neither_affinity_nor_quota_and_are_at_least_one(cores, usable):
    assert cores.usable == usable


@pytest.fixture
def before_torch(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")


@pytest.mark.usefixtures("before_torch")
@pytest.mark.parametrize(
    "own", [{"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "7"}, {"KMP_BLOCKTIME": "0"}]
)
def test_what_the_user_has_set_stays(own):
    environment = own | {"OMP_NUM_THREADS": "3"}
    assert choose_waiting(environment, Cores(8, 2.0)) == {}
    assert environment == own | {"OMP_NUM_THREADS": "3"}


@pytest.mark.usefixtures("before_torch")
def test_program_of_its_own_chooses_to_sleep_soon_and_to_keep_its_quota():
    environment: dict[str, str] = {}
    assert choose_waiting(environment, Cores(8, 2.5)) == environment
    assert environment == {"GOMP_SPINCOUNT": "10000", "OMP_NUM_THREADS": "2"}
    assert choose_waiting({}, Cores(8)) == {"GOMP_SPINCOUNT": "10000"}


def test_nothing_is_chosen_once_torch_is_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", object())
    assert choose_waiting({}, Cores(8, 2.0)) == {}
    environment: dict[str, str] = {}
    keep_few_operations(environment)
    assert environment == {}


@pytest.mark.usefixtures("before_torch")
@pytest.mark.parametrize(("own", "kept"), [({}, "256"), ({CAPACITY: "7"}, "7")])
def test_a_server_keeps_few_operations_unless_the_user_says_how_many(own, kept):
    keep_few_operations(own)
    assert own == {CAPACITY: kept}


def test_policy_that_was_not_measured_is_not_chosen(before_torch, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert choose_waiting({}, Cores(8)) == {}


def test_waiting_is_told_in_the_users_own_words():
    assert describe_waiting({}) == UNSET
    assert describe_waiting({"OMP_WAIT_POLICY": " PASSIVE", "GOMP_SPINCOUNT": "9"}) == "passive"
    assert describe_waiting({"GOMP_SPINCOUNT": "9"}) == "GOMP_SPINCOUNT=9"


@pytest.mark.usefixtures("before_torch")
@pytest.mark.parametrize(
    ("threads", "cores", "own", "chosen", "words"),
    [
        (2, Cores(2), {"OMP_WAIT_POLICY": "passive"}, {}, ()),
        (1, Cores(1), {}, {}, ()),
        (2, Cores(2), {"OMP_WAIT_POLICY": "active"}, {}, ("set GOMP_SPINCOUNT=10000 before",)),
        (8, Cores(8, 2.0), {"GOMP_SPINCOUNT": "1"}, {}, ("set OMP_NUM_THREADS=2 before",)),
        (2, Cores(2), {}, {"GOMP_SPINCOUNT": "10000"}, ("GOMP_SPINCOUNT=10000", "done so for itself")),
        (
            *(2, Cores(8, 2.0), {}, {"GOMP_SPINCOUNT": "10000", "OMP_NUM_THREADS": "2"}),
            ("set OMP_NUM_THREADS=2 GOMP_SPINCOUNT=10000 before", "done so for itself"),
        ),
        (1, Cores(8, 0.5), {}, {"GOMP_SPINCOUNT": "10000", "OMP_NUM_THREADS": "1"}, ("OMP_NUM_THREADS=1 b",)),
    ],
)
def test_remedy_names_what_to_set_where_threads_fight(threads, cores, own, chosen, words):
    found = find_remedy(threads, cores, own | chosen, chosen)
    assert bool(found) == bool(words)
    assert all(word in found for word in words)
    assert ("done so for itself" in (found or "")) == bool(chosen)


COMMAND = """
import json, os, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
sys.argv = ["mmencode", "info", "--json"]
from mmencode.cli import main
main()
"""


@LINUX
def test_process_on_one_core_uses_one():
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP", "GOMP"))}
    done = subprocess.run(
        [sys.executable, "-c", COMMAND],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    facts = json.loads(done.stdout)
    assert facts["threads"] == {
        "cores_by_affinity": 1,
        "cores_by_quota": count_cores().quota,
        "torch": 1,
        "wait_policy": "GOMP_SPINCOUNT=10000",
        "remedy": None,
    }
    assert facts["auto"]["workers"].startswith("1 thread ")
