"""Chat templates of checkpoints, rendered as transformers does, with a bound on the memory they may take.

A template is a program that somebody else wrote. Jinja's sandbox, which transformers runs it in, keeps it
from all objects but strings, numbers and containers, and lets it make ten gigabytes of these.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextvars import ContextVar
from typing import Any

from jinja2 import nodes, pass_context
from jinja2.compiler import CodeGenerator, Frame
from jinja2.sandbox import ImmutableSandboxedEnvironment
from transformers.utils.chat_template_utils import _compile_jinja_template

MOST = 2**26  # bytes, about, that all values of one rendering take together: a long chat takes a thousandth
_ITEM, _ROUND = 64, 1024  # bytes of a small object, and for a round of a loop or a call
_HARMLESS = frozenset(
    ("default", "d", "int", "float", "round", "abs", "first", "last", "length", "count", "safe_range")
)
_NUMBER = re.compile(r"\d+")
_NESTED = re.compile(r"\{[^{}]*\{")


class TemplateMemoryError(Exception):
    """A chat template makes more than it may."""


def render(source: str, turns: list[dict[str, Any]], options: Mapping[str, Any]) -> str:
    """Render a chat as transformers' `apply_chat_template` does.

    Raises TemplateMemoryError before the template takes too much memory.
    """
    token = _left.set([MOST])
    try:
        told = {"add_generation_prompt": False, "tools": None, "documents": None, **options}
        found: str = _compile(source).render(messages=turns, **told)
        return found
    finally:
        _left.reset(token)


@functools.lru_cache(8)
def _compile(source: str) -> Any:
    plain = _compile_jinja_template("").environment  # with the filters, names and tags of transformers
    made = _Metered(
        trim_blocks=plain.trim_blocks,
        lstrip_blocks=plain.lstrip_blocks,
        extensions=[type(each) for each in plain.extensions.values()],
        optimized=False,  # or values would be made while it is compiled
        finalize=_finalize,
    )
    made.filters = {name: _meter(name, each) for name, each in plain.filters.items()} | {"counted": _count}
    made.globals.update(plain.globals)
    made.step = _ROUND + len(source) // 4  # for what the body of a loop or a macro may make and keep
    return made.from_string(source)


_left: ContextVar[list[float]] = ContextVar("left")  # what is left of the bytes of this rendering


def _charge(size: float) -> None:
    """Take bytes from what is left, before they are made."""
    left = _left.get()
    left[0] -= size
    if left[0] < 0:
        raise TemplateMemoryError


class _Generator(CodeGenerator):
    """Makes code in which strings are joined where it can be counted."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.join((")
        for each in node.nodes:
            self.visit(each, frame)
            self.write(", ")
        self.write("))")


class _Metered(ImmutableSandboxedEnvironment):
    """The sandbox of transformers, in which a value is paid for, before it is made, by its largest size."""

    code_generator_class = _Generator
    intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)
    step = _ROUND

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """Parse, and have the rounds of loops, and slices, counted."""
        found = super()._parse(source, name, filename)
        for loop in found.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, "counted", [nodes.Const(True)], [], None, None)
        for item in list(found.find_all(nodes.Getitem)):
            if isinstance(item.arg, nodes.Slice):
                item.node = nodes.Filter(item.node, "counted", [nodes.Const(False)], [], None, None)
        return found

    @staticmethod
    def concat(parts: Iterable[str]) -> str:
        """Join what a template, a block or a macro gives."""
        found = []
        for part in parts:
            _charge(_ITEM + len(part))
            found.append(part)
        return "".join(found)

    @staticmethod
    def join(values: tuple[Any, ...]) -> str:
        """Join values as `~` does."""
        _charge(sum(map(_deep, values)))
        return "".join(map(str, values))

    def call(self, context: Any, obj: Any, /, *values: Any, **named: Any) -> Any:
        """Call a method, a macro or a function of the template's."""
        owner = getattr(getattr(obj, "__wrapped__", obj), "__self__", None)  # jinja wraps str.format
        owner = owner if isinstance(owner, str | bytes | list | tuple | dict) else ""
        _charge(self.step + _predict(getattr(obj, "__name__", ""), owner, (*values, *named.values())))
        found = super().call(context, obj, *values, **named)
        _charge(_size(found))
        return found

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Compute with two values."""
        _charge(_predict_binop(operator, left, right))
        return super().call_binop(context, operator, left, right)


@pass_context
def _finalize(context: Any, value: Any) -> Any:
    """Pay for the text of a value that is put out; with a context, constants aren't made by the compiler."""
    _charge(_deep(value))
    return value


@pass_context
def _count(context: Any, values: Any, rounds: bool) -> Any:
    """Pay for each round of a loop, or for a copy of the values."""
    if rounds:
        return _rounds(context.environment.step, values)
    _charge(_size(values))
    return values


def _rounds(step: int, values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        _charge(step)
        yield value


def _meter(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    """Make a filter that pays for what it will make, before it does."""

    @functools.wraps(plain)
    def run(*values: Any, **named: Any) -> Any:
        given = values[1:] if hasattr(plain, "jinja_pass_arg") else values
        if given and name not in _HARMLESS:
            if not isinstance(given[0], str | Sized) and isinstance(given[0], Iterable):
                listed = list(given[0])  # paid for by what makes its items
                values = tuple(listed if value is given[0] else value for value in values)
                given = (listed, *given[1:])
            _charge(_predict(name, given[0], (*given[1:], *named.values())))
        found = plain(*values, **named)
        _charge(_size(found))
        return found

    return run


def _predict(name: str, owner: Any, values: tuple[Any, ...]) -> float:
    """The most bytes that a method or a filter may make of a value and its arguments."""
    size = _deep(owner) + sum(map(_deep, values))
    if name in _HARMLESS:
        return 0
    if name == "replace" and len(values) > 1 and isinstance(owner, str):
        old, new = str(values[0]), str(values[1])
        return size + (owner.count(old) if old else len(owner) + 1) * len(new)
    if name == "join":
        rows, glue = (
            (owner, values) if not isinstance(owner, str) else (values[0] if values else (), (owner,))
        )
        return size + (len(rows) if isinstance(rows, Sized) else MOST) * sum(map(_deep, glue))
    if name in ("format", "format_map"):
        return _predict_format(owner, values)
    if name == "translate":
        return float(len(owner) * size)
    numbers = sum(abs(value) for value in values if isinstance(value, int))
    return size * (1 + numbers)


def _predict_binop(operator: str, left: Any, right: Any) -> float:
    sizes = _size(left), _size(right)
    if operator == "%" and isinstance(left, str | bytes):
        return _predict_format(left, (right,))
    if operator == "*":
        for value, count in ((left, right), (right, left)):
            if isinstance(value, str | bytes | list | tuple) and isinstance(count, int):
                return _size(value) * max(1, count)
    if operator == "**" and isinstance(left, int) and isinstance(right, int):
        return _ITEM + left.bit_length() * abs(right) / 8
    return sum(sizes)


def _predict_format(pattern: Any, values: tuple[Any, ...]) -> float:
    """The most bytes that formatting makes: of each field all values, and all widths that are said."""
    flat = [each for value in values for each in _flat(value)]
    widths = sum(abs(value) for value in flat if isinstance(value, int))
    text = pattern if isinstance(pattern, str) else str(pattern)
    if _NESTED.search(text):  # a width that is said by a value within a value
        return float(MOST) + 1
    widths += sum(int(number[:12]) for number in _NUMBER.findall(text))
    fields = text.count("{") + text.count("%") + 1
    return len(text) + fields * sum(map(_deep, flat)) + widths


def _flat(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else (value,)


def _size(value: Any) -> int:
    """The bytes of a value itself, about."""
    if isinstance(value, int):
        return _ITEM + value.bit_length() // 8
    if isinstance(value, str | bytes):
        return _ITEM + len(value)
    return _ITEM * (1 + (len(value) if isinstance(value, list | tuple | dict) else 0))


def _deep(value: Any) -> int:
    """The bytes of a value's text, about: a container counts what is in it each time that it is in there."""
    return _deep_in(value, {})


def _deep_in(value: Any, known: dict[int, int]) -> int:
    if not isinstance(value, list | tuple | dict):
        return _size(value)
    if id(value) not in known:
        known[id(value)] = MOST  # of a container within itself
        inner = (*value, *value.values()) if isinstance(value, dict) else value
        known[id(value)] = _size(value) + sum(_deep_in(each, known) for each in inner)
    return known[id(value)]
