"""The words of the code: a docstring's first sentence stands alone, and a function is named by a verb.

An editor shows the first line of a docstring and nothing around it, so that line names its subject and points
at nothing outside itself. A bare participle ("fitted") names a value; what does something is a verb ("fit").
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = sorted(
    [
        *(
            path
            for path in (ROOT / "mmencode").iterdir()
            if path.suffix == ".py" or (path / "__init__.py").is_file()
        ),
        *(path.parent for path in ROOT.glob("plugins/*/**/py.typed")),
    ]
)

# First words that point outside the sentence, or begin a fragment of one.
_POINTING = """
what which who whose where when how why because so that as if it its they them their these those this he
she such same here there any all none both either neither some another other others likewise also and but
or then otherwise else only not nothing never of in on by from with for to up down about out without
between after before
"""
POINTING = frozenset(_POINTING.split())
POINTING_PHRASES = re.compile(
    r"^(the (same|others?|rest)|whether (it|they|this|these|those|that|one|there)|one of (them|those))\b",
    re.IGNORECASE,
)
SHORTEST = 4  # words of a sentence that says something

_IRREGULAR = """
built found known led made held kept written taken given drawn seen told shown chosen sent left lost
bound begun done gone grown hidden said sold spent stood thought understood won torn thrown taught sought
bought brought caught dealt fed felt fought hung laid lent lit meant met paid proven risen shaken slept
spoken stuck struck swept worn broken forgotten frozen fallen eaten driven
"""
IRREGULAR = frozenset(_IRREGULAR.split())
PARTICLES = frozenset(["aside", "as", "at", "by", "for", "from", "in", "of", "on", "to", "where", "with"])
NOT_PARTICIPLES = {"need", "feed", "seed", "speed", "embed", "exceed", "proceed", "red", "shed"}


def _is_participle(word: str) -> bool:
    return word in IRREGULAR or (word.endswith("ed") and word not in NOT_PARTICIPLES)


def _is_bare_participle(name: str) -> bool:
    """Whether a name only says that something was done: "fitted", "written_aside", not "failed_items"."""
    first, *others = name.strip("_").split("_")
    return _is_participle(first) and (not others or others[0] in PARTICLES)


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def _is_former_name(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function is only kept for users of an old name."""
    return (ast.get_docstring(function) or "").startswith("Deprecated")


def _is_value(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function is read as an attribute, so that a participle says what its object is."""
    names = {ast.unparse(one) for one in function.decorator_list}
    return any(name in names for name in ("property", "cached_property", "functools.cached_property"))


def _first_sentence(docstring: str) -> str:
    paragraph = docstring.strip().split("\n\n")[0]
    flat = " ".join(paragraph.split())
    return re.split(r"(?<=[.!?])\s", flat)[0]


def faults_of_docstring(docstring: str) -> list[str]:
    """What keeps the first line of a docstring from standing alone."""
    sentence = _first_sentence(docstring)
    words = sentence.split()
    faults = []
    first = words[0].strip("`\"'(,").lower() if words else ""
    if first in POINTING or POINTING_PHRASES.match(sentence):
        faults.append(f"begins with {' '.join(words[:2])!r}")
    if len(words) < SHORTEST and "`" not in sentence:
        faults.append("is a fragment")
    return faults


def _docstrings(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "lineno", 1), getattr(node, "name", "module"), text


def _files(room: Path) -> list[Path]:
    return [room] if room.is_file() else sorted(room.rglob("*.py"))


def words_that_lean_on_others(room: Path) -> list[str]:
    """The docstrings of a room that don't stand alone, each with its place and fault."""
    return [
        f"{path.relative_to(ROOT)}:{line} {name}: {fault}: {_first_sentence(text)}"
        for path in _files(room)
        for line, name, text in _docstrings(ast.parse(path.read_text()))
        for fault in faults_of_docstring(text)
    ]


def participles(room: Path) -> list[str]:
    """The functions of a room that are named by a bare participle, each with its place."""
    return [
        f"{path.relative_to(ROOT)}:{function.lineno} {function.name}"
        for path in _files(room)
        for function in _functions(ast.parse(path.read_text()))
        if not (_is_value(function) or _is_former_name(function)) and _is_bare_participle(function.name)
    ]


@pytest.mark.parametrize("room", ROOMS, ids=lambda path: path.name)
def test_every_docstring_makes_sense_as_the_only_line_one_sees(room):
    found = words_that_lean_on_others(room)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("room", ROOMS, ids=lambda path: path.name)
def test_no_function_is_named_by_a_bare_participle(room):
    found = participles(room)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "docstring",
    [
        "What the encoder gives.",
        "Any of them.",
        "All of them.",
        "The same for failures.",
        "Whether it is a saved space, whose own card chooses encoders.",
        "Likewise, of a folder that is there.",
        "Give it up.",
        "As it was asked for when it was made.",
    ],
)
def test_the_rule_finds_a_line_that_needs_its_surroundings(docstring):
    assert faults_of_docstring(docstring)


@pytest.mark.parametrize(
    "docstring",
    [
        "Turn a batch of raw items into vectors.",
        "The width of every vector of this space.",
        "Whether a space is closed.",
    ],
)
def test_the_rule_lets_a_line_pass_that_stands_alone(docstring):
    assert not faults_of_docstring(docstring)


@pytest.mark.parametrize(
    ("word", "is_one"), [("fitted", True), ("found", True), ("fit", False), ("embed", False)]
)
def test_the_rule_knows_a_participle(word, is_one):
    assert _is_participle(word) == is_one
