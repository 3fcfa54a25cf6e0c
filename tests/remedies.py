"""The words of the package that tell somebody what to type: found in its source, and looked up."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import typer

import mmencode
from mmencode.cli import app

ROOT = Path(__file__).parents[1]
PACKAGES = [ROOT / "mmencode", *sorted(path.parent for path in (ROOT / "plugins").glob("*/*/__init__.py"))]
GAP = "\u2026"  # stands for what a message is told only when it is raised

# What the names of variables in messages stand for.
RECEIVERS = {
    "classifier": "mmencode.zeroshot.Classifier",
    "embeddings": "mmencode.Embeddings",
    "other": "mmencode.Embeddings",
    "first": "mmencode.Quantised",
    "space": "mmencode.Space",
    "index": "mmencode.Index",
    "store": "mmencode.index.store.Store",
    "text": "builtins.str",
    "item": "builtins.bytes",
    "array": "numpy.ndarray",
    "samples": "numpy.ndarray",
    "tensor": "torch.Tensor",
    "image": "PIL.Image.Image",
    "waveform": "numpy.ndarray",
    "projection": "mmencode.Projection",
    "table": "pyarrow.Table",
    "frame": "pandas.DataFrame",
    "batch": "numpy.ndarray",
    "file": "io.BytesIO",
    "model": "torch.nn.Module",
    "np": "numpy",
}
# Whose methods messages call without saying on what, or whose classes without their module.
METHODS = tuple(f"mmencode.{name}" for name in ("Space", "Embeddings", "Quantised", "Encoder", "Index"))
ELSEWHERE = ("io.BytesIO", "torch.utils.data", "numpy", "numpy.ndarray", "torch.Tensor", "pandas.DataFrame")
# What only libraries know that take seconds to import.
SLOW = re.compile(r"\b(timm|open_clip|openclip|torchaudio|diffusers|save_pretrained|Timm\w+)\b")
SLOW_MODULES = ("mmencode.encoders.timm", "diffusers.AutoencoderKL")
NOT_SAID = re.compile(
    r"<[a-z!/]|^mmencode(\.[a-z]+)+$"
)  # markup, and names of loggers and of spans' attributes
NO_CODE = {"e", "n", "s", "x", "length"}  # letters before a bracket, and a function of SQL


@dataclass(frozen=True)
class Words:
    """What a string of the source says, with a gap for each value that it is filled with."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {textwrap.shorten(self.text, 200)}"


@functools.cache
def spoken() -> list[Words]:
    """All strings of the packages but docstrings, programs and parts of pages: what people may act on."""
    found = [words for package in PACKAGES for path in sorted(package.rglob("*.py")) for words in _of(path)]
    return [words for words in found if not _is_program(words.text) and not NOT_SAID.search(words.text)]


def _is_program(text: str) -> bool:
    if "import" not in text:
        return False
    try:
        return any(isinstance(node, ast.Import) for node in ast.parse(text.replace(GAP, "_")).body)
    except (SyntaxError, ValueError):
        return False


def _of(path: Path) -> Iterator[Words]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {id(node) for parent in ast.walk(tree) for node in _parts(parent)}
    for node in ast.walk(tree):
        text = _text(node)
        if text is not None and id(node) not in inside:
            yield Words(path.relative_to(ROOT).as_posix(), node.lineno, text)


def _parts(parent: ast.AST) -> Iterator[ast.AST]:
    """The strings that are part of a larger one, and docstrings."""
    if isinstance(parent, ast.JoinedStr):
        yield from (node for value in parent.values for node in ast.walk(value))
    if isinstance(parent, ast.BinOp) and _text(parent) is not None:
        yield from (node for side in (parent.left, parent.right) for node in ast.walk(side))
    if isinstance(parent, ast.Expr):  # a docstring is for who reads the source or `help`
        yield from ast.walk(parent.value) if isinstance(parent.value, ast.Constant) else ()


def _text(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(value) or GAP for value in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _text(node.left), _text(node.right)
        return None if left is None or right is None else left + right
    return None


# The command line


def commands() -> dict[tuple[str, ...], Any]:
    """All commands and groups by their path; () is the whole."""
    found: dict[tuple[str, ...], Any] = {}

    def walk(command: Any, path: tuple[str, ...]) -> None:
        found[path] = command
        for name, inner in getattr(command, "commands", {}).items():
            walk(inner, (*path, name))

    walk(typer.main.get_command(app), ())
    return found


def options(command: Any) -> set[str]:
    """The options of a command, with those of help."""
    names = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    return {name for name in names if name.startswith("-")} | {"--help", "-h"}


def faults_of_command(line: str) -> list[str]:
    """What a line that begins with "mmencode" says that the command line hasn't."""
    known = commands()
    _, *rest = line.split()
    path: tuple[str, ...] = ()
    while rest and (*path, rest[0]) in known:
        path = (*path, rest.pop(0))
    if not path or (hasattr(known[path], "commands") and not set(rest) <= {GAP}):
        return [] if not rest else [f"no command {' '.join([*path, *rest[:1]])!r}"]
    asked = {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
    return [f"{' '.join(path)} has no option {option}" for option in sorted(asked - options(known[path]))]


# Python


def code_in(text: str) -> Iterator[str]:
    """What looks like a call, or like a public name of ours: load(name, limits=Limits(wait=...))."""
    for found in re.finditer(r"(?<![\w.`\[])([A-Za-z_][\w.]*)\(", text):
        expression = _balanced(text[found.start() :])
        if expression and found[1] not in NO_CODE and not found[1].endswith("_"):
            yield expression
    yield from re.findall(r"\bmmencode(?:\.\w+)+(?![\w(/])", text)
    yield from re.findall(r"`((?:Space|Index|Embeddings|Classifier|EncoderSpec|[a-z]+)\.\w+)`", text)


def _balanced(text: str) -> str | None:
    depth = 0
    for place, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0 and character == ")":
            return text[: place + 1]
    return None


def faults_of_code(code: str) -> list[str]:
    """What a piece of code names that isn't there, or passes that isn't taken."""
    try:
        tree = ast.parse(code.replace(GAP, "_given"), mode="eval")
    except SyntaxError:
        return []  # words in brackets behind a word
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    if not calls:
        return [] if resolve(code) is not None else [f"there is no {code}"]
    return [fault for call in calls for fault in _faults_of_call(call)]


def _faults_of_call(call: ast.Call) -> list[str]:
    if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Call):
        made = _made(call.func.value)
        if made is None:  # another library's function, which doesn't say what it gives
            return []
        found = getattr(made, call.func.attr, None)
    else:
        found = resolve(ast.unparse(call.func))
    if found is None:
        return [f"there is no {ast.unparse(call.func)}"]
    try:
        parameters = inspect.signature(found).parameters
    except (TypeError, ValueError):  # of C
        return []
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return []
    given = [keyword.arg for keyword in call.keywords if keyword.arg and keyword.arg != "_given"]
    return [f"{ast.unparse(call.func)} takes no {name}" for name in given if name not in parameters]


def _made(call: ast.Call) -> Any:
    """The class of what a call gives: load(name) makes a Space."""
    found = resolve(ast.unparse(call.func))
    if inspect.isclass(found):
        return found
    said = getattr(found, "__annotations__", {}).get("return", "")
    return resolve(str(said))


def resolve(name: str) -> Any:
    """What a name in a message stands for: a public name, a method of one, or of another library."""
    first, _, rest = name.partition(".")
    starts = [RECEIVERS[first]] if first in RECEIVERS else []
    starts += [
        f"builtins.{first}",
        first,
        f"mmencode.{first}",
        f"mmencode.zeroshot.{first}",
        f"mmencode.evaluation.{first}",
    ]
    parts = ("index", "testing", "embeddings", "encoders")
    starts += [f"mmencode.{part}.{first}" for part in parts]
    starts += [f"{module}.{first}" for module in (*METHODS, *ELSEWHERE)]
    if SLOW.search(name):
        starts += [f"{module}.{first}" for module in SLOW_MODULES]
    for start in starts:
        found = _imported(f"{start}.{rest}".removesuffix("."))
        if found is not None:
            return found
    return None


def _imported(dotted: str) -> Any:
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: Any = import_module(".".join(parts[:count]))
        except (ImportError, ValueError):
            continue
        for part in parts[count:]:
            found = getattr(found, part, None)
        if found is not None:
            return found
    return None


def parameters() -> set[str]:
    """The names of all parameters and fields of what is public."""
    parts = ("index", "zeroshot", "evaluation", "scale", "testing")
    modules = ["mmencode", *(f"mmencode.{part}" for part in parts)]
    found: set[str] = set()
    for module in map(import_module, modules):
        for name in {*vars(module), *getattr(mmencode, "_LAZY", {})}:
            value = getattr(module, name, None)
            for each in (value, *vars(value).values()) if inspect.isclass(value) else (value,):
                try:
                    found |= set(inspect.signature(each).parameters)
                except (TypeError, ValueError):
                    continue
    return found
