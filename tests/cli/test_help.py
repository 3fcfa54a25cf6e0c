"""The help of every command makes sense to a reader who doesn't know the code, and the docs hold it."""

from __future__ import annotations

import sys
from pathlib import Path

from test_words import faults_of_docstring

DOCS = Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(DOCS))
try:
    import commands
finally:
    sys.path.remove(str(DOCS))

PARAMETERS = [
    (f"{path} {parameter.name}", parameter)
    for path, command in commands.commands()
    for parameter in commands.parameters(command)
]


def test_the_page_about_the_command_line_holds_the_help_of_every_command():
    assert commands.page() == commands.PAGE.read_text(encoding="utf-8"), "run `python docs/commands.py`"


def test_the_first_sentence_of_every_command_fits_the_list_of_commands():
    """On 80 columns, the list cuts longer ones."""
    summaries = [command.help.strip().split("\n\n")[0] for _, command in commands.commands()]
    assert [summary for summary in summaries if len(summary) > 62 or not summary.endswith(".")] == []


def test_every_argument_and_option_says_in_a_sentence_what_it_is():
    faults = {name: faults_of_docstring(parameter.help) for name, parameter in PARAMETERS}
    assert {name: fault for name, fault in faults.items() if fault} == {}
    assert [name for name, parameter in PARAMETERS if not parameter.help.endswith(".")] == []


def test_every_value_has_a_name_in_the_help():
    """Typer would show its type instead, which its versions do in different ways."""
    unnamed = [
        name
        for name, parameter in PARAMETERS
        if not parameter.metavar and not getattr(parameter, "is_flag", False)
    ]
    assert unnamed == []
