"""Columns of tables of any library as sequences of Python values; the libraries aren't imported."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

_BLOCK = 1024  # values converted to Python objects at once
_KINDS = {
    "pandas": ("Series", "Index", "api.extensions.ExtensionArray"),
    "pyarrow": ("Array", "ChunkedArray"),
    "polars": ("Series",),
}
_ARRAYS = {"numpy": ("ndarray", "generic"), "torch": ("Tensor",), "jax": ("Array",), "cupy": ("ndarray",)}
_WAYS = ("to_pylist", "tolist", "to_list")  # Arrow's; numpy's and pandas'; Polars'
_TEXTUAL = "OUST"  # numpy's kinds of Python objects, str, bytes, and strings of any length


class Column(Sequence[Any]):
    """The values of a column by position, converted to Python objects a block at a time."""

    def __init__(self, slices: Any, length: int) -> None:
        self._slices = slices
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, place: int) -> Any:  # type: ignore[override]
        if not -self._length <= place < self._length:
            raise IndexError(f"value {place} of {self._length}")
        start = place % self._length
        return self._values(start, start + 1)[0]

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, self._length, _BLOCK):
            yield from self._values(start, start + _BLOCK)

    def _values(self, start: int, stop: int) -> list[Any]:
        block = self._slices[start:stop]
        convert: Callable[[], list[Any]] = next(getattr(block, way) for way in _WAYS if hasattr(block, way))
        return [None if is_missing(value) else value for value in convert()]


def column_of(value: Any) -> Sequence[Any] | None:
    """The values of a column, with None for each missing one; None for an object that is no column.

    A column that holds Python objects already becomes a list of them.
    """
    kind = type(value)
    is_array = _is(kind, "numpy", ("ndarray",))
    if is_array and (value.ndim != 1 or value.dtype.kind not in _TEXTUAL):
        return None
    if not is_array and not any(_is(kind, *entry) for entry in _KINDS.items()):
        return None
    slices = value.array if _is(kind, "pandas", ("Series",)) else value  # by place, not by label
    found = Column(slices, len(value))
    return list(found) if getattr(getattr(value, "dtype", None), "kind", "") == "O" else found


def columns_of(value: Any) -> list[Any] | None:
    """The column names of a table of any library, or a mapping's keys; None for any other object.

    Iterating over a table gives these names, or its rows, depending on the library, but never a column.
    """
    if isinstance(value, Mapping):
        return list(value)
    fields = getattr(getattr(value, "dtype", None), "names", None)  # of a structured array
    if isinstance(fields, tuple):
        return list(fields)
    if _is(type(value), "pyarrow", ("Array", "ChunkedArray")):
        fields = [] if is_column_of_files(value) else _fields_of(value)
        return fields or None
    if _is(type(value), "pyarrow", ("RecordBatchReader",)):
        return list(value.schema.names)
    if column_of(value) is not None:
        return None
    if _is(type(value), "polars", ("LazyFrame",)):
        return list(value.collect_schema().names())  # whose `columns` warns that it may take long
    for attribute in ("column_names", "columns"):
        names = getattr(value, attribute, None)
        if isinstance(names, Iterable) and not isinstance(names, str) and not callable(names):
            return list(names)
    return None


def is_column_of_files(value: Any) -> bool:
    """Whether an Arrow column holds files as data sets do: structs of bytes and a path, or of samples."""
    names = {*_fields_of(value)}
    return bool(names) and (names <= {"bytes", "path"} or {"array", "sampling_rate"} <= names)


def _fields_of(column: Any) -> list[str]:
    """The names of the fields of an Arrow column of structs; none of another column."""
    is_struct = _is(type(column.type), "pyarrow", ("StructType",))
    return [field.name for field in column.type] if is_struct else []  # `names` is younger than pyarrow 16


class MapStyle(Sequence[Any]):
    """The items of a data set that is asked for each by its place, as those of torch are."""

    def __init__(self, items: Any) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, place: int) -> Any:  # type: ignore[override]
        return self._items[place]

    def __iter__(self) -> Iterator[Any]:
        return (self._items[place] for place in range(len(self)))


def is_map_style(value: Any) -> bool:
    """Whether an object has a length and items by their places, and no iterator, as torch's data sets."""
    kind = type(value)
    has = [hasattr(kind, name) for name in ("__len__", "__getitem__", "__iter__")]
    return has == [True, True, False] and not isinstance(value, Mapping) and columns_of(value) is None


def selection(value: Any, name: str, column: Any) -> str:
    """Python code, for a message, that selects one column of the table that is called `name`."""
    kind = type(value)
    if _is(kind, "pyarrow", ("Array", "ChunkedArray")):
        return f"pyarrow.compute.struct_field({name}, {column!r})"
    if _is(kind, "pyarrow", ("RecordBatchReader",)):
        return f"{name}.read_all()[{column!r}]"
    if _is(kind, "pandas", ("DataFrame",)) and list(value.columns).count(column) > 1:
        return f"{name}.iloc[:, {list(value.columns).index(column)}]"
    return f"{name}{'.collect()' if _is(kind, 'polars', ('LazyFrame',)) else ''}[{column!r}]"


def dimensions_of(value: Any) -> int:
    """The number of dimensions of a number, list or array; -1 for any other object, whose code isn't run."""
    kind = type(value)
    if issubclass(kind, (int, float)):
        return 0
    if issubclass(kind, list):
        return 1
    if not any(_is(kind, *entry) for entry in _ARRAYS.items()):
        return -1
    try:
        return int(value.ndim)
    except Exception:  # a class derived from an array may have its own
        return -1


def is_missing(value: Any) -> bool:
    """Whether a value of a table is missing: None, NaN, or pandas' NA or NaT."""
    if value is None or (issubclass(type(value), float) and float.__ne__(value, value)):
        return True
    pandas: Any = sys.modules.get("pandas")
    return pandas is not None and (value is pandas.NA or value is pandas.NaT)


def _is(kind: type, package: str, names: Iterable[str]) -> bool:
    """Whether a class is, or derives from, one of these classes of a package that may not be installed."""
    module: Any = sys.modules.get(package)
    if module is None:
        return False
    for name in names:
        found = module
        for part in name.split("."):
            found = getattr(found, part, None)
        if isinstance(found, type) and issubclass(kind, found):
            return True
    return False
