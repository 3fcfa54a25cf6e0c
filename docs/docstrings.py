"""Docstrings are prose with Markdown's backticks, for readers of the code; Sphinx reads reStructuredText."""

from __future__ import annotations

import re
from typing import Any

_CODE = re.compile(r"`([^`]+)`")


def to_rest(lines: list[str]) -> list[str]:
    """The lines of a docstring as reStructuredText; what is laid out by hand stays as it stands."""
    converted: list[str] = []
    for paragraph in _paragraphs(lines):
        if _is_laid_out(paragraph):
            kept = [line for line in paragraph if not line.startswith("```")]
            converted += ["::", "", *(f"   {line}" for line in kept), ""]
        else:
            converted += [*_inline("\n".join(paragraph)).split("\n"), ""]
    return converted


def _paragraphs(lines: list[str]) -> list[list[str]]:
    """The lines between blank ones; a fenced block is one paragraph, blank lines and all."""
    paragraphs: list[list[str]] = [[]]
    fenced = False
    for line in lines:
        fenced ^= line.startswith("```")
        if line.strip() or fenced:
            paragraphs[-1].append(line)
        elif paragraphs[-1]:
            paragraphs.append([])
    return [paragraph for paragraph in paragraphs if paragraph]


def _is_laid_out(paragraph: list[str]) -> bool:
    """Whether the spaces count: a fenced block, columns, or lines that are indented."""
    return any(line.startswith(("```", " ")) or re.search(r"\S {3,}\S", line) for line in paragraph)


def _inline(text: str) -> str:
    """Code between backticks as literals, and every other sign that means something as itself."""
    parts = _CODE.split(text)
    for place, part in enumerate(parts):
        if place % 2:
            parts[place] = f"``{' '.join(part.split())}``"
        else:
            escaped = re.sub(r"([\\*|_`])", r"\\\1", part)
            after = "\\ " if place and re.match(r"\w", escaped) else ""
            before = "\\ " if place < len(parts) - 1 and re.search(r"[\w\"']$", escaped) else ""
            parts[place] = f"{after}{escaped}{before}"
    return "".join(parts)


def _convert(app: Any, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    lines[:] = to_rest(lines)


def setup(app: Any) -> dict[str, bool]:
    """Connect the conversion to autodoc."""
    app.connect("autodoc-process-docstring", _convert)
    return {"parallel_read_safe": True}
