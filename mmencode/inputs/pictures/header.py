"""What a file says of its picture before any of it is decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Samples:
    """How a picture's values are meant, where Pillow's mode doesn't say it.

    top          the value of full light; 0 where the mode tells it
    loose        whether values far below `top` are of fewer bits: of 8 up to 255, of 16 up to 65 535
    inverted     whether 0 is white
    dtype        the type that Pillow's values are to be read as, where it takes them for another
    transparent  the value that stands for nothing
    key          likewise of colours of 16 bits a sample
    """

    top: float = 0.0
    loose: bool = False
    inverted: bool = False
    dtype: str = ""
    transparent: int | None = None
    key: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a file says of its picture.

    content      the file without what decoding doesn't need
    size         width and height as coded; zeros where Pillow finds them without spending anything
    coded        how many pixels are decoded in all, where those are more than the picture's
    fixed, each  the memory that decoding takes beside the picture: bytes, and bytes for each pixel decoded
    scans        how many passes decoding makes over the whole picture
    orientation  from 1 to 8, as EXIF has it
    samples      how the values are meant
    unpack       makes of `content` what its reader reads fast; None where it does as it is
    layout       what it is in words, for messages about layouts that nobody reads
    """

    content: bytes
    size: tuple[int, int] = (0, 0)
    coded: int = 0
    fixed: int = 0
    each: int = 0
    scans: int = 1
    orientation: int = 1
    samples: Samples = Samples()
    unpack: Callable[[bytes], bytes] | None = None
    layout: str = ""


Parser = Callable[[bytes], Header]
