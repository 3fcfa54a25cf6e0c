"""Tests that wait for a process, a thread or a result do so within a bound, so that a hang is a failure."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
FILES = [
    file
    for pattern in ("tests/**/*.py", "plugins/*/tests/**/*.py")
    for file in sorted(TOP.glob(pattern))
    if not {"benchmarks", "studies"} & set(file.parts)
]
RUNS = ("run", "call", "check_call", "check_output")
WAITS = ("join", "communicate", "result")
PROCESSES = ("process", "child", "self._process")  # barriers and gates have a bound of their own


def find_endless(source):
    """The lines with calls that may wait for ever."""
    for call in ast.walk(ast.parse(source)):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
            continue
        name, owner = call.func.attr, ast.unparse(call.func.value)
        given = {keyword.arg for keyword in call.keywords}
        if name in RUNS and owner == "subprocess" and not given & {"timeout", None}:
            yield call.lineno
        waits = name in WAITS or (name == "wait" and owner in PROCESSES)
        if waits and not call.args and not given:
            yield call.lineno


@pytest.mark.parametrize(
    "line",
    ["subprocess.run(x)", "subprocess.check_output(x, text=True)", "t.join()", "child.wait()", "f.result()"],
)
def test_call_without_a_bound_is_found(line):
    assert list(find_endless(line)) == [1]


@pytest.mark.parametrize(
    "line", ["subprocess.run(x, timeout=9)", "', '.join(x)", "t.join(9)", "subprocess.run(x, **options)"]
)
def test_call_with_a_bound_is_none(line):
    assert list(find_endless(line)) == []


def test_no_test_waits_for_ever():
    assert len(FILES) > 300
    found = {str(file.relative_to(TOP)): [*find_endless(file.read_text("utf-8"))] for file in FILES}
    assert {file: lines for file, lines in found.items() if lines} == {}
