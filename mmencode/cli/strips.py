"""Draw images in a terminal, by its graphics protocol or as coloured half blocks."""

from __future__ import annotations

import base64
import io
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from ..errors import EncoderError, InputError
from . import output

if TYPE_CHECKING:
    from PIL import Image

    from ..inputs import Limits

COLUMNS, ROWS = 20, 8  # character cells of one image
GAP = 2
CELL = (10, 20)  # pixels of a VT340's character, for terminals that don't report theirs

_KITTY = ("xterm-kitty", "xterm-ghostty")
_SIXEL = ("foot", "foot-extra", "mlterm", "contour", "yaft-256color")


def show(items: Sequence[tuple[str, str]], wanted: bool | None, limits: Limits) -> None:
    """Draw those of ranked `(modality, path)` items that are shown as pictures, each below its rank.

    True draws on any output and False on none; None draws on terminals that are known to show images.
    """
    protocol = detect_protocol(os.environ)
    looked_at = output.is_terminal(sys.stdout)
    if wanted is False or (wanted is None and not (looked_at and protocol)):
        return
    from ..inputs.showing import shows

    pictures = [(rank, item) for rank, item in enumerate(items, 1) if shows(item[0]) == "picture"]
    each = max(1, shutil.get_terminal_size().columns // (COLUMNS + GAP))
    for start in range(0, len(pictures), each):
        row = pictures[start : start + each]
        output.say("".join(f"{rank:<{COLUMNS + GAP}}" for rank, _ in row).rstrip())
        output.say(draw_row([item for _, item in row], protocol or "blocks", limits))


def detect_protocol(environment: Mapping[str, str]) -> str:
    """Recognise the terminal's graphics protocol by the environment.

    Gives "kitty", "iterm2", "sixel", "blocks" for a terminal with true colour but no protocol, or "".
    """
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if "TMUX" not in environment and not term.startswith(("screen", "tmux")):
        if "KITTY_WINDOW_ID" in environment or term in _KITTY or program == "ghostty":
            return "kitty"
        if program in ("iTerm.app", "WezTerm") or environment.get("LC_TERMINAL") == "iTerm2":
            return "iterm2"
        if term in _SIXEL:
            return "sixel"
    return "blocks" if environment.get("COLORTERM") in ("truecolor", "24bit") else ""


def draw_row(items: Sequence[tuple[str, str]], protocol: str, limits: Limits) -> str:
    """Render `(modality, path)` items as text or escape codes for a terminal; a bad one is left blank."""
    pixels = (1, 2) if protocol == "blocks" else cell_size()
    return _DRAW[protocol](make_sheet(items, pixels, limits), (COLUMNS + GAP) * len(items))


def cell_size() -> tuple[int, int]:
    """The width and height of a character in pixels, as the terminal reports them, or else CELL."""
    try:
        import fcntl
        import struct
        import termios

        size = fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, bytes(8))
        rows, columns, width, height = struct.unpack("4H", size)
    except (ImportError, OSError, ValueError):
        return CELL
    return (width // columns, height // rows) if width and height and rows and columns else CELL


def make_sheet(items: Sequence[tuple[str, str]], pixels: tuple[int, int], limits: Limits) -> Image.Image:
    """Paste the pictures of `(modality, path)` items side by side on a transparent ground.

    Each is scaled into COLUMNS by ROWS cells; `pixels` is the width and height of one cell.
    """
    from PIL import Image

    from ..inputs.showing import show_item

    width, height = COLUMNS * pixels[0], ROWS * pixels[1]
    step = (COLUMNS + GAP) * pixels[0]
    ground = Image.new("RGBA", (step * len(items), height), (0, 0, 0, 0))
    for place, (modality, path) in enumerate(items):
        try:
            image = show_item(modality, path, limits, least=2 * max(width, height))
            image.thumbnail((width, height))
        except (InputError, EncoderError, OSError, ValueError):
            continue
        ground.paste(image, (place * step, 0))
    return ground


def _blocks(image: Image.Image, columns: int) -> str:
    """Draw two pixels with each character: the upper as its foreground, the lower as its background."""
    import numpy as np

    pixels = np.asarray(image)
    lines = []
    for upper, lower in zip(pixels[::2].tolist(), pixels[1::2].tolist(), strict=True):
        cells = [_block(top, bottom) for top, bottom in zip(upper, lower, strict=True)]
        lines.append("".join(cells).rstrip() + "\x1b[0m")
    return "\n".join(lines)


def _block(top: Sequence[int], bottom: Sequence[int]) -> str:
    front, behind = "{};{};{}".format(*top[:3]), "{};{};{}".format(*bottom[:3])
    if top[3] and bottom[3]:
        return f"\x1b[38;2;{front};48;2;{behind}m\u2580"
    if top[3]:
        return f"\x1b[0;38;2;{front}m\u2580"
    return f"\x1b[0;38;2;{behind}m\u2584" if bottom[3] else "\x1b[0m "


def _kitty(image: Image.Image, columns: int) -> str:
    """Encode a PNG for the Kitty graphics protocol, in pieces of 4096 characters."""
    content = _png(image)
    pieces = [content[start : start + 4096] for start in range(0, len(content), 4096)]
    first = f"a=T,f=100,q=2,c={columns},r={ROWS},"
    return "".join(
        f"\x1b_G{first if place == 0 else ''}m={int(place < len(pieces) - 1)};{piece}\x1b\\"
        for place, piece in enumerate(pieces)
    )


def _iterm2(image: Image.Image, columns: int) -> str:
    """Encode a PNG for the inline images protocol of iTerm2."""
    size = f"width={columns};height={ROWS}"
    return f"\x1b]1337;File=inline=1;{size};preserveAspectRatio=1:{_png(image)}\a"


def _sixel(image: Image.Image, columns: int) -> str:
    """Encode an image as DEC sixels: bands of six rows, painted one colour after the other.

    Transparent pixels stay unpainted.
    """
    import numpy as np

    indexed = image.convert("RGB").quantize(255)
    opaque = np.asarray(image)[..., 3] > 0
    pixels = np.where(opaque, np.asarray(indexed), 255)
    palette = np.array(indexed.getpalette()).reshape(-1, 3) * 100 // 255
    colours = "".join(f"#{place};2;{red};{green};{blue}" for place, (red, green, blue) in enumerate(palette))
    bands = "-".join(_band(pixels[top : top + 6]) for top in range(0, len(pixels), 6))
    return f'\x1bP0;1q"1;1;{image.width};{image.height}{colours}{bands}\x1b\\'


def _band(pixels: object) -> str:
    """Encode one band of at most six rows as a run-length encoded line of characters for each colour."""
    import numpy as np

    rows = np.asarray(pixels)
    bits = 1 << np.arange(len(rows))
    lines = []
    for colour in np.unique(rows[rows < 255]).tolist():
        column = (bits @ (rows == colour) + 63).tolist()
        runs = ((chr(value), len(list(same))) for value, same in groupby(column))
        lines.append(f"#{colour}" + "".join(f"!{count}{sign}" for sign, count in runs))
    return "$".join(lines)


def _png(image: Image.Image) -> str:
    content = io.BytesIO()
    image.save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


_DRAW: Mapping[str, Callable[[Image.Image, int], str]] = {
    "kitty": _kitty,
    "iterm2": _iterm2,
    "sixel": _sixel,
    "blocks": _blocks,
}
