"""Prompts of a checkpoint: the words before its texts, by the names that sentence-transformers gives them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from mmencode.errors import InstructionError, WeightsError

from .sources import Checkpoint

_WIDTHS = ("matryoshka_dimensions", "matryoshka_dims", "truncate_dim")
_FILE = "config_sentence_transformers.json"
# The first of these that a checkpoint has and isn't empty, as encode_query and encode_document take them.
_NAMES = {"query": ("query",), "document": ("document", "passage", "corpus")}
# Prompts of models that were trained to follow an instruction: what is before it, itself, and behind it.
_TEMPLATES = (
    re.compile(r"(Instruct(?:ion)?: ?)(.+?)(\n ?Query: ?)", re.DOTALL),  # E5-instruct, GTE, Qwen3, NV-Embed
    re.compile(r"(task: )(.+?)( \| query: )", re.DOTALL),  # EmbeddingGemma
)


def read_prompts(checkpoint: Checkpoint) -> tuple[dict[str, str], str]:
    """Read a checkpoint's prompts by name, and its default prompt."""
    checkpoint.require("modules.json")
    settings = checkpoint.settings(_FILE) if (checkpoint.folder / _FILE).is_file() else {}
    prompts = {str(name): str(prompt or "") for name, prompt in (settings.get("prompts") or {}).items()}
    default = settings.get("default_prompt_name")
    if default is not None and default not in prompts:
        raise WeightsError(
            f"{_FILE} of {checkpoint.name!r} has no prompt called {default!r}, its default",
            culprit=str(checkpoint.folder / _FILE),
            remedy="make default_prompt_name one of its prompts, or null",
        )
    return prompts, prompts[default] if default is not None else ""


def read_widths(checkpoints: Iterable[Checkpoint], width: int) -> tuple[int, ...]:
    """Read the Matryoshka widths below `width` that the settings of checkpoints declare."""
    files = [(each, file) for each in checkpoints for file in (_FILE, "config.json")]
    there = [(each, file) for each, file in files if (each.folder / file).is_file()]
    declared = [value for each, file in there for value in _widths_in(each.settings(file))]
    sound = {value for value in declared if type(value) is int and 0 < value < width}
    return tuple(sorted(sound))


def _widths_in(settings: Mapping[str, Any]) -> list[Any]:
    found = [settings.get(name) for name in _WIDTHS]
    return [value for one in found for value in (one if isinstance(one, list) else [one])]


def named_prompt(prompts: Mapping[str, str], side: str) -> str:
    """The prompt of queries or documents; "" where the checkpoint has none by these names."""
    return next((prompts[name] for name in _NAMES[side] if prompts.get(name)), "")


def fill_in(prompt: str, instruction: str, checkpoint: Checkpoint) -> str:
    """Put an instruction into the place that a prompt has for one; "" leaves the prompt as it is.

    Raises InstructionError for a prompt without such a place.
    """
    if not instruction:
        return prompt
    found = next((match for one in _TEMPLATES if (match := one.fullmatch(prompt))), None)
    if found is None:
        raise InstructionError(
            f"the prompt of queries of {checkpoint.name!r}, {prompt!r}, has no place for an instruction",
            culprit=str(checkpoint.folder / _FILE),
            remedy="leave the instruction out: the model wasn't trained to follow one; where its author says "
            'that it was, write the whole prompt into the checkpoint: "prompts": {"query": '
            '"Instruct: your words\\nQuery: "}',
        )
    return found[1] + instruction + found[3]
