"""Limits on what decoding one item may cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ..plugins.modality import ModalitySpec

PIXELS = 2**14 * (2**13 + 2**12)


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The largest items that are accepted; InputError refuses larger ones before they are decoded.

    bytes        of a file or byte string, still encoded: 256 MiB
    pixels       of a picture: 16 384 x 12 288, what the largest phone sensors produce
    scans        of a progressive JPEG, each of which costs a pass over the whole picture: 500, and of a large
                 picture only as many as together pass over 20 times `pixels`
    memory       bytes that decoding one item may take, estimated from its header: 2 GiB, enough for the
                 largest phone pictures. A picture of more than 250 pixels for each byte of its file is blank
                 or a decompression bomb, and may take an eighth of it, unless `pixels` is raised; likewise
                 a recording of more than 250 samples for each byte
    seconds      of a recording: ten minutes
    samples      of a recording, over all its channels: 2^28
    characters   of a text: 100 000; an encoder may truncate a text far earlier
    wait         seconds that reading and preprocessing one item may take: one minute. After that the item is
                 an error; its thread goes on in the background until the decoder returns
    declared     those of modalities that plugins declare, {"molecule.atoms": 5000}; the others have the
                 values of their declaration

    Raises ValueError for values that aren't positive whole numbers; `seconds`, `wait` and those in `declared`
    may be fractions, or `math.inf` for no limit.
    """

    bytes: int = 2**28
    pixels: int = PIXELS
    scans: int = 500
    memory: int = 2**31
    seconds: float = 600.0
    samples: int = 2**28
    characters: int = 100_000
    wait: float = 60.0
    declared: Mapping[str, int | float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "declared", dict(self.declared))
        for one in fields(self):
            if one.name != "declared":
                fractions = one.name in ("seconds", "wait")
                _require_positive(one.name, getattr(self, one.name), fractions=fractions)
        for name, value in self.declared.items():
            _require_positive(f"declared[{name!r}]", value, fractions=True)

    def of(self, modality: ModalitySpec) -> Limits:
        """The limits as the reader of a declared modality gets them: with each of its own, and no others.

        Raises ValueError for a limit that the modality doesn't declare.
        """
        defaults = modality.defaults
        given = {name: value for name, value in self.declared.items() if _is_of(name, modality)}
        if unknown := given.keys() - defaults.keys():
            known = f"it has {', '.join(defaults)}" if defaults else "it declares none"
            raise ValueError(f"modality {modality.name!r} has no limit {min(unknown)!r}: {known}")
        return replace(self, declared={**defaults, **given})


def _is_of(name: str, modality: ModalitySpec) -> bool:
    return name.partition(".")[0] == modality.name


def _require_positive(name: str, value: Any, *, fractions: bool) -> None:
    kinds = (int, float) if fractions else (int,)
    if type(value) not in kinds or not value > 0:
        kind = "number" if fractions else "int"
        raise ValueError(f"Limits.{name} is {value!r}: make it a positive {kind}")


def limit_remedy(name: str, number: int | None = None) -> str:
    """The remedy that tells how to raise a limit to `number`, in Python and on the command line."""
    value = "..." if number is None else number
    return (
        f"raise the limit if you trust it: load(name, limits=Limits({name}={value})), "
        f"or --limit {name}={value} on the command line"
    )
