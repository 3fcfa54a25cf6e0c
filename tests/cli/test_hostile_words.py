"""No word on a command line, in a file's name or in a card is markup, a link or a terminal's command."""

from __future__ import annotations

import os
import re
from dataclasses import replace

import pytest
import typer

import mmencode
from mmencode.cli import app
from mmencode.spaces.folder import Saved, read_card, write_folder

LINK = "\x1b]8;;http://x\x07"
HOSTILE = f"[/red][link=http://x]y[/link]{LINK}\x1b[2J\x9b2J\u202e\n  remedy: x\udce9"
QUERY = HOSTILE.removesuffix("\udce9")  # no text has half a character
NAME = HOSTILE.replace("/", "")  # no file's name has a slash
CLASS = QUERY.replace("/", "")


def assert_harmless(text):
    """That a terminal shows it and does nothing else: colours and lines are our own."""
    plain = re.sub(r"\x1b\[([0-9;]*m|\?25[lh]|2K|1A)|\r", "", text)
    assert not re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", plain)
    assert "\n  remedy: x" not in plain


@pytest.fixture(params=["piped", "terminal"])
def harmless(request, run, monkeypatch, tmp_path):
    """Run a command line that may be wrong in any way, and look at all that it prints."""
    monkeypatch.chdir(tmp_path)
    if request.param == "terminal":
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "2000")
        monkeypatch.setattr("mmencode.cli.output.is_terminal", lambda stream: True)

    def do(*arguments, input=None):
        from typer.testing import CliRunner

        result = CliRunner().invoke(app, [str(each) for each in arguments], input=input)
        if not isinstance(result.exception, SystemExit | None):
            raise AssertionError(arguments) from result.exception
        assert_harmless(result.output)
        return result

    return do


@pytest.fixture
def named(folder, tmp_path):
    """A folder of files with such names, and one for each class."""
    top = tmp_path / NAME
    (top / "cat").mkdir(parents=True)
    (top / CLASS).mkdir()
    (folder / "a.png").rename(top / "cat" / f"{NAME}.png")
    (folder / "b.JPG").rename(top / CLASS / "b.png")
    (folder / "broken.png").rename(top / CLASS / f"broken {NAME}.png")
    return top


@pytest.fixture
def card(run, tmp_path):
    """The folder of a space whose card has such names."""
    with mmencode.load("fake") as space:
        space.save(tmp_path / "sound")
    found = read_card(tmp_path / "sound")
    towers = [replace(tower, identity=replace(tower.identity, pooling=HOSTILE)) for tower in found.towers]
    write_folder(tmp_path / "card", Saved(replace(found, name=HOSTILE, towers=tuple(towers)), {}, {}))
    return tmp_path / "card"


def base(folder, tmp_path):
    """A command line of each command that does something, but for what is written."""
    out = tmp_path / "out"
    return {
        "encode": ("text", "a", "-o", out / "x.npz"),
        "classify": (folder, "--labels", "cat,dog"),
        "search": (folder, "words"),
        "eval zero-shot": (folder.parent,),
        "eval retrieval": (tmp_path / "table.csv",),
        "index add": (out / "index", folder),
        "index sync": (out / "index", folder),
        "index failures": (out / "index",),
        "index info": (out / "index",),
        "index migrate": (out / "index", "--undo"),
        "map": (out / "index",),
        "index full-text": (out / "index",),
        "list": (),
        "plugins": (),
        "info": (),
        "check": ("fake/text",),
        "new-plugin": ("colours", "--modality", "image", "-o", out / "plugin"),
        "compose": ("mine", "-e", "text=fake/text", "-o", out / "mine"),
        "verify": ("fake",),
        "demo": ("-o", out / "demo"),
        "embed": (folder, "-m", "image", "-o", out / "embedded"),
        "index build": (out / "built", out / "embedded"),
        "serve": ("no such space",),
        "mcp": (out / "no such index",),
    }


def commands(group=None, path=()):
    """All commands by their path."""
    for name, command in (group or typer.main.get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def test_there_is_a_command_line_of_each_command(folder, tmp_path):
    assert set(base(folder, tmp_path)) == {name for name, _ in commands()}


@pytest.mark.parametrize("harmless", ["piped"], indirect=True)
@pytest.mark.parametrize("name", [name for name, _ in commands() if name != "demo"])
def test_hostile_words_in_any_argument_and_option_do_nothing(harmless, folder, tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "table.csv").write_text(f"file,caption\n{folder / 'a.png'},words\n")
    command = dict(commands())[name]
    given = [*map(str, base(folder, tmp_path)[name])]
    for place in range(len(given)):
        if not given[place].startswith("-"):
            harmless(*name.split(), *given[:place], HOSTILE, *given[place + 1 :])
    for option in command.params:
        if option.param_type_name == "option" and not option.is_flag and option.opts[0] != "--help":
            harmless(*name.split(), *given, option.opts[0], HOSTILE)
    harmless(*name.split(), *given, f"--{HOSTILE}")
    harmless(*name.split(), *given, HOSTILE)


def test_hostile_names_of_files_and_classes_do_nothing(harmless, named, tmp_path):
    page, report = tmp_path / f"page {NAME}.html", tmp_path / f"report {NAME}.md"
    found = harmless("search", named, QUERY, "--html", page)
    assert found.exit_code == 0
    assert "[link=http:x]" in found.stdout
    assert_page(page)
    for ending in ("safetensors", "npz", "parquet", "arrow"):
        out = tmp_path / f"{NAME}.{ending}"
        if ending in ("parquet", "arrow"):
            pytest.importorskip("pyarrow")
        assert harmless("encode", "image", named, "-o", out).exit_code == 0
        keys = mmencode.Embeddings.load(out).keys
        assert keys == (f"{named}/{CLASS}/b.png", f"{named}/cat/{NAME}.png")
    labels = tmp_path / f"labels {NAME}"
    labels.write_text(f"{HOSTILE!r}\ncat\n")
    assert harmless("classify", named, "--labels-file", labels, "--labels", "[/red],[link=x]").exit_code == 0
    assert harmless("eval", "zero-shot", named, "-o", report).exit_code == 0
    assert report.exists()
    assert harmless("encode", "image", named / "absent", "-o", out).exit_code == 1


def test_hostile_names_in_an_index_do_nothing(harmless, named, tmp_path):
    pytest.importorskip("lancedb")
    index, page = tmp_path / "index [red]", tmp_path / f"map {NAME}.html"
    assert harmless("index", "add", index, named).exit_code == 0
    for arguments in (("info",), ("failures",), ("sync", named)):
        assert harmless("index", arguments[0], index, *arguments[1:]).exit_code == 0
    assert harmless("search", index, QUERY, "--html", page).exit_code == 0
    assert_page(page)
    with mmencode.Index.open(index) as opened:
        assert f"{named}/cat/{NAME}.png" in opened.rows().embeddings.keys
    assert harmless("map", index, "-o", page, "--no-thumbnails").exit_code == 0
    assert_page(page)


def test_hostile_words_in_the_title_of_a_table_do_nothing(harmless, folder):
    found = harmless("search", folder, QUERY)
    assert found.exit_code == 0
    assert harmless("list", HOSTILE).exit_code == 1
    assert harmless("encode", HOSTILE, "x").exit_code == 1


def test_hostile_names_in_a_card_do_nothing(harmless, card, folder, tmp_path):
    assert harmless("verify", card).exit_code == 1
    assert harmless("verify", "fake", "--card", card / "card.json").exit_code == 1
    assert harmless("search", folder, "words", "--space", card).exit_code in (0, 1)
    (tmp_path / NAME).mkdir()
    os.rename(card, tmp_path / NAME / "card")
    harmless("verify", tmp_path / NAME / "card")
    harmless("verify", tmp_path / NAME / "card" / "absent")


def assert_page(path):
    """That no word became an element of a page, or turned the text around."""
    content = path.read_text(encoding="utf-8")
    assert not re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", content)
