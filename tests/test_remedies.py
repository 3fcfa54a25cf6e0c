"""What messages tell somebody to type is there: commands with their options, extras, functions, parameters.

The whole source is looked through, so that no remedy outlives what it names.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import remedies
from packaging.requirements import Requirement
from remedies import GAP, ROOT, spoken

# Parameters of NumPy's, torch's and LangChain's.
OF_LIBRARIES = {"allow_pickle", "check_embedding_ctx_length", "multiprocessing_context"}


def found(pattern, *, within=""):
    """Each match of a pattern with the words that it stands in, of files whose path has `within`."""
    return [
        (match, words)
        for words in spoken()
        if within in words.path
        for match in re.finditer(pattern, words.text)
    ]


def calls():
    """The code in what messages say, each piece with the words that it stands in."""
    return [(code, words) for words in spoken() for code in remedies.code_in(words.text)]


def faults_of(calls):
    return [f"{words}: {fault}" for code, words in calls for fault in remedies.faults_of_code(code)]


def test_strings_of_the_source_are_found_whole():
    texts = {words.text for words in spoken()}
    assert "pip install 'mmencode[arrow]'" in texts
    assert any("load(name, limits=Limits(" + GAP + "=" + GAP in text for text in texts)


def test_every_extra_that_a_message_names_is_one():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads TOML")
    pages = [ROOT / "pyproject.toml", *(ROOT / "plugins").glob("*/pyproject.toml")]
    projects = [tomllib.loads(page.read_text(encoding="utf-8"))["project"] for page in pages]
    extras = {project["name"]: set(project.get("optional-dependencies", {})) for project in projects}
    named = found(r"(mmencode(?:-\w+)?)\[(\w+)\]")
    assert len(named) > 5
    wrong = [str(words) for match, words in named if match[2] not in extras.get(match[1], ())]
    assert wrong == []


def test_what_pip_is_asked_for_is_in_its_notation():
    lines = found(r"pip install ((?:-[a-zA-Z-]+ )*)('[^']+'|\w[\w.-]*)")
    assert len(lines) > 5
    for match, words in lines:
        asked = match[2].strip("'").rstrip(".,;:")
        if GAP not in asked:
            assert Requirement(asked).name, words


def test_every_command_that_a_message_names_has_what_it_is_given():
    named = found(r"`(mmencode [^`]*)`")
    assert len(named) > 10
    named += found(r"^(mmencode [a-z-]+( .*)?)$")
    faults = [f"{words}: {fault}" for match, words in named for fault in remedies.faults_of_command(match[1])]
    assert faults == []


def test_commands_stand_between_backticks_where_they_can_be_told_from_words():
    names = {path[0] for path in remedies.commands() if path}
    loose = [
        str(words)
        for match, words in found(r"(?<![`\w./-])(?<!^)mmencode ([a-z-]+)")
        if match[1] in names and not _is_example(words)
    ]
    assert loose == []


def _is_example(words):
    """Whether it is the help of the command line, which lists lines to type."""
    return "\b\nExample" in words.text


def test_every_option_that_a_message_names_is_one():
    known = set().union(*(remedies.options(command) for command in remedies.commands().values()))
    known |= {
        "--upgrade",
        "--slow",
        "--check",
        "--index-url",
        "--force-reinstall",
    }  # pip's, pytest's, a module's
    named = found(r"(?<![\w-])--[a-z][a-z-]+", within="mmencode/cli")
    named += found(r"(?<![\w-])--[a-z][a-z-]+(?= on the command line)")
    assert len(named) > 10
    wrong = [f"{words}: {match[0]}" for match, words in named if match[0] not in known]
    assert wrong == []


def test_every_function_that_a_message_names_takes_what_it_is_given():
    for library in ("pandas", "pyarrow"):
        pytest.importorskip(library)
    named = [entry for entry in calls() if not remedies.SLOW.search(entry[0])]
    assert len(named) > 40
    assert faults_of(named) == []


@pytest.mark.slow
def test_libraries_have_the_functions_that_messages_name():
    for library in ("timm", "open_clip", "torchaudio", "diffusers"):
        pytest.importorskip(library)
    named = [entry for entry in calls() if remedies.SLOW.search(entry[0])]
    assert named
    assert faults_of(named) == []


def test_every_parameter_that_a_message_names_is_one():
    known = remedies.parameters()
    named = [
        (match, words)
        for match, words in found(r"(?<![\w.\[\"'-])([a-z_]{3,})=(?:\"|True|False|None|\[|\.\.\.)")
        if words.path.startswith("mmencode/") and match[1] not in OF_LIBRARIES
    ]
    assert len(named) > 10
    wrong = [f"{words}: {match[1]}" for match, words in named if match[1] not in known]
    assert wrong == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("mmencode search photos/ --wher x", "search has no option --wher"),
        ("mmencode index ad x", "no command 'index ad'"),
        ("mmencode lst", "no command 'lst'"),
    ],
)
def test_a_command_that_is_not_there_is_seen(line, fault):
    assert remedies.faults_of_command(line) == [fault]


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("load(name, limit=Limits(wait=3))", "load takes no limit"),
        ("load(name, limits=Limits(pixel=3))", "Limits takes no pixel"),
        ("Index.opened(path)", "there is no Index.opened"),
        ("mmencode.load(name).encoded(modality, batch)", "there is no mmencode.load(name).encoded"),
        ("mmencode.aline", "there is no mmencode.aline"),
        ("classifier.calibrated", "there is no classifier.calibrated"),
    ],
)
def test_code_that_names_what_is_not_there_is_seen(code, fault):
    assert remedies.faults_of_code(code) == [fault]


def test_a_command_runs_as_it_stands(tmp_path, monkeypatch):
    """The lines without anything to fill in are parsed by the command line itself."""
    from typer.testing import CliRunner

    from mmencode.cli import app

    lines = {match[1] for match, _ in found(r"`(mmencode [^`]*)`") if GAP not in match[1]}
    monkeypatch.chdir(tmp_path)
    for line in sorted(lines):
        result = CliRunner().invoke(app, [*line.replace("'", "").split()[1:], "--help"])
        assert result.exit_code == 0, (line, result.output)


def test_sources_that_are_walked_are_all_of_them():
    assert {Path(words.path).parts[0] for words in spoken()} == {"mmencode", "plugins"}
