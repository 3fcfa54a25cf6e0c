from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mmencode.errors import PluginError
from mmencode.plugins.spec import EncoderSpec, Identity
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


@pytest.fixture
def catalogued(tmp_path, monkeypatch):
    """A family of two towers, and a catalogue that lists two members of both."""
    package = tmp_path / "listedlib"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "names.tsv").write_text("# lib 1.0\nNet-Small/one\t8\nbig.tag\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "listedlib", raising=False)
    tower = replace(FAMILY, name="lib-image/*", space="lib/*", catalogue="listedlib:names.tsv")
    return tower, replace(tower, name="lib-text/*", modality="text")


def test_pattern_searches_the_members_of_families_by_name_and_space(run_json, install, catalogued):
    install(lib=catalogued, fakes=fake_specs())

    def names(*arguments):
        return [row["name"] for row in run_json("list", *arguments)]

    small, big = (
        ["lib-image/Net-Small/one", "lib-text/Net-Small/one"],
        ["lib-image/big.tag", "lib-text/big.tag"],
    )
    assert names("lib/*") == ["lib-image/*", "lib-text/*", *small, *big]
    assert names("lib-text/*") == ["lib-text/*", small[1], big[1]]
    assert names("net-small") == names("lib/net-small/one") == names("*/Net-*") == small
    assert names("big", "--modality", "text") == ["lib-text/big.tag"]
    rows = run_json("list", "net-small", "--modality", "image")
    assert rows[0] | {"space": "lib/Net-Small/one", "dim": 8, "distribution": "lib", "state": "ok"} == rows[0]


def test_without_a_pattern_and_by_the_familys_own_name_a_family_is_one_row(run_json, install, catalogued):
    install(lib=catalogued)
    for arguments in ([], ["lib"], ["lib-"], ["--modality", "image"]):
        rows = run_json("list", *arguments)
        assert {row["name"] for row in rows} <= {"lib-image/*", "lib-text/*"}


def test_member_that_no_catalogue_knows_is_resolved_all_the_same(run_json, install, catalogued):
    install(lib=catalogued)
    names = [row["name"] for row in run_json("list", "lib/big.tag//models/mine.safetensors")]
    assert names == [f"lib-{tower}/big.tag//models/mine.safetensors" for tower in ("image", "text")]


def test_catalogue_that_cannot_be_read_is_a_note_and_hurts_nobody_else(run, install, catalogued):
    broken = replace(FAMILY, name="broken/*", catalogue="listedlib:no-such-file.tsv")
    install(lib=catalogued, broken=(broken,))
    result = run("list", "*small*")
    assert [line.split("\t")[0] for line in result.stdout.splitlines()[1:]] == [
        "lib-image/Net-Small/one",
        "lib-text/Net-Small/one",
    ]
    assert "'listedlib:no-such-file.tsv' can't be read: FileNotFoundError" in result.stderr
    assert "the declaration of encoder 'broken/*'" in result.stderr
    assert "broken/*" in run("list", "broken").stdout
    assert run("list").stderr == ""


@pytest.mark.parametrize(
    "source", ["raise SystemExit", "class Panic(BaseException): pass\nraise Panic('torn')"]
)
def test_package_of_a_catalogue_may_do_what_it_likes_when_it_is_imported(
    run_json, run, install, catalogued, source
):
    package = Path(sys.path[0]) / "tornlib"
    package.mkdir()
    (package / "__init__.py").write_text(f"print('hello')\n{source}\n")
    install(lib=catalogued, torn=(replace(FAMILY, name="torn/*", catalogue="tornlib:names.tsv"),))
    assert [row["name"] for row in run_json("list", "*small*")] == [
        "lib-image/Net-Small/one",
        "lib-text/Net-Small/one",
    ]
    assert "EncoderSpec.catalogue 'tornlib:names.tsv' can't be read" in run("list", "*small*").stderr


def test_encoder_that_is_set_aside_is_listed_with_the_reason(run_json, install):
    own = replace(fake_specs()[0], name="offline/fake", space="offline")
    install(**{"aaa": (replace(own, name="aaa/x"),), "mmencode-offline": (own,)})
    states = {row["name"]: row["state"] for row in run_json("list")}
    assert states == {
        "aaa/x": "encoder 'aaa/x' of aaa is set aside: its space 'offline' belongs to mmencode-offline",
        "offline/fake": "ok",
    }


def test_members_share_the_state_of_their_family(run_json, install, catalogued):
    lacking = replace(catalogued[0], requires=LACKING.requires, install="pip install it")
    install(lib=(lacking,))
    assert {row["remedy"] for row in run_json("list", "*")} == {"pip install it"}
    install(one=(lacking,), two=(lacking,))
    assert {row["state"] for row in run_json("list", "*")} == {"'lib-image/*' is declared by one and two"}


def test_long_list_on_a_terminal_says_once_what_all_rows_share(run, install, terminal):
    install(lib=tuple(replace(FAMILY, name=f"many{number}/*") for number in range(30)))
    words = run("list", "many*").stdout.split()
    said = "30 encoders, each: modality image, distribution lib, licence each its own, state ok name"
    assert words[: words.index("name") + 1] == said.split()
    assert words[-2:] == ["many8/*", "many9/*"]
    assert run("list", "many1*").stdout.split()[:3] == ["Encoders", "name", "modality"]


def test_known_checkpoints_are_listed_without_their_libraries():
    for pattern, count in (("timm/*", 1800), ("openclip/*", 390), ("torchaudio/*", 30)):
        code = f"""
import sys
from mmencode.cli import app, output
output.is_terminal = lambda stream: True
app(["list", "{pattern}"], standalone_mode=False)
print(*{{"torch", "timm", "open_clip", "torchaudio", "numpy"}} & set(sys.modules), file=sys.stderr)
"""
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
        )
        assert len(done.stdout.splitlines()) > count
        assert done.stderr == "\n"


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


def test_plugins_that_clash_name_each_other(run_json, install):
    install(one=(LACKING,), two=(LACKING,), three=fake_specs())
    states = {row["distribution"]: row["state"] for row in run_json("plugins")}
    assert states == {
        "one": "'ears' is declared by two, too; target 'p:f': there is no module p",
        "two": "'ears' is declared by one, too; target 'p:f': there is no module p",
        "three": "ok",
    }


def test_encoder_that_joins_a_space_is_listed_with_it_and_one_that_cant_with_the_reason(
    run_json, run, install
):
    films = EncoderSpec(
        name="films/mean",
        modality="video",
        target="p:f",
        dim=8,
        joins="offline",
        projection="films:lead.safetensors",
        identity=Identity(),
    )
    text = replace(films, name="films/text", modality="text")
    frame = replace(fake_specs()[0], name="offline/fake", space="offline")
    install(films=(films, text), **{"mmencode-offline": (frame,)})
    rows = {row["name"]: row for row in run_json("list")}
    assert (rows["films/mean"]["joins"], rows["films/mean"]["state"]) == ("offline", "ok")
    assert "'offline/fake' of mmencode-offline defines text there" in rows["films/text"]["state"]
    assert "joins offline" in " ".join(run("list", "films/mean").stdout.split())
    states = {row["distribution"]: row["state"] for row in run_json("plugins")}
    assert "'films/text' of films doesn't join the space 'offline'" in states["films"]
    assert "films" not in states["mmencode-offline"]
