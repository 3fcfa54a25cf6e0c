"""Prompts of a checkpoint: the words before its texts, by the names that sentence-transformers gives them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mmencode.errors import WeightsError

from .sources import Checkpoint

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


def named_prompt(prompts: Mapping[str, str], side: str) -> str:
    """The prompt of queries or documents; "" where the checkpoint has none by these names."""
    return next((prompts[name] for name in _NAMES[side] if prompts.get(name)), "")


def fill_in(prompt: str, instruction: str, checkpoint: Checkpoint) -> str:
    """Put an instruction into the place that a prompt has for one; "" leaves the prompt as it is.

    Raises WeightsError for a prompt without such a place.
    """
    if not instruction:
        return prompt
    found = next((match for one in _TEMPLATES if (match := one.fullmatch(prompt))), None)
    if found is None:
        raise WeightsError(
            f"the prompt of queries of {checkpoint.name!r}, {prompt!r}, has no place for an instruction",
            culprit=str(checkpoint.folder / _FILE),
            remedy="leave the instruction out: the model wasn't trained to follow one; where its author says "
            'that it was, write the whole prompt into the checkpoint: "prompts": {"query": '
            '"Instruct: your words\\nQuery: "}',
        )
    return found[1] + instruction + found[3]
