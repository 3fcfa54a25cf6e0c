"""The columns of tables are looked at before anything is encoded, so that a wrong name costs no run."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InputError
from ..inputs.listed import KEY
from ..inputs.shards import Column
from ..plugins.modalities import names_files

_NAMES = 8  # of columns in a message


def columns_read(modality: str, column: str, key: str) -> tuple[str, ...]:
    """Name the columns of a table that are read: that of the items, and that of the keys."""
    return (column or modality, key or KEY)


def require_names(names: Sequence[str], modality: str, column: str, key: str, source: str) -> None:
    """Raise InputError for a table that lacks a column that is read, or has two of one name."""
    wanted = [name for name in (column or modality, key) if name]
    for name in wanted:
        if name not in names:
            shown = ", ".join(map(str, names[:_NAMES])) or "none"
            raise InputError(
                f"it has no column {name!r:.100}; there are {shown:.300}",
                source=source,
                remedy="name the column with the items, or the one with the keys",
            )
    for name in (*wanted, KEY):
        if list(names).count(name) > 1:
            raise InputError(
                f"two of its columns are called {name!r:.100}",
                source=source,
                remedy="give each column a name of its own",
            )


def require_columns(columns: Sequence[Column], modality: str, column: str, key: str, source: str) -> None:
    """Raise InputError as `require_names` does, and for columns whose type holds no items, or no keys."""
    require_names([each.name for each in columns], modality, column, key, source)
    items, keys = columns_read(modality, column, key)
    for each in columns:
        fits = each.texts or (each.bytes and modality != "text")
        if each.name == items and not fits and each.type != "null":
            kinds = "paths of files, or their bytes" if names_files(modality) else "texts"
            raise _misfit(each, f"no items of {modality}", f"name a column of {kinds}", source)
        if each.name == keys and not each.keys and each.type != "null":
            raise _misfit(each, "no keys", "make it texts or whole numbers, or name another column", source)


def _misfit(column: Column, lacks: str, remedy: str, source: str) -> InputError:
    return InputError(
        f"its column {column.name!r:.100} holds {column.type}, and so {lacks}", source=source, remedy=remedy
    )
