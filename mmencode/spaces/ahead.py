"""Encoders of several targets loaded at the same time, where their plugins say that this is safe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from ..engine.teams import take_at_most
from ..isolation.fence import OURS
from ..plugins.spec import EncoderSpec


def load_at_once(specs: Sequence[EncoderSpec], load: Callable[[str], object], cores: int) -> None:
    """Load encoders by their keys, in a thread for each; the threads share the cores.

    One that can't be loaded raises nothing: whoever asks for it loads it again, and gets the error in its
    turn.
    """
    share = max(1, cores // len(specs))
    with ThreadPoolExecutor(len(specs), OURS, initializer=take_at_most, initargs=(share,)) as pool:
        for spec in specs:
            pool.submit(load, spec.key)
