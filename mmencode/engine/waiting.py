"""The threads of OpenMP, with which torch computes: how many they are, and how they wait for each other.

By default they spin for milliseconds while they wait. On a machine that is idle otherwise that costs nothing;
beside other processes, or within a quota, it takes the time that the thread needs which is waited for. What
OpenMP's runtime finds in the environment when torch is imported is settled: so a program chooses before that,
and a library can't.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping

from .cores import Cores, count_cores

POLICY, COUNT = "OMP_WAIT_POLICY", "OMP_NUM_THREADS"  # the standard's names, which every runtime reads
# GNU's runtime, which torch brings for Linux, counts how often it looks before it sleeps: 300 000 times if it
# is told nothing, and never if it is passive. Our number takes a fraction of a millisecond, within which the
# next of a short text's many operations begins. On a quiet machine it costs up to some percent, while passive
# threads, which are woken for each operation, cost short texts a third of their speed; beside busy processes
# batches of texts gain a third and more (tests/benchmarks/busy.py).
SPINS, SPIN_COUNT = "GOMP_SPINCOUNT", "10000"
_OTHERS = (SPINS, "KMP_BLOCKTIME", "KMP_LIBRARY")  # what LLVM's and Intel's runtimes have instead
UNSET = "spin for milliseconds, then sleep"


def choose_waiting(
    environment: MutableMapping[str, str] | None = None, cores: Cores | None = None
) -> dict[str, str]:
    """Have torch's threads soon sleep while they wait, and be no more than this process's quota of cores.

    A program that owns its process, such as the command line or a server, calls it when it starts, before
    torch is imported; later it does nothing. What the user has set in the environment stays as it is. How to
    wait is chosen on Linux only, where it was measured. Gives what it put into the environment.
    """
    environment = os.environ if environment is None else environment
    if "torch" in sys.modules:
        return {}
    chosen: dict[str, str] = {}
    if sys.platform == "linux" and describe_waiting(environment) == UNSET:
        chosen[SPINS] = SPIN_COUNT
    cores = cores or count_cores()
    if cores.usable < cores.affinity and COUNT not in environment:
        chosen[COUNT] = str(cores.usable)
    environment.update(chosen)
    return chosen


def describe_waiting(environment: Mapping[str, str]) -> str:
    """Say how OpenMP's threads wait by the environment that torch was imported in."""
    if environment.get(POLICY, "").strip():
        return environment[POLICY].strip().lower()
    return ", ".join(f"{name}={environment[name]}" for name in _OTHERS if name in environment) or UNSET


def find_remedy(
    threads: int, cores: Cores, environment: Mapping[str, str], chosen: Mapping[str, str]
) -> str | None:
    """Say what to set where the threads of programs fight for cores; None where nothing need be set.

    `threads` is the number of torch's in this process, and `chosen` what `choose_waiting` put into its
    environment, which other programs don't have.
    """
    own = {name: value for name, value in environment.items() if name not in chosen}
    needed = {}
    if (cores.affinity if COUNT in chosen else threads) > cores.usable:
        needed[COUNT] = str(cores.usable)
    spins = describe_waiting(own) in ("active", UNSET)
    if spins and min(threads, cores.usable) > 1 and sys.platform == "linux":
        needed[SPINS] = SPIN_COUNT
    if not needed:
        return None
    words = " ".join(f"{name}={value}" for name, value in needed.items())
    here = "; the command line has done so for itself" if needed.items() <= chosen.items() else ""
    return f"set {words} before Python starts, or torch's threads fight for cores that others use{here}"
