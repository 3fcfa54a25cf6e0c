"""The demo on fakes: what it says is nonsense then, and how it says it is what counts."""

from __future__ import annotations

import io
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import soundfile

from mmencode.cli.demo import photographs, sounds
from mmencode.plugins.spec import Identity
from mmencode.testing import fake_specs

pytest.importorskip("skimage")
pytest.importorskip("sklearn")


class Page(HTMLParser):
    """The tags of a page with their attributes, and its words."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.words = [], ""
        self.feed(content)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, content):
        self.words += content


@pytest.fixture
def without_audio(install):
    """The default space, with an audio encoder that lacks a package."""
    lacking = {
        "requires": ("no-such-package",),
        "install": "pip install ears",
        "aliases": ("default",),
        "identity": Identity(weights="known ahead, so that the space's card is, too"),
    }
    specs = [replace(spec, aliases=("default",)) for spec in fake_specs() if spec.modality != "audio"]
    audio = next(replace(spec, **lacking) for spec in fake_specs() if spec.modality == "audio")
    return lambda: install(fakes=(*specs, audio))


def test_demo_writes_a_page_that_needs_nothing_from_outside(run, tmp_path):
    result = run("demo", "-o", tmp_path / "new" / "demo")
    path = tmp_path / "new" / "demo" / "index.html"
    assert str(path) in result.stderr
    content = path.read_text(encoding="utf-8")
    page = Page(content)
    sources = [attributes["src"] for _, attributes in page.tags if "src" in attributes]
    assert len(sources) > 20
    assert all(source.startswith("data:") for source in sources)
    links = [attributes["href"] for _, attributes in page.tags if "href" in attributes]
    anchors = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {link.removeprefix("#") for link in links} <= anchors
    assert not re.search(r"https?://|url\(|@import|<script|<link", content)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}


def test_demo_answers_for_every_photograph_sentence_and_sound(run_json, tmp_path):
    document = run_json("demo", "-o", tmp_path)
    labelled, found, sounds_labelled, sounds_found = document["sections"]
    assert [row["asked"] for row in labelled["rows"]] == list(photographs.collection().items)
    assert [row["asked"] for row in found["rows"]] == list(photographs.SENTENCES)
    assert [row["asked"] for row in sounds_labelled["rows"]] == list(sounds.SOUNDS)
    assert [row["asked"] for row in sounds_found["rows"]] == list(sounds.SENTENCES)
    assert {len(row["best"]) for section in document["sections"] for row in section["rows"]} == {3}
    assert "synthesised" in sounds_labelled["title"]
    assert document["failed"] == []


def test_demo_prints_a_titled_table_for_each_section(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = run("demo").stdout.splitlines()
    assert (tmp_path / "mmencode-demo" / "index.html").is_file()
    assert len([line for line in lines if line.startswith("# Which")]) == 4
    assert any(line.startswith("chelsea.png\t") for line in lines)


def test_demo_opens_the_page_when_asked(run, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    run("demo", "-o", tmp_path)
    assert opened == []
    run("demo", "-o", tmp_path, "--open")
    assert opened == [(tmp_path / "index.html").resolve().as_uri()]


def test_words_of_the_page_are_escaped(run, tmp_path, monkeypatch):
    monkeypatch.setattr(photographs, "LABELS", ("<b>&x</b>", '"quoted"', "plain"))
    monkeypatch.setattr(photographs, "SENTENCES", ("<script>alert(1)</script>",))
    run("demo", "-o", tmp_path)
    content = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<b>&x" not in content
    assert "<script" not in content
    assert "<b>&x</b>" in Page(content).words


def test_demo_without_the_audio_package_says_how_to_get_it(run, without_audio, tmp_path):
    without_audio()
    result = run("demo", "-o", tmp_path)
    assert "Sounds are left out: to hear them, pip install ears" in result.stderr
    content = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "pip install ears" in content
    assert "<audio" not in content


def test_demo_on_a_space_without_audio_leaves_sounds_out(run, install, tmp_path):
    install(fakes=tuple(spec for spec in fake_specs() if spec.modality != "audio"))
    assert "has no encoder for them" in run("demo", "-o", tmp_path).stderr


def test_demo_without_a_default_space_names_the_extra(run, install, tmp_path):
    install()
    result = run("demo", "-o", tmp_path, code=1)
    assert "error: the demo needs a default space" in result.stderr
    assert "pip install 'mmencode[demo]'" in result.stderr


@pytest.mark.parametrize("package", ["skimage", "sklearn"])
def test_demo_without_the_photographs_names_the_extra(run, monkeypatch, tmp_path, package):
    monkeypatch.setitem(sys.modules, package, None)
    result = run("demo", "-o", tmp_path, code=1)
    assert f"come with {package}" in result.stderr
    assert "pip install 'mmencode[demo]'" in result.stderr


def test_photograph_that_a_package_no_longer_has_is_listed_and_left_out(run_json, run, monkeypatch, tmp_path):
    files = (*photographs._FILES[:2], ("skimage", "data/gone.png"))
    monkeypatch.setattr(photographs, "_FILES", files)
    document = run_json("demo", "-o", tmp_path)
    assert [row["asked"] for row in document["sections"][0]["rows"]] == ["chelsea.png", "coffee.png"]
    assert len(document["failed"]) == 1
    monkeypatch.setattr(photographs, "_FILES", files[2:])
    monkeypatch.setattr(sounds, "SOUNDS", {})
    assert "nothing could be encoded" in run("demo", "-o", tmp_path / "none", code=1).stderr
    assert not (tmp_path / "none").exists()


def test_sounds_are_the_same_each_time_and_neither_silent_nor_clipped():
    first, second = sounds.collection().items, sounds.collection().items
    assert first == second
    for name, content in first.items():
        samples, rate = soundfile.read(io.BytesIO(content))
        assert (rate, len(samples)) == (16_000, 48_000), name
        assert 0.69 < abs(samples).max() < 0.71, name


def test_demo_writes_through_no_link(run, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "index.html").symlink_to(victim)
    run("demo", "-o", tmp_path / "out")
    assert victim.read_text() == "mine"
    assert (tmp_path / "out" / "index.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    result = run("demo", "-o", tmp_path / "link", code=1)
    assert f"-o {tmp_path / 'theirs'}" in result.stderr
    assert list((tmp_path / "theirs").iterdir()) == []


def test_a_page_that_cannot_be_written_leaves_the_old_one(run, tmp_path, monkeypatch):
    run("demo", "-o", tmp_path)
    before = (tmp_path / "index.html").read_bytes()
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    run("demo", "-o", tmp_path, code=1)
    assert (tmp_path / "index.html").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
