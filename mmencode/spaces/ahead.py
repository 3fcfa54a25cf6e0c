"""Encoders of several targets loaded at the same time, where their plugins say that this is safe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ..engine.teams import take_at_most
from ..isolation.fence import OURS
from ..plugins.spec import EncoderSpec

T = TypeVar("T")


def load_at_once(specs: Sequence[EncoderSpec], load: Callable[[EncoderSpec], T], cores: int) -> dict[str, T]:
    """Load encoders in a thread for each, and give what was loaded by its key.

    One that can't be loaded is left out: whoever asks for it loads it again, and gets the error in its turn.
    The threads share the cores.
    """
    share = max(1, cores // len(specs))
    with ThreadPoolExecutor(len(specs), OURS, initializer=take_at_most, initargs=(share,)) as pool:
        futures = {spec.key: pool.submit(load, spec) for spec in specs}
    return {key: future.result() for key, future in futures.items() if future.exception() is None}
