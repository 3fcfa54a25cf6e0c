"""Headers hold the facts about a picture that its file states, read before anything is decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SampleFormat:
    """The meaning of a picture's sample values, where Pillow's mode doesn't tell it.

    top          the value of white; 0 where the mode tells it
    loose        whether a picture with values up to 255 is taken as 8-bit, up to 65 535 as 16-bit
    inverted     whether 0 is white
    dtype        the numpy type to reinterpret Pillow's values as, where Pillow takes a wrong one
    transparent  the grey value that is transparent
    key          the colour that is transparent, of 16 bits a sample
    """

    top: float = 0.0
    loose: bool = False
    inverted: bool = False
    dtype: str = ""
    transparent: int | None = None
    key: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The facts about a picture that its file states, for estimating the cost of decoding it.

    content      the file without the metadata that decoding doesn't need
    size         width and height as coded; zeros where Pillow reads them at no cost
    coded        the pixels that are decoded in all, where those are more than the picture's
    fixed, each  the memory of decoding besides the picture: bytes, and bytes for each decoded pixel
    scans        the passes of decoding over the whole picture
    orientation  1 to 8, as in EXIF
    samples      the meaning of the sample values
    unpack       converts `content` to a form that Pillow reads fast; None where it does already
    layout       the name of an unusual layout, for messages about pictures that can't be decoded
    """

    content: bytes
    size: tuple[int, int] = (0, 0)
    coded: int = 0
    fixed: int = 0
    each: int = 0
    scans: int = 1
    orientation: int = 1
    samples: SampleFormat = SampleFormat()
    unpack: Callable[[bytes], bytes] | None = None
    layout: str = ""


HeaderParser = Callable[[bytes], Header]
