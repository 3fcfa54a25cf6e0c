"""The benchmark of what an installation brings follows what packages ask for."""

from __future__ import annotations

import sys
from importlib.metadata import Distribution
from pathlib import Path

import pytest

ASKS = {
    "space": ["core>=1", "net", "Sound.Kit[fast]; extra == 'audio'"],
    "core": ["numbers", "torch>=2", "moon; sys_platform == 'moon'"],
    "sound-kit": ["numbers", "quick; extra == 'fast'", "slow; extra == 'thorough'"],
    **{name: [] for name in ("net", "numbers", "quick", "slow", "moon", "unrelated")},
}


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent / "benchmarks")
    import installed

    yield installed
    sys.modules.pop("installed")


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        (["space"], {"space", "core", "net", "numbers"}),
        (["space[audio]"], {"space", "core", "net", "numbers", "sound-kit", "quick"}),
        (["core", "unrelated"], {"core", "numbers", "unrelated"}),
        (["torch"], set()),
    ],
)
def test_closure_names_what_extras_and_markers_of_this_machine_ask_for(installed, asked, names):
    assert installed.closure(asked, ASKS) == names


def test_megabytes_are_those_of_the_files_of_a_distribution(installed, tmp_path):
    (tmp_path / "one-1.dist-info").mkdir()
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "weights.bin").write_bytes(bytes(2_000_000))
    (tmp_path / "one" / "code.py").write_bytes(bytes(500_000))
    (tmp_path / "other.bin").write_bytes(bytes(1_000_000))
    (tmp_path / "one-1.dist-info" / "RECORD").write_text("one/weights.bin,,\none/code.py,,\none/lost.py,,\n")
    found = Distribution.at(tmp_path / "one-1.dist-info")
    assert installed.megabytes(found) == 2.5
    assert installed.megabytes(found, "one/weights") == 2.0
