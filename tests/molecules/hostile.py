"""Targets of modalities that do what they shouldn't."""

from __future__ import annotations

import itertools
import sys
import time
from typing import Any


def raises(item: Any, limits: Any) -> object:
    raise RuntimeError("boom")


def raises_on_odd(item: Any, limits: Any) -> object:
    if item == b"odd":
        raise ZeroDivisionError("odd")
    return item


def leaves(item: Any, limits: Any) -> object:
    sys.exit(3)


def hangs(item: Any, limits: Any) -> object:
    if item == b"hang":
        time.sleep(20)
    return item


def gives_none(item: Any, limits: Any) -> object:
    return None


def gives_seven(item: Any, limits: Any) -> object:
    return 7


def gives_markup(item: Any, limits: Any) -> object:
    return "<script>alert(1)</script>" + "x" * 10_000


def no_probes() -> object:
    return 7


def hanging_probes() -> object:
    time.sleep(3)
    return [b"C", b"N", b"O"]


def bad_probes() -> object:
    raise RuntimeError("no probes here")


def draws(item: Any, limits: Any) -> object:
    from PIL import Image

    return Image.new("RGBA", (640, 480), (255, 0, 0, 255))


def draws_nothing(item: Any, limits: Any) -> object:
    from PIL import Image

    return Image.new("RGB", (0, 0))


def sounds(item: Any, limits: Any) -> object:
    return b"OggS" + bytes(10)


def hangs_always(item: Any, limits: Any) -> object:
    time.sleep(5)
    return "late"


def reads_bytes_only(item: Any, limits: Any) -> object:
    from .items import read

    return read(item if isinstance(item, bytes) else b"O", limits)


def other_probes() -> object:
    return [b"C" * next(_NUMBERS), b"O", b"N"]


_NUMBERS = itertools.count(1)


def bond(batch: object) -> tuple[str, str] | None:
    return ("molecule of a str", "") if isinstance(batch, str) else None


def raises_single(batch: object) -> object:
    raise RuntimeError("no idea")
