"""`mmencode new-plugin`: the project it writes, and that it works where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import fresh
import pytest

from mmencode.cli import new_plugin
from mmencode.cli.sketches import SKETCHES

NAMES = {
    "demo-text": "--modality text",
    "demo-image": "--modality image",
    "demo-audio": "--modality audio",
    "demo-late-text": "--modality text --kind late",
    "demo-late-image": "--modality image --kind late",
    "demo-omni": "--kind omni",
}
LINE = "mmencode new-plugin {name} {options} && pip install ./mmencode-{name} && pytest mmencode-{name}"
Done = CompletedProcess[str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def type_line(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Done]:
    """Type a line into a shell, in a folder for a plugin, with one fresh environment for all of them."""
    folder = tmp_path_factory.mktemp("plugins")
    python = fresh.install(folder / "venv", *fresh.build(folder / "wheels", fresh.ROOT))

    def type_(name: str, line: str) -> Done:
        (folder / name).mkdir()
        return fresh.shell(python, line, cwd=folder / name)

    return type_


def in_readme() -> list[str]:
    """The lines of README's plugin story that are typed into a shell, without their comments."""
    page = (fresh.ROOT / "README.md").read_text()
    story = page.partition("<!-- plugin -->")[2].partition("<!-- end -->")[0]
    lines = (line.partition("  #")[0].strip() for line in story.splitlines())
    return [line for line in lines if line and not line.startswith("```")]


def test_project_is_written_and_the_next_commands_are_said(run, here):
    result = run("new-plugin", "demo-encoder", "--modality", "image")
    project = here / "mmencode-demo-encoder"
    files = {path.relative_to(here).as_posix() for path in project.rglob("*") if path.is_file()}
    assert files == set(result.stdout.splitlines()[1:])
    assert {path.rpartition("/")[2] for path in files} >= {
        "pyproject.toml",
        "README.md",
        ".gitignore",
        "py.typed",
    }
    assert [line.strip() for line in result.stderr.splitlines()[1:]] == [
        "pip install -e 'mmencode-demo-encoder[dev]'",
        "pytest mmencode-demo-encoder",
        "mmencode check demo-encoder",
    ]
    assert [path.name for path in here.iterdir()] == ["mmencode-demo-encoder"]


def test_prefix_of_the_distribution_is_not_doubled(run, here):
    run("new-plugin", "mmencode-ears", "--modality", "audio")
    assert 'name = "mmencode-ears"' in (here / "mmencode-ears" / "pyproject.toml").read_text()
    assert 'name="ears"' in (here / "mmencode-ears" / "mmencode_ears" / "__init__.py").read_text()


def test_plugin_asks_for_the_versions_of_mmencode_that_it_was_written_for():
    versions = {
        version: new_plugin.compatible_versions(version)
        for version in ("0.1.0", "0.9.2.dev1", "0.2rc1", "2.3.4")
    }
    assert versions == {
        "0.1.0": ">=0.1,<0.2",
        "0.9.2.dev1": ">=0.9,<0.10",
        "0.2rc1": ">=0.2,<0.3",
        "2.3.4": ">=2.3,<3",
    }


@pytest.mark.parametrize(
    ("name", "similar"),
    [
        ("Foo_Bar", "foo-bar"),
        ("9lives", "lives"),
        ("café!", "cafe"),
        ("a--b", "a-b"),
        ("../up", "up"),
        ("日", "my-encoder"),
    ],
)
def test_name_that_pip_or_python_would_not_take_is_refused_with_one_that_they_would(run, here, name, similar):
    result = run("new-plugin", name, "--modality", "image", code=2)
    assert repr(similar) in " ".join(result.stderr.split())
    assert list(here.iterdir()) == []


def test_modality_without_a_template_is_refused_with_those_that_have_one(run, here):
    assert (
        "'text', 'image', 'audio', 'video'" in run("new-plugin", "nose", "--modality", "smell", code=2).stderr
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "is missing: give one of text, image, audio, video"),
        (
            ("--modality", "audio", "--kind", "late"),
            "'audio' has no template of --kind late: give one of text, image",
        ),
        (("--modality", "text", "--kind", "omni"), "leave out --modality text: encoders of --kind omni take"),
    ],
)
def test_kind_and_modality_that_do_not_go_together_are_refused_with_those_that_do(run, here, options, said):
    assert said in " ".join(run("new-plugin", "odd", *options, code=2).stderr.split())
    assert list(here.iterdir()) == []


def test_each_template_is_complete_and_says_what_it_is(run, here):
    for kind, sketches in SKETCHES.items():
        for modality, sketch in sketches.items():
            name = f"a-{kind}-{modality or 'one'}"
            run("new-plugin", name, "--kind", kind, *(("--modality", modality) if modality else ()))
            project = here / f"mmencode-{name}"
            texts = {path.name: path.read_text() for path in project.rglob("*") if path.is_file()}
            assert not [file for file, text in texts.items() if "${" in text]
            assert sketch.usage in texts["README.md"]
            assert ('outputs="many"' in texts["__init__.py"]) is (kind == "late")
            assert ("shared=True" in texts["__init__.py"]) is (kind == "omni")
            assert ("mmencode-video" in texts["pyproject.toml"]) is (modality == "video")


def test_folder_that_holds_something_is_left_as_it_is(run, here):
    folder = here / "mmencode-colours"
    folder.mkdir()
    (folder / "precious.txt").write_text("mine")
    assert "exists and isn't empty" in run("new-plugin", "colours", "--modality", "image", code=1).stderr
    assert [path.name for path in here.rglob("*")] == ["mmencode-colours", "precious.txt"]
    assert (
        "is a file"
        in run("new-plugin", "x", "--modality", "image", "-o", folder / "precious.txt", code=1).stderr
    )


def test_empty_folder_is_filled_even_the_current_one(run, here):
    run("new-plugin", "colours", "--modality", "image", "-o", ".")
    assert (Path.cwd() / "mmencode_colours" / "encoder.py").is_file()


def test_folder_in_no_folder_is_refused(run, here):
    assert (
        "there is no folder" in run("new-plugin", "x", "--modality", "text", "-o", "no/where", code=2).stderr
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_new_plugin_can_be_written_installed_and_tested_with_one_line_in_a_fresh_environment(type_line, name):
    done = type_line(name, LINE.format(name=name, options=NAMES[name]))
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "warning" not in done.stdout


@pytest.mark.slow
def test_story_that_the_readme_tells_is_true(type_line):
    line = " && ".join(in_readme())
    assert line.startswith(LINE.format(name="demo-encoder", options="--modality image"))
    done = type_line("demo-encoder", line)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "demo-encoder keeps the contract" in done.stderr
    assert "mmencode-demo-encoder\t0.1.0\tmmencode_demo_encoder\t1\t\tok" in done.stdout


def test_help_has_an_example(run):
    assert "Example: mmencode new-plugin" in run("new-plugin", "--help").stdout


def test_nothing_is_written_through_a_link(run, here):
    (here / "theirs").mkdir()
    for target in (here / "theirs", here / "absent"):
        link = here / "mmencode-colours"
        link.symlink_to(target)
        result = run("new-plugin", "colours", "--modality", "image", code=1)
        assert "is a link" in result.stderr
        assert f"-o {target}" in result.stderr
        link.unlink()
    assert list((here / "theirs").iterdir()) == []
    assert not (here / "absent").exists()


def test_a_project_that_cannot_be_finished_leaves_nothing(run, here, monkeypatch):
    real = Path.write_text

    def full(self, *arguments, **options):
        if self.name == "test_conformance.py":
            raise OSError(28, "No space left on device")
        return real(self, *arguments, **options)

    (here / "empty").mkdir()
    monkeypatch.setattr(Path, "write_text", full)
    for folder in ("fresh", "empty"):
        result = run("new-plugin", "colours", "--modality", "image", "-o", folder, code=1)
        assert "No space left" in result.stderr
    assert [path.name for path in here.rglob("*")] == ["empty"]
