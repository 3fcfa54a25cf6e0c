"""MMENCODE_PLUGINS: what is never asked, whatever its code would do."""

from __future__ import annotations

import json

import pytest
from distributions import hook, spec

from mmencode.errors import NoDefaultSpaceError, PluginError, UnknownNameError
from mmencode.plugins import discover
from mmencode.plugins.barring import Choice, read_choice

EVIL = "import os\nos._exit(7)\n"


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("", {"mmencode", "mmencode-offline", "mmencode-x", "Other.Thing"}),
        (" , ", {"mmencode", "mmencode-offline", "mmencode-x", "Other.Thing"}),
        ("mmencode-offline", {"mmencode", "mmencode-offline"}),
        ("MMEncode_Offline, other-thing", {"mmencode", "mmencode-offline", "Other.Thing"}),
        ("mmencode-*", {"mmencode", "mmencode-offline", "mmencode-x"}),
        ("-mmencode-x", {"mmencode", "mmencode-offline", "Other.Thing"}),
        ("-other_thing -mmencode-x", {"mmencode", "mmencode-offline"}),
        ("mmencode-*,-mmencode-x", {"mmencode", "mmencode-offline"}),
        ("-*", {"mmencode"}),
        ("-mmencode", {"mmencode-offline", "mmencode-x", "Other.Thing"}),
        ("mmencode", {"mmencode"}),
    ],
)
def test_names_allow_and_names_after_a_minus_deny(monkeypatch, words, asked):
    monkeypatch.setenv("MMENCODE_PLUGINS", words)
    names = ("mmencode", "mmencode-offline", "mmencode-x", "Other.Thing")
    assert {name for name in names if not read_choice().bars(name)} == asked


@pytest.mark.parametrize("words", ["!x", "x==1", "a/b", "--x", "-", "x;y", "caf\u00e9", "\x1b[31m"])
def test_what_is_no_name_is_an_error_before_anything_runs(site, monkeypatch, words):
    site.add("mmencode-birds", EVIL)
    monkeypatch.setenv("MMENCODE_PLUGINS", words)
    with pytest.raises(
        PluginError, match=r"MMENCODE_PLUGINS has the word .*isn't the name of a distribution"
    ) as refused:
        discover()
    assert "\x1b" not in str(refused.value)


def test_words_that_fit_nothing_are_known():
    choice = Choice(("mmencode-*", "ofline"), ("birds",))
    assert choice.idle(["mmencode-offline", "Birds"]) == ("ofline",)
    assert choice.idle(["mmencode"]) == ("mmencode-*", "ofline", "-birds")


@pytest.mark.parametrize("words", ["-mmencode-birds", "mmencode-offline", "-*", "mmencode-*,-*birds"])
def test_barred_plugin_never_runs(site, found, monkeypatch, words):
    monkeypatch.setenv("MMENCODE_PLUGINS", words)
    site.add("mmencode-birds", EVIL)
    plugin = {plugin.distribution: plugin for plugin in discover()}["mmencode-birds"]
    assert plugin.barred
    assert (plugin.error, plugin.specs, plugin.notes) == (None, (), ("barred by MMENCODE_PLUGINS",))


def test_a_name_of_a_barred_plugin_says_so(site, registry, monkeypatch):
    site.add("mmencode-birds", hook(spec("birds/x")))
    monkeypatch.setenv("MMENCODE_PLUGINS", "-mmencode-birds,-mmencode-offline")
    with pytest.raises(UnknownNameError, match=r"mmencode-birds 1.0 is barred by MMENCODE_PLUGINS"):
        registry()["birds/x"]
    with pytest.raises(NoDefaultSpaceError, match=r"mmencode-offline 0.1.0 is barred by MMENCODE_PLUGINS"):
        registry().default_space()
    assert registry().failed == ()


def test_every_command_ends_once_the_plugin_is_barred_that_ended_it(site):
    site.add("mmencode-birds", EVIL)
    assert site.command("list").returncode == 7
    done = site.command("list", MMENCODE_PLUGINS="-mmencode-birds")
    assert (done.returncode, done.stderr) == (0, "")
    done = site.command("plugins", "--json", MMENCODE_PLUGINS="-mmencode-birds,-mmencode-bards")
    states = {row["distribution"]: row["state"] for row in json.loads(done.stdout)}
    assert states["mmencode-birds"] == "barred by MMENCODE_PLUGINS"
    assert done.stderr == "MMENCODE_PLUGINS names -mmencode-bards, but no plugin has that name\n"


def test_a_mistake_in_the_variable_is_one_line_on_the_command_line(site):
    done = site.command("list", MMENCODE_PLUGINS="!x")
    assert done.returncode == 1
    assert done.stderr.startswith(
        "error: MMENCODE_PLUGINS has the word '!x', which isn't the name of a distribution"
    )
    assert "Traceback" not in done.stderr
