"""What the doctor says of declarations without importing what they name."""

from __future__ import annotations

import sys

import pytest
from distributions import hook, spec

from mmencode.plugins.health import find_faults, find_module


@pytest.fixture
def ailing(site, found):
    """The faults of a plugin that declares one spec, `birds`, with these fields."""

    def ask(name="birds", modality="text", **fields):
        package = site.folder / "birdsong"
        (package / "inner").mkdir(parents=True)
        (package / "__init__.py").write_text("raise SystemExit('imported')\n")
        (package / "song.py").write_text(
            "raise SystemExit('imported')\ndef build(): pass\nif 1:\n    other = 3\n"
        )
        (package / "torn.py").write_text("def build(:\n")
        (package / "any.py").write_text("from os import *\n")
        (package / "lazy.py").write_text("def __getattr__(name): return name\n")
        (package / "made.py").write_text("globals()['build'] = 3\n")
        (package / "nul.py").write_text("a = 1\0\n")
        (package / "names.tsv").write_text("x\t3\n")
        site.add("mmencode-birds", hook(spec(name, modality, **fields)))
        plugin = found()["mmencode-birds"]
        assert plugin.error is None, plugin.cause
        faults = list(find_faults(plugin))
        assert not {name for name in sys.modules if name.startswith("birdsong")}
        return faults

    return ask


@pytest.mark.parametrize(
    "target",
    [
        *("birdsong.song:build", "birdsong.song:other", "birdsong.any:path", "birdsong.lazy:build"),
        *("birdsong.made:build", "birdsong.song:build.method", "zlib:crc32", "os.path:join", "json:loads"),
    ],
)
def test_a_target_that_is_there_has_no_fault(ailing, target):
    assert ailing(target=target) == []


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        ("no_such_module:build", "there is no module no_such_module"),
        ("birdsong.none:build", "there is no module birdsong.none"),
        ("birdsong.song.deeper:build", "there is no module birdsong.song.deeper"),
        ("birdsong.inner.none:build", "there is no module birdsong.inner.none"),
        ("birdsong.inner:build", "module birdsong.inner has no build"),
        ("birdsong.song:biuld", "module birdsong.song has no biuld"),
        ("birdsong.torn:build", "module birdsong.torn can't be imported: SyntaxError: "),
        ("birdsong.nul:build", "module birdsong.nul can't be imported: "),
    ],
)
@pytest.mark.parametrize("field", ["target", "projection"])
def test_a_target_that_is_not_there_is_said_without_importing_anything(ailing, field, target, fault):
    (said,) = ailing(**{"target": "json:loads", field: target})
    assert said.startswith(f"{field} {target!r}: {fault}")


@pytest.mark.parametrize(
    ("field", "resource", "fault"),
    [
        ("catalogue", "birdsong:names.tsv", ""),
        ("card", "birdsong:names.tsv", ""),
        ("catalogue", "birdsong:nomes.tsv", "package birdsong has no file nomes.tsv"),
        ("card", "birdsong.inner:card.json", "package birdsong.inner has no file card.json"),
        ("card", "birdsong.song:card.json", "birdsong.song is no package"),
        ("catalogue", "nobody:names.tsv", "there is no package nobody"),
    ],
)
def test_files_that_a_spec_names_are_looked_for(ailing, field, resource, fault):
    name = {"name": "birds/*", "dim": None} if field == "catalogue" else {}
    said = ailing(target="json:loads", **{field: resource}, **name)
    assert said == ([f"{field} {resource!r}: {fault}"] if fault else [])


@pytest.mark.parametrize(
    ("modality", "meant"), [("images", "image"), ("texts", "text"), ("txt", "text"), ("audios", "audio")]
)
def test_a_modality_like_a_known_one_is_asked_about(ailing, modality, meant):
    assert ailing(modality=modality, target="json:loads") == [
        f"modality {modality!r}: is it meant to be {meant!r}?"
    ]


@pytest.mark.parametrize("modality", ["video", "radio", "query", "smell", "eeg", "point_cloud"])
def test_other_words_are_modalities(ailing, modality):
    assert ailing(modality=modality, target="json:loads") == []


def test_a_module_is_found_where_it_would_be_imported_from():
    assert find_module("mmencode.encoders.timm").origin.endswith("timm.py")
    assert find_module("mmencode.nothing") is None


def test_the_doctor_finds_a_target_that_is_not_there(site):
    site.add("mmencode-birds", hook(spec("birds", target="mmencode_birds.nothing:build")))
    said = site.states()["mmencode-birds"]
    assert said == "target 'mmencode_birds.nothing:build': there is no module mmencode_birds.nothing"
