"""Batches as callers pass them: columns and sequences are taken, single items and tables refused by name."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, ItemsView, Iterable, KeysView, Mapping, Sequence, Set
from io import TextIOBase
from typing import Any

from ..arguments.columns import MapStyle, column_of, columns_of, is_map_style, selection
from ..errors import InputError
from ..errors.causes import fault_of
from ..plugins.composites import is_composite, is_interleaved, parts_of
from ..plugins.modalities import find_modality
from ..plugins.spec import modality_of_key
from .reading import load_target
from .source import describe, is_source

_SHOWN = 8  # names of columns in a message


def check_on_error(on_error: str) -> None:
    """Raise ValueError unless `on_error` is "raise" or "skip"."""
    if on_error not in ("raise", "skip"):
        raise ValueError(f'on_error is {on_error!r}: make it "raise" or "skip"')


def as_batch(modality: str, batch: Any) -> Iterable[Any]:
    """The batch as an iterable, whose items are taken one by one, so that an iterator may reuse its buffers.

    Raises TypeError for a single item and for a table.
    """
    require_many(modality, batch)
    return as_iterable(batch)


def as_items(modality: str, batch: Any) -> Sequence[Any]:
    """The batch as a sequence; TypeError for a single item and for a table."""
    drawn = as_batch(modality, batch)
    items: Any = drawn if isinstance(drawn, Sequence) or _is_array(drawn) else list(drawn)
    return items  # type: ignore[no-any-return]


def as_iterable(batch: Any) -> Iterable[Any]:
    """The values of a column of a table library (pandas, polars, Arrow), or the batch itself.

    A data set without an iterator, such as torch's, is asked for its items by their places.
    """
    column = column_of(batch)
    drawn: Iterable[Any] = batch if column is None else column
    return MapStyle(batch) if column is None and is_map_style(batch) else drawn


def as_pairs(pairs: Any) -> Sequence[Any]:
    """The (modality, item) pairs as a sequence; TypeError for a table, and for what is no iterable."""
    what = _describe_unordered(pairs)
    if what is not None:
        raise TypeError(
            f"the pairs are one {what}, not a sequence of (modality, item) pairs: "
            'encode_mixed([("text", "a dog")]) encodes one; zip(modalities, items) pairs two columns'
        )
    drawn: Any = as_iterable(pairs)
    return drawn if isinstance(drawn, Sequence) else list(drawn)


def as_column(value: Any, what: str) -> Iterable[Any] | None:
    """Keys or metadata that are passed beside a batch, one for each item; `what` names them in errors.

    Raises TypeError for a table, a single value, and a set, which has no order.
    """
    if value is None:
        return None
    found = _describe_unordered(value)
    if found is not None:
        rows = "as frame.to_dict('records') and table.to_pylist() give them"
        wanted = f"the rows in a list, {rows}" if what == "metadata" else "a list or one column"
        raise TypeError(f"{what} is one {found}: give {wanted}, one for each item in the items' order")
    return as_iterable(value)


def _describe_unordered(value: Any) -> str | None:
    """Describe a value that isn't an ordered collection: a table, a set, a single value; None for others."""
    kind, names = type(value).__name__, columns_of(value)
    if names is not None:
        return f"{kind} with {_list_columns(names)}"
    if isinstance(value, Set) and not isinstance(value, KeysView | ItemsView):
        return f"{kind}, which has no order"
    if getattr(value, "ndim", 1) == 0:
        return f"{kind} of no dimensions"
    return kind if isinstance(value, str | bytes) or not isinstance(value, Iterable) else None


def require_many(modality: str, batch: Any) -> None:
    """Raise TypeError for a single item or a table in place of a sequence of items."""
    found = _describe_single(modality, batch)
    if found is not None:
        what, instead = found
        raise TypeError(
            f"the batch is one {what}, not a sequence of items: encode({modality!r}, [item]) encodes a single"
            f" one{instead and '; '}{instead}"
        )


def _describe_single(modality: str, batch: Any) -> tuple[str, str] | None:
    """Describe a batch that is a single item, and suggest what to pass instead; None for a true batch."""
    kind = type(batch).__name__
    if is_composite(modality) and _is_single_composite(modality, batch):
        return f"item of {modality}, {kind}", ""
    if (own := _ask_modality(modality, batch)) is not None:
        return own
    if type(batch) is list:
        return None
    names = columns_of(batch)
    if names is not None:
        of = "some of" if parts_of(modality) else "one of"
        taken = f"encode({modality!r}, {_select(modality, batch, names)})" if names else ""
        one = f"{taken} {of} its columns" if names else ""
        return f"{kind} with {_list_columns(names)}", one
    if is_source(batch):
        lines = "[line.rstrip('\\n') for line in file] are the lines of a file"
        return kind, lines if isinstance(batch, TextIOBase) else ""
    if isinstance(batch, Set) and not isinstance(batch, KeysView | ItemsView):  # whose order is their dict's
        return kind, "a set has no order: sorted(batch) has one"
    if isinstance(batch, AsyncIterable):
        return kind, "[item async for item in batch] are its items"
    if isinstance(batch, Awaitable):
        return kind, "await it first"
    if isinstance(batch, Mapping) or not (isinstance(batch, Iterable) or is_map_style(batch)):
        return kind, ""
    return _describe_single_array(batch, kind) if _is_array(batch) else None


def _ask_modality(modality: str, batch: Any) -> tuple[str, str] | None:
    """Ask the modality whether a batch is one of its items; a plugin's code that fails doesn't count."""
    try:
        spec = find_modality(modality_of_key(modality))
        found = None if spec is None or not spec.single else load_target(spec, "single")(batch)
        what, instead = found or ("", "")
        return (str(what), str(instead)) if what else None
    except KeyboardInterrupt:
        raise
    except BaseException as cause:
        if fault_of(cause, "encoder") == "process":
            raise
        return None


def _select(modality: str, table: Any, names: Sequence[Any]) -> str:
    """Python code, for a message, that takes items out of a table's columns."""
    count = len(parts_of(modality)) or 1
    chosen = [selection(table, "batch", name) for name in names[:count]]
    return f"list(zip({', '.join(chosen)}))" if count > 1 else chosen[0]


def _is_single_composite(modality: str, batch: Any) -> bool:
    """Whether a batch is one item: the parts of a composite, or the pairs of an interleaved one."""
    if not isinstance(batch, list | tuple) or not batch:
        return False
    if is_interleaved(modality):
        return all(isinstance(pair, tuple) and len(pair) == 2 and type(pair[0]) is str for pair in batch)
    return len(batch) == len(parts_of(modality)) and not any(isinstance(part, tuple) for part in batch)


def _describe_single_array(batch: Any, kind: str) -> tuple[str, str] | None:
    """Describe an array that is no batch; those of texts or objects are one when they have one dimension."""
    if column_of(batch) is not None:
        return None
    if batch.ndim == 0:
        return f"{kind} of no dimensions", "batch.item() is what it holds"
    if getattr(getattr(batch, "dtype", None), "kind", "") in ("O", "U", "S", "T"):
        return f"table of the shape {tuple(batch.shape)}", "batch[:, 0] is its first column"
    return None


def _list_columns(names: Sequence[Any]) -> str:
    shown = ", ".join(map(repr, names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")
    return f"the columns {shown}" if names else "no columns"


def _is_array(batch: Any) -> bool:
    return isinstance(getattr(batch, "ndim", None), int)


def modality_of(pair: Any, place: int) -> str:
    """The modality of a (modality, item) pair; InputError for anything else."""
    if isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str):
        return pair[0]
    raise InputError(
        "it is no (modality, item) pair",
        source=describe(pair),
        remedy='pass tuples such as ("text", "a dog")',
        index=place,
    )
