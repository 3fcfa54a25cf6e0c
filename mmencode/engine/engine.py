"""The engine: from raw items to rows in input order, a part at a time.

Threads read and preprocess items, a bounded distance ahead (`prepare.py`). What they prepared is gathered
into windows (`windows.py`). A lane computes a window: it cuts it into batches of like cost, takes each
through the tower, and brings the rows back into input order (`lane.py`). Memory doesn't depend on the number
of items.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Any, TypeVar

from .call import Call, Part
from .lane import Lane
from .prepare import prepare_all
from .sharing import SharedLanes
from .streams import streams
from .windows import gather_windows

Rows = TypeVar("Rows")


def run(call: Call, kind: type[Lane[Rows, Any]]) -> Generator[Part[Rows], None, None]:
    """Take the items of a call through lanes of one kind: unit vectors, features, or tokens."""
    lanes = [kind(call, tower, stream) for tower in call.towers for stream in streams(tower.device)]
    with closing(prepare_all(call)) as prepared:
        windows = gather_windows(call, prepared)
        if len(lanes) > 1:
            yield from SharedLanes(lanes).run(windows)
            return
        for window in windows:
            yield lanes[0].compute(window)
