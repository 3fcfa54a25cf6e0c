"""`mmencode index migrate`."""

from __future__ import annotations

from dataclasses import replace

import elsewhere
import pytest

from mmencode.index.editions import Editions
from mmencode.testing import fake_specs

pytest.importorskip("lancedb", reason="an index is on LanceDB: pip install 'mmencode[index]'")


DEFAULT = tuple(replace(spec, aliases=("default",)) for spec in fake_specs())


@pytest.fixture
def index(run, install, folder, tmp_path):
    """An index of three images and a failure; a second space is installed, too."""
    install(fakes=DEFAULT, others=elsewhere.SPECS)
    run("index", "add", tmp_path / "index", folder)
    return tmp_path / "index"


def test_index_moves_to_another_space_and_back(run, run_json, index):
    before = run_json("index", "info", index)
    assert before["editions"][0]["standing"] == "current"
    done = run_json("index", "migrate", index, "--to", "elsewhere")
    assert (done["encoded"], done["mapped"], done["left_out"]) == (3, 0, [])
    after = run_json("index", "info", index)
    assert after["space"] == done["target"] != before["space"]
    assert (after["rows"], after["failures"]) == (before["rows"], before["failures"])
    assert [each["standing"] for each in after["editions"]] == ["earlier", "current"]
    assert "earlier edition" in run("index", "info", index).stdout
    assert run_json("index", "migrate", index, "--undo") == {"space": before["space"], "rows": 3}
    assert run_json("index", "migrate", index, "--redo")["space"] == after["space"]
    assert run_json("index", "migrate", index, "--forget")["bytes"] > 0
    assert run("index", "migrate", index, "--undo", code=1).stderr.startswith("error: there is no migration")
    assert run_json("search", index, "words")["matches"]


def test_dry_run_says_what_would_happen_and_changes_nothing(run, run_json, index, folder):
    plan = run_json("index", "migrate", index, "--to", "elsewhere", "--dry-run")
    assert (plan["encoded"], plan["lost"], plan["done"]) == ({"image": 3}, [], 0)
    assert plan["seconds"] > 0
    told = run("index", "migrate", index, "--to", "elsewhere", "--dry-run")
    assert told.stdout.splitlines()[-1] == "image\t3\t0\t0"
    assert "encoding would take about" in told.stderr
    assert not (index / "editions").exists()


def test_rows_that_cannot_come_are_listed_and_refused_unless_dropped(run, run_json, index, folder):
    (folder / "a.png").unlink()
    refused = run("index", "migrate", index, "--to", "elsewhere", code=1)
    assert "1 rows can't be brought into elsewhere" in refused.stderr
    assert f"{folder / 'a.png'}\timage\tits file isn't there" in refused.stderr
    assert "--drop" in refused.stderr
    assert Editions.read(index) == Editions()
    done = run_json("index", "migrate", index, "--to", "elsewhere", "--drop")
    assert [row["row"] for row in done["left_out"]] == [str(folder / "a.png")]


def test_same_space_leaves_nothing_to_do(run, index):
    for options in ((), ("--dry-run",)):
        told = run("index", "migrate", index, "--to", "fake", *options)
        assert "there is nothing to do" in told.stderr


def test_what_was_written_since_is_pointed_out_when_undone(run, index, folder):
    run("index", "migrate", index, "--to", "elsewhere")
    assert "--redo" not in run("index", "migrate", index, "--undo").stderr
    run("index", "migrate", index, "--redo")
    (folder / "a.png").rename(folder / "new.png")
    run("index", "add", index, folder)
    assert "--redo goes to it" in run("index", "migrate", index, "--undo").stderr


def test_interrupted_migration_says_how_it_goes_on(run, run_json, index, monkeypatch):
    from typer.testing import CliRunner

    from mmencode.cli import app
    from mmencode.index.moving import Moving

    def interrupt(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Moving, "bring", interrupt)
        ended = CliRunner().invoke(app, ["index", "migrate", str(index), "--to", "elsewhere"])
    assert ended.exit_code in (1, 130)
    assert "the same command goes on" in ended.stderr
    assert run_json("index", "info", index)["editions"][1]["standing"] == "unfinished"
    assert run_json("index", "migrate", index, "--to", "elsewhere")["encoded"] == 3


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--undo", "--redo"),
        ("--to", "elsewhere", "--forget"),
        ("--undo", "--drop"),
        ("--to", "elsewhere", "--pool", "2"),
    ],
)
def test_wrong_options_are_wrong_usage(run, index, options):
    run("index", "migrate", index, *options, code=2)
    assert not (index / "editions").exists()


def test_space_that_is_not_there_and_folder_that_is_no_index_are_named(run, index, tmp_path):
    assert "nowhere" in run("index", "migrate", index, "--to", "nowhere", code=1).stderr
    assert "no index" in run("index", "migrate", tmp_path / "none", "--to", "fake", code=1).stderr
