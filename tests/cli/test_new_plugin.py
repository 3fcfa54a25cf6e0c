"""`mmencode new-plugin`: the project it writes, and that it works where it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess

import fresh
import pytest

from mmencode.cli import new_plugin

MODALITIES = ("text", "image", "audio")
Done = CompletedProcess[str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Done]]]:
    """What becomes of a new plugin for each modality where it is installed: its tests, and a check of one."""
    folder = tmp_path_factory.mktemp("plugins")
    projects = {modality: folder / f"mmencode-demo-{modality}" for modality in MODALITIES}
    for modality, project in projects.items():
        new_plugin.new_plugin(f"demo-{modality}", new_plugin.Kind(modality), out=project)
    python = fresh.install(folder, *projects.values())
    tests = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error")
    with ThreadPoolExecutor(2) as pool:  # each spends its time importing torch, again and again
        done = {
            modality: pool.submit(fresh.run, python, *tests, cwd=project)
            for modality, project in projects.items()
        }
        check = ("-m", "mmencode.cli", "check", "demo-text")
        yield {**done, "check": pool.submit(fresh.run, python, *check, cwd=folder)}


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
    assert "'text', 'image', 'audio'" in run("new-plugin", "nose", "--modality", "smell", code=2).stderr


def test_folder_that_holds_something_is_left_as_it_is(run, here):
    folder = here / "mmencode-colours"
    folder.mkdir()
    (folder / "precious.txt").write_text("mine")
    assert (
        "is there already, and not empty"
        in run("new-plugin", "colours", "--modality", "image", code=1).stderr
    )
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


def test_failure_half_way_leaves_nothing(run, here, monkeypatch):
    template = new_plugin._template

    def fail(name):
        if name == "test_conformance.py":
            raise OSError(28, "No space left on device")
        return template(name)

    monkeypatch.setattr(new_plugin, "_template", fail)
    assert "No space left" in run("new-plugin", "colours", "--modality", "image", code=1).stderr
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("modality", MODALITIES)
def test_tests_of_a_new_plugin_pass_where_it_is_installed(installed, modality):
    done = installed[modality].result()
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_new_plugin_passes_the_check_where_it_is_installed(installed):
    done = installed["check"].result()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "demo-text keeps the contract" in done.stderr


def test_help_has_an_example(run):
    assert "Example: mmencode new-plugin" in run("new-plugin", "--help").stdout
