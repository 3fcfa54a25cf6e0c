"""How much one item may ask of the machine."""

from __future__ import annotations

from dataclasses import dataclass, fields

PIXELS = 2**14 * (2**13 + 2**12)


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The largest item that is accepted; larger ones raise InputError before they are decoded.

    bytes        of a file or byte string, still encoded: 256 MiB
    pixels       of a picture: 16 384 x 12 288, what the largest sensors of phones give
    scans        of a progressive JPEG, each of which costs a pass over the whole picture: 500, and of a large
                 one no more than pass over 20 times `pixels` in all
    memory       bytes that decoding one item may take, by an estimate from its header: 2 GiB, as much as the
                 largest pictures of phones take. A picture of more than 250 pixels for each byte of its file
                 may take an eighth of it, since it is blank or made to cost much, unless `pixels` is raised;
                 so may a recording of more than 250 samples
    seconds      of a recording: ten minutes
    samples      of a recording, over all its channels: 2^28
    characters   of a text; what an encoder doesn't take in is its own, smaller limit
    wait         the most seconds that reading and preprocessing one item may take: one minute. Then the item
                 is given up, not the work: its thread ends when that does

    Raises ValueError for what isn't positive, and for anything but whole numbers; seconds may be fractions,
    and `math.inf` is no limit on them.
    """

    bytes: int = 2**28
    pixels: int = PIXELS
    scans: int = 500
    memory: int = 2**31
    seconds: float = 600.0
    samples: int = 2**28
    characters: int = 100_000
    wait: float = 60.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            kinds = (int, float) if field.name in ("seconds", "wait") else (int,)
            if type(value) not in kinds or not value > 0:
                kind = "number" if float in kinds else "int"
                raise ValueError(f"Limits.{field.name} is {value!r}: make it a positive {kind}")


def raising(name: str, number: int | None = None) -> str:
    """The words that tell how one of the limits is raised, in Python and on the command line, and to what."""
    value = "..." if number is None else number
    return (
        f"raise the limit if you trust it: load(name, limits=Limits({name}={value})), "
        f"or --limit {name}={value} on the command line"
    )
