"""Encoders of late interaction, with many vectors for each item, from checkpoints of several libraries."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from mmencode import Encoder

from .late_pages import build_pages
from .late_recipes import DOCUMENT, FAMILY, QUERY, read_recipe
from .late_text import build_texts
from .loading import sign
from .prompts import fill_in
from .sources import find

_ROLES = {"image": DOCUMENT, "text": DOCUMENT, "text:query": QUERY}


def offers(variant: str) -> tuple[str, ...]:
    """Tell which items a checkpoint takes: images as documents, or texts; and texts as queries."""
    return ("image" if read_recipe(find(variant, FAMILY, weights=False)).pages else "text", "text:query")


def towers(
    variant: str, modalities: Collection[str] = ("text", "text:query"), instruction: str = ""
) -> dict[str, Encoder]:
    """Build the side of documents (`text` or `image`) and that of queries (`text:query`) of `<id or folder>`.

    They share one network. An instruction takes the place of the one in the prompt of queries.

    Raises UnknownNameError for an id that doesn't exist, WeightsError for a checkpoint that is refused, isn't
    whole, isn't of late interaction, or has no place for an instruction.
    """
    checkpoint = find(variant, FAMILY)
    recipe = read_recipe(checkpoint)
    asked = fill_in(recipe.prompts.get(QUERY, ""), instruction, checkpoint)
    recipe = replace(recipe, prompts={**recipe.prompts, QUERY: asked})
    build = build_pages if recipe.pages else build_texts
    built = build(recipe, [_ROLES[modality] for modality in modalities])
    for encoder in built.values():
        sign(encoder, recipe.base)
    return {modality: built[_ROLES[modality]] for modality in modalities}
