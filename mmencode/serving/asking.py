"""The items of requests: text, base64, data: URIs and URLs become what a space encodes; paths never do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import InputError
from ..inputs import Limits
from ..inputs.data_uris import is_data_uri, read_base64, read_data_uri
from ..inputs.fetching import Fetcher, is_url
from ..plugins.composites import INTERLEAVED, is_composite, parts_of
from ..plugins.modalities import find_modality
from ..spaces.sides import Role
from ..spaces.space import Space
from .faults import RequestError

Form = Literal["auto", "base64"]


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an item, as a request has it.

    A str of a modality whose items are strs is the item itself. Of any other it is a data: URI or a URL, or
    with the form "base64" bytes in bare base64; it is never a path. bytes are the item's file.
    """

    modality: str
    value: str | bytes
    form: Form = "auto"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One item of a request, of one or several parts, and the side that it is encoded for."""

    parts: tuple[Part, ...]
    role: Role = ""


def choose_modality(space: Space, wanted: Wanted) -> str:
    """Choose the modality of a space that takes an item's parts, as `choose_modalities` does."""
    return choose_modalities(space, [wanted])[0]


def choose_modalities(space: Space, wanted: Sequence[Wanted]) -> list[str]:
    """Choose for each item the modality of a space that takes its parts; RequestError where none does.

    One part is of its own modality. Several go to a composite with just these parts, else to interleaved
    items, else to a composite in which others are absent.
    """
    given = [tuple([part.modality for part in each.parts]) for each in wanted]
    modalities = space.modalities  # which looks at all encoders, for all items at once
    chosen = {parts: _choose(modalities, parts) for parts in set(given)}
    return [chosen[parts] for parts in given]


def _choose(modalities: Sequence[str], given: Sequence[str]) -> str:
    if len(given) == 1 and given[0] in modalities and not is_composite(given[0]):
        return given[0]
    composites = [modality for modality in modalities if parts_of(modality)]
    once = len(set(given)) == len(given)
    for modality in composites:
        if once and set(parts_of(modality)) == set(given):
            return modality
    if INTERLEAVED in modalities:
        return INTERLEAVED
    for modality in composites:
        if once and set(parts_of(modality)) > set(given):
            return modality
    together = " together" if len(given) > 1 else ""
    raise RequestError(
        f"the space has no encoder for such items{together}",
        status=400,
        code="unknown_modality",
        param="input",
        remedy=f"it takes {', '.join(modalities)}",
    )


def is_inline(modality: str) -> bool:
    """Whether a str is itself an item of this modality, as a text is."""
    spec = find_modality(modality)
    return spec is not None and spec.inline


def media(modality: str, value: str) -> Part:
    """Make a part of what some clients write as a data: URI or a URL, and others as bare base64."""
    bare = not (is_inline(modality) or is_data_uri(value) or is_url(value))
    return Part(modality, value, "base64" if bare else "auto")


def url_of(part: Part) -> str:
    """The URL that a part stands for; "" for a part that isn't one."""
    text = part.value if isinstance(part.value, str) and part.form == "auto" else ""
    return text if is_url(text) and not is_inline(part.modality) else ""


def read_part(part: Part, limits: Limits, fetcher: Fetcher | None = None) -> Any:
    """Make a str or bytes of a part, and fetch it where it is a URL; InputErrors hold nothing of it."""
    source = f"an item of modality {part.modality!r}"
    if is_inline(part.modality):
        if isinstance(part.value, bytes) or part.form != "auto":
            raise InputError(f"{part.modality} is a string, not bytes", source=source, remedy="send a string")
        return part.value
    if isinstance(part.value, bytes):
        return part.value
    if part.form == "base64":
        return read_base64(part.value, limits, source=source)
    if is_data_uri(part.value):
        return read_data_uri(part.value, part.modality, limits, source=source)
    if not is_url(part.value):
        raise InputError(
            "it is no data: URI with base64, and a server opens no path",
            source=source,
            remedy=f"write data:{_example(part.modality)};base64, and the bytes in base64 behind the comma",
        )
    if fetcher is None:
        raise InputError(
            "it is a URL, and this server fetches none",
            source=source,
            remedy="send the bytes themselves, as a data: URI with base64",
        )
    return fetcher.fetch(part.value, limits)


def arrange(modality: str, parts: Sequence[Part], values: Sequence[Any]) -> Any:
    """Make one item of the values of its parts, as its modality takes it."""
    if not is_composite(modality):
        return values[0]
    given = list(zip((part.modality for part in parts), values, strict=True))
    if modality == INTERLEAVED:
        return given
    found = dict(given)
    return tuple(found.get(part) for part in parts_of(modality))


def _example(modality: str) -> str:
    return {"image": "image/png", "audio": "audio/wav", "video": "video/mp4"}.get(
        modality, "application/octet-stream"
    )
