"""What callers pass as batches, and what they may ask for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from ..errors import InputError
from .source import describe, is_source


def check_on_error(on_error: str) -> None:
    """ValueError for a word that says nothing."""
    if on_error not in ("raise", "skip"):
        raise ValueError(f'on_error is {on_error!r}: make it "raise" or "skip"')


def as_batch(modality: str, batch: Any) -> Iterable[Any]:
    """The batch as what items are drawn from, each when it is needed: its source may use it again."""
    require_many(modality, batch)
    drawn: Iterable[Any] = batch
    return drawn


def as_items(modality: str, batch: Any) -> Sequence[Any]:
    """The batch as a sequence."""
    drawn = as_batch(modality, batch)
    items: Any = drawn if isinstance(drawn, Sequence) or _is_array(drawn) else list(drawn)
    return items  # type: ignore[no-any-return]


def require_many(modality: str, batch: Any) -> None:
    """TypeError for what is one item rather than many of them."""
    single = is_source(batch) or isinstance(batch, (Mapping, Set)) or not isinstance(batch, Iterable)
    if single or (_is_array(batch) and modality in ("image", "audio") and batch.ndim < 4):
        raise TypeError(
            f"the batch is one {type(batch).__name__}, not a sequence of items: "
            f"encode({modality!r}, [item]) encodes a single one"
        )


def _is_array(batch: Any) -> bool:
    return isinstance(getattr(batch, "ndim", None), int)


def modality_of(pair: Any, place: int) -> str:
    """What a (modality, item) pair says; InputError for what is none."""
    if isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str):
        return pair[0]
    raise InputError(
        "it is no (modality, item) pair",
        source=describe(pair),
        remedy='pass tuples such as ("text", "a dog")',
        index=place,
    )
