"""Record the global state of the process, which an encoder has to leave as the user set it."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

State = dict[str, object]
_ENVIRONMENT = "the environment"


def settings() -> State:
    """Record the global settings, except random generators, by names to use in messages."""
    return {
        "torch's default dtype": torch.get_default_dtype(),
        "torch's default device": torch.empty(0).device,  # torch 2.8 can't say it once it was set to None
        "torch's threads": torch.get_num_threads(),
        "torch's gradient mode": torch.is_grad_enabled(),
        "torch's deterministic mode": torch.are_deterministic_algorithms_enabled(),
        "torch's matmul precision": torch.get_float32_matmul_precision(),
        "numpy's error handling": np.geterr(),
        "the current folder": os.getcwd(),
        _ENVIRONMENT: dict(os.environ),
        "the level of the root logger": logging.getLogger().level,
    }


def generators() -> State:
    """Record the states of the global random generators of Python, NumPy and torch."""
    return {
        "random's generator": random.getstate(),
        "numpy's generator": [str(part) for part in np.random.get_state()],
        "torch's generator": torch.get_rng_state().tolist(),
    }


@contextmanager
def seed_generators() -> Iterator[None]:
    """Seed the global generators with an unusual number within the context, and restore them afterwards.

    Code that seeds a generator with a common number, such as 0, then changes its state visibly.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(20_261_121)
    np.random.seed(20_261_121)
    torch.manual_seed(20_261_121)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


def differences(before: State, after: State) -> tuple[str, ...]:
    """The names of the settings that differ; environment variables that libraries add don't count."""
    variables: Any = after[_ENVIRONMENT]
    kept: Any = before[_ENVIRONMENT]
    after = after | {_ENVIRONMENT: {name: variables.get(name) for name in kept}}
    return tuple(name for name, value in after.items() if value != before[name])
