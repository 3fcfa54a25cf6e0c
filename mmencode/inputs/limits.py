"""How much one item may ask of the machine."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The largest item that is accepted; larger ones raise InputError before they are decoded.

    bytes        of a file or byte string, still encoded: 256 MiB
    pixels       of a decoded image; the default is Pillow's own, 256 MiB of RGB
    seconds      of a recording: ten minutes
    characters   of a text; what an encoder doesn't take in is its own, smaller limit
    wait         the most seconds that reading and preprocessing one item may take: one minute
    """

    bytes: int = 2**28
    pixels: int = 2**28 // 3
    seconds: float = 600.0
    characters: int = 100_000
    wait: float = 60.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(f"Limits.{field.name} is {getattr(self, field.name)!r}: make it positive")
