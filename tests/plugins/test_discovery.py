from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import pytest

import mmencode
from mmencode.errors import PluginError, SpecError
from mmencode.plugins import discover

SPEC = "EncoderSpec(name='good', modality='text', target='good:build', dim=4)"
HEADER = "from mmencode import EncoderSpec, hookimpl\n"
GOOD = f"{HEADER}@hookimpl\ndef mmencode_encoders():\n    yield {SPEC}\n"


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """Discover plugins written as modules: name=source."""

    def ask(**sources):
        monkeypatch.syspath_prepend(tmp_path)
        for name, source in sources.items():
            (tmp_path / f"{name}.py").write_text(source)
            sys.modules.pop(name, None)
        return discover([EntryPoint(name=name, value=name, group="mmencode") for name in sources])

    return ask


def test_plugin_is_found_with_its_encoders(ask):
    (plugin,) = ask(good_one=GOOD)
    assert plugin.error is None
    assert [spec.name for spec in plugin.specs] == ["good"]
    assert plugin.seconds > 0


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        ("raise RuntimeError('boom')", RuntimeError, "boom"),
        ("import sys; sys.exit(3)", PluginError, "sys.exit"),
        ("syntax error", SyntaxError, ""),
        ("import no_such_package", ModuleNotFoundError, "no_such_package"),
        (GOOD.replace("mmencode_encoders", "mmencode_encoder"), Exception, "unknown hook"),
        (GOOD.replace("@hookimpl\n", ""), PluginError, "implements no hook"),
        (GOOD.replace("yield", "return"), TypeError, "not iterable"),
        (GOOD.replace(SPEC, "'a string'"), SpecError, "a string"),
        (GOOD.replace("dim=4", "dim=-1"), SpecError, "EncoderSpec.dim"),
        (GOOD.replace("dim=4", "wide=4"), TypeError, "wide"),
        (f"{GOOD}    yield {SPEC}\n", SpecError, "twice"),
        (f"{GOOD}    yield {SPEC.replace('good', 'other', 1)[:-1]}, space='good')", SpecError, "twice"),
        ("", PluginError, "implements no hook"),
    ],
)
def test_broken_plugin_is_set_aside_with_its_cause_and_hurts_nobody(ask, source, error, words):
    plugins = {plugin.entry_point: plugin for plugin in ask(good_one=GOOD, broken=source)}
    assert plugins["good_one"].error is None
    assert len(plugins["good_one"].specs) == 1
    assert isinstance(plugins["broken"].error, error)
    assert words in str(plugins["broken"].error)
    assert plugins["broken"].specs == ()


def test_missing_module_is_a_failed_plugin():
    (plugin,) = discover([EntryPoint(name="x", value="no_such_module_at_all", group="mmencode")])
    assert isinstance(plugin.error, ModuleNotFoundError)


def test_built_in_encoders_are_a_plugin_like_any_other():
    builtin = [plugin for plugin in discover() if plugin.distribution == "mmencode"]
    assert [plugin.error for plugin in builtin] == [None]
    assert "timm/*" in {spec.name for spec in builtin[0].specs}


class Asking:
    """A distribution that asks for some version of mmencode."""

    name, version = "asking", "1.0"

    def __init__(self, *requires):
        self.requires = list(requires)


@pytest.mark.parametrize("requirement", ["mmencode>=2", "mmencode==0.0.1", "MMencode<0.1"])
def test_plugin_built_for_another_mmencode_is_set_aside(ask, monkeypatch, requirement):
    monkeypatch.setattr(EntryPoint, "dist", Asking("numpy", requirement))
    (plugin,) = ask(good_one=GOOD)
    assert "built for mmencode" in str(plugin.error)
    assert mmencode.__version__ in str(plugin.error)
    assert plugin.distribution == "asking"


def test_plugin_built_for_this_mmencode_is_taken(ask, monkeypatch):
    monkeypatch.setattr(EntryPoint, "dist", Asking("mmencode>=0.1", "torch; extra == 'gpu'"))
    assert ask(good_one=GOOD)[0].error is None
