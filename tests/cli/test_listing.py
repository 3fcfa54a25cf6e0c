from __future__ import annotations

from dataclasses import replace

from mmencode.errors import PluginError
from mmencode.spec import EncoderSpec
from mmencode.testing import fake_specs

FAMILY = EncoderSpec(name="lib/*", modality="image", target="p:f", licence="each its own")
LACKING = EncoderSpec(
    name="ears",
    modality="audio",
    target="p:f",
    dim=4,
    requires=("no-such-package>=1",),
    install="pip install ears",
)


def test_encoders_are_listed_with_space_distribution_and_state(run, install, run_json):
    install(fakes=fake_specs(), other=(FAMILY, LACKING))
    rows = {row["name"]: row for row in run_json("list")}
    assert list(rows) == ["ears", "fake/audio", "fake/image", "fake/text", "lib/*"]
    assert rows["fake/text"]["space"] == "fake"
    assert rows["fake/text"]["state"] == "ok"
    assert rows["lib/*"]["dim"] is None
    assert rows["ears"]["state"] == "no-such-package>=1 isn't installed"
    assert rows["ears"]["remedy"] == "pip install ears"
    assert "isn't installed: pip install ears" in run("list").stdout


def test_piped_list_is_tab_separated_lines_under_a_header(run):
    lines = run("list").stdout.splitlines()
    assert lines[0].split("\t")[:3] == ["name", "modality", "space"]
    assert lines[1].split("\t")[:4] == ["fake/audio", "audio", "fake = default", "8"]
    assert len(lines) == 4


def test_list_on_a_terminal_is_a_table(run, terminal):
    output = run("list").stdout
    assert "Encoders" in output
    assert "─" in output
    assert "\t" not in output


def test_pattern_chooses_by_part_of_a_name_glob_or_alias(run_json, install):
    install(fakes=fake_specs(), other=(FAMILY, replace(LACKING, aliases=("default",))))

    def names(*arguments):
        return [row["name"] for row in run_json("list", *arguments)]

    assert names("tex") == ["fake/text"]
    assert names("f*/i*") == ["fake/image"]
    assert names("default") == ["ears"]
    assert names("--modality", "image") == ["fake/image", "lib/*"]
    assert names("lib/*", "--modality", "image") == ["lib/*"]


def test_member_of_a_family_is_found_by_its_name(run_json, install):
    install(other=(FAMILY,))
    assert [row["name"] for row in run_json("list", "lib/resnet18")] == ["lib/resnet18"]


def test_name_that_nothing_has_is_an_error_with_suggestions(run):
    result = run("list", "fake/txet", code=1)
    assert "error: no encoder is called 'fake/txet'" in result.stderr
    assert "did you mean fake/text" in result.stderr
    assert result.stdout == ""
    assert "no encoder matches" in run("list", "--modality", "smell", code=1).stderr


def test_clash_is_the_state_of_both_rows(run_json, install):
    install(one=(LACKING,), two=(LACKING,))
    rows = run_json("list")
    assert [row["distribution"] for row in rows] == ["one", "two"]
    assert {row["state"] for row in rows} == {"'ears' is declared by one and two"}


def test_plugins_are_listed_with_the_cause_of_the_broken_one(run, run_json, install):
    install(fakes=fake_specs(), broken=PluginError("it implements no hook", remedy="define it"))
    rows = {row["distribution"]: row for row in run_json("plugins")}
    assert rows["fakes"]["encoders"] == 3
    assert rows["fakes"]["state"] == "ok"
    assert rows["broken"]["state"] == "PluginError: it implements no hook; remedy: define it"
    assert rows["broken"]["milliseconds"] == 2.0
    result = run("plugins")
    assert "failed to load: broken (broken.plugin)" in result.stderr
    assert len(result.stdout.splitlines()) == 3


def test_list_says_which_plugin_failed(run, install):
    install(fakes=fake_specs(), broken=RuntimeError("boom"))
    assert "failed to load: broken (broken.plugin); `mmencode plugins` says why" in run("list").stderr


def test_space_of_a_family_is_listed_with_its_encoders(run, install):
    tower = replace(FAMILY, name="lib-image/*", space="lib/*")
    install(lib=(tower, replace(tower, name="lib-text/*", modality="text")))
    shown = run("list", "lib/small").stdout
    assert "lib-image/small" in shown
    assert "lib-text/small" in shown
