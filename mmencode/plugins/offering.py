"""Leaves out the encoders of a family for which one checkpoint has nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import copy
from dataclasses import replace

from ..errors import EncoderError, MmencodeError, UnknownModalityError
from ..errors.causes import quote
from .composites import INTERLEAVED
from .spec import EncoderSpec
from .targets import build, culprit_of


def keep_offered(
    specs: Sequence[EncoderSpec],
) -> tuple[tuple[EncoderSpec, ...], dict[str, MmencodeError]]:
    """Keep the specs whose modality their checkpoint has, and make the errors for the others, by key.

    `EncoderSpec.offers` is asked, once for all specs that name it; a spec without it is kept. The parts of
    interleaved items are those that the checkpoint has. Raises what
    finding the checkpoint raises; EncoderError where it has none of the modalities, or the answer is no
    collection of words.
    """
    kept: list[EncoderSpec] = []
    absent: dict[str, MmencodeError] = {}
    asked: dict[str, frozenset[str]] = {}
    for spec in specs:
        if not spec.offers or not spec.variant:
            kept.append(spec)
            continue
        if spec.offers not in asked:
            asked[spec.offers] = _ask(spec)
        if {spec.modality, spec.key} & asked[spec.offers]:
            has = tuple(part for part in spec.parts if part in asked[spec.offers])
            kept.append(replace(spec, parts=has) if spec.modality == INTERLEAVED else spec)
        else:
            absent[spec.key] = _lacking(spec, asked[spec.offers])
    if specs and not kept:
        raise copy(next(iter(absent.values())))
    sided = {spec.modality for spec in kept}  # queries alone are then what the modality means
    return tuple(kept), {key: error for key, error in absent.items() if key not in sided}


def _ask(spec: EncoderSpec) -> frozenset[str]:
    found = build(spec, spec.offers)
    words = isinstance(found, Collection) and not isinstance(found, str)
    if not words or not all(isinstance(word, str) for word in found):
        raise EncoderError(
            f"{spec.offers} gave {quote(found, 200)} for {spec.name!r}",
            culprit=culprit_of(spec),
            remedy="a function that a spec's `offers` names returns a tuple of modalities",
        )
    return frozenset(found)


def _lacking(spec: EncoderSpec, has: frozenset[str]) -> UnknownModalityError:
    return UnknownModalityError(
        f"the checkpoint of {spec.space_name!r} has nothing for {spec.key!r}",
        culprit=spec.name,
        remedy=f"it takes {', '.join(sorted(has)) or 'no modality of this family'}; `mmencode list` shows "
        "other spaces",
    )
