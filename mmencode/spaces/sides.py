"""The sides of a modality: one encoder for documents and queries alike, or one for each."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from ..errors import InstructionError, UnknownModalityError
from ..errors.causes import quote
from ..plugins.composites import parts_of
from ..plugins.spec import LONGEST, QUERY, EncoderSpec, modality_of_key

DOCUMENT = "document"
Role = Literal["", "query", "document"]


def key_for(modality: str, role: str, known: Container[str]) -> str:
    """Choose the key of the encoder for items in a role, out of those that a space knows.

    "query" is the queries' side where the modality has one, and else its only side, as it is for "" where
    there are no documents. "document" is never the queries' side. A key may be given in place of the
    modality. ValueError for another role.
    """
    if role not in ("", QUERY, DOCUMENT):
        raise ValueError(f'role is {role!r}: make it "query" or "document", or leave it out')
    if role == DOCUMENT and modality.endswith(f":{QUERY}"):
        raise ValueError(f"{modality!r} is a queries' side: name the modality of the documents")
    asking = f"{modality}:{QUERY}"
    if asking in known and (role == QUERY or (role == "" and modality not in known)):
        return asking
    return modality


def expand(modalities: Iterable[str], known: Sequence[str]) -> tuple[str, ...]:
    """Replace each modality by the keys of its sides; a key that a space knows stays alone."""
    found: dict[str, None] = {}
    for asked in modalities:
        sides = [key for key in known if modality_of_key(key) == asked]
        found |= dict.fromkeys(sides or [asked])
    return tuple(found)


def instruct(specs: Sequence[EncoderSpec], instruction: str) -> list[EncoderSpec]:
    """Give an instruction to those encoders of queries that take one; "" leaves what they have.

    Raises TypeError for what is no text, InstructionError for one that is blank, too long or not Unicode, and
    where no encoder takes one.
    """
    if instruction == "":
        return list(specs)
    if not isinstance(instruction, str):
        raise TypeError(f"instruction is {instruction!r:.100}: make it a str")
    if not instruction.strip() or len(instruction) > LONGEST or not _is_unicode(instruction):
        raise InstructionError(
            f"the instruction {quote(instruction, 60)} is blank, too long or not Unicode",
            remedy=f"make it words, of at most {LONGEST} characters, or leave it out",
        )
    if not any(spec.instructed for spec in specs):
        raise InstructionError(
            f"no encoder of space {specs[0].space_name!r} takes an instruction",
            remedy="leave the instruction out, or load a space whose queries have a prompt with a place for "
            "one: `mmencode list --json` says which are `instructed`",
        )
    return [replace(spec, instruction=instruction) if spec.instructed else spec for spec in specs]


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def unknown_modality(space: str, modality: str, specs: Mapping[str, EncoderSpec]) -> UnknownModalityError:
    """Make the error for a modality that a space hasn't, with what it has that was perhaps meant."""
    likely = next((key for key in specs if _has_same_parts(modality, modality_of_key(key))), "")
    asking = [modality_of_key(key) for key in specs if key.endswith(f":{modality}")]
    remedy = f"it has {likely}: give the parts in that order" if likely else _how_to_fuse(modality, specs)
    if asking:
        remedy = f'{modality} is a role: encode("{asking[0]}", batch, role="{modality}")'
    return UnknownModalityError(
        f"space {space!r} has no encoder for {modality!r}",
        remedy=remedy or f"it has {', '.join(specs)}; `mmencode list` shows other spaces",
    )


def _how_to_fuse(modality: str, specs: Mapping[str, EncoderSpec]) -> str:
    """Say how to sum up the parts of a composite that no encoder takes; "" where one isn't there."""
    parts = parts_of(modality)
    if not parts or any(part not in specs or specs[part].outputs != "one" for part in parts):
        return ""
    options = " ".join(f"--weight {part}=1" for part in dict.fromkeys(parts))
    return (
        f"declare the weighted sum of its parts' vectors: space.fuse({modality!r}), or {options} on the "
        "command line"
    )


def _has_same_parts(modality: str, other: str) -> bool:
    """Whether two composites have the same parts in another order."""
    return bool(parts_of(modality)) and sorted(parts_of(modality)) == sorted(parts_of(other))
