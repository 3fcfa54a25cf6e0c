"""Reading of labelled items: from a folder that has one for each class, or from a table."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..inputs import Limits, list_parts
from ..inputs.tables import item_in_folder, read_pairs
from ..plugins.modalities import names_files, walked_modalities
from ..zeroshot import Duplicates
from ..zeroshot.labels import KEEP_REMEDY
from .origin import LeftOut, Origin, is_empty_cell, make_key, read_table, read_word, require_column

Names = str | os.PathLike[str]
TWICE = "an earlier row has the same item and label"


@dataclass(frozen=True, slots=True)
class Labelled:
    """Items, the label of each, and where they come from.

    A label is the name of a class. Where `classes` is given, in which a name may occur more than once, it is
    a place in that instead.
    """

    items: tuple[Any, ...]
    labels: tuple[str, ...] | tuple[int, ...]
    origin: Origin
    classes: tuple[str, ...] | None = None


def read_labelled_folder(
    folder: str | os.PathLike[str],
    modality: str = "image",
    *,
    names: Names | None = None,
    duplicates: Duplicates = "refuse",
    limits: Limits | None = None,
) -> Labelled:
    """List the files of a folder that has one folder for each class, of the class's name.

    Files count at any depth below a class's folder, unless hidden; files beside those folders are left out.
    A file that holds several items stands for all of them, or is left out where they can't be counted.
    `names` is a table whose first two columns are a folder and the name to use instead of its own; with
    duplicates="keep" two folders may have one name, and stay two classes, in the order of the folders.

    Raises InputError for a class without files, a folder without classes, and names that are missing or
    shared; ValueError for a modality whose items are no files.
    """
    if not names_files(modality):
        *others, last = walked_modalities()
        known = f"{', '.join(others)} and {last}"
        raise ValueError(f"folders have items of {known}, not {modality!r}: pass a table")
    top = Path(folder)
    entries = sorted(path for path in top.iterdir() if not path.name.startswith("."))
    files = {path.name: sorted(_files(path)) for path in entries if path.is_dir()}
    for name, found in files.items():
        if not found:
            raise InputError(
                f"class {name!r} has no files",
                source=str(top / name),
                remedy="add some, or remove the folder",
            )
    if not files:
        raise InputError(
            "the folder has no folders of classes",
            source=str(top),
            remedy="put the files of each class in a folder of its own",
        )
    renamed = _rename(files, names, duplicates)
    paths = [(path, name) for name, found in files.items() for path in found]
    paths, uncounted = _expand(paths, modality, limits)
    for name in files.keys() - {name for _, name in paths}:
        path, why = next(each for each in uncounted if top / name in each[0].parents)
        raise InputError(
            f"none of the files of class {name!r} can be read: {why}",
            source=str(path),
            remedy="mend them, or remove the folder",
        )
    beside = (path for path in entries if not path.is_dir())
    outside = (LeftOut(path.name, "it lies outside the folders of classes") for path in beside)
    left_out = (*outside, *(LeftOut(path.relative_to(top).as_posix(), why) for path, why in uncounted))
    keys = tuple(path.relative_to(top).as_posix() for path, _ in paths)
    labels, classes = _labels([name for _, name in paths], renamed, duplicates)
    return Labelled(tuple(path for path, _ in paths), labels, Origin(str(folder), keys, left_out), classes)


def _expand(
    paths: Sequence[tuple[Path, str]], modality: str, limits: Limits | None
) -> tuple[list[tuple[Path, str]], list[tuple[Path, str]]]:
    """Put the items of each file into its place; and list the files whose items can't be counted, and why."""
    found: list[tuple[Path, str]] = []
    failed: list[tuple[Path, str]] = []
    for path, name in paths:
        try:
            found += [(Path(item), name) for item in list_parts(modality, path, limits)]
        except InputError as error:
            failed.append((path, error.fact))
    return found, failed


def _files(folder: Path) -> Iterator[Path]:
    """Walk the files below a folder, except hidden ones; links to folders aren't followed."""
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(root, name) for name in names if not name.startswith("."))


def read_labelled_table(
    path: str | os.PathLike[str],
    modality: str = "image",
    *,
    items: str | None = None,
    labels: str | None = None,
    names: Names | None = None,
    duplicates: Duplicates = "refuse",
) -> Labelled:
    """Read the rows of a table (.csv, .jsonl, .parquet) with a column of items and one of labels.

    By default these are the first column and the first of the others; files are relative to the table. Rows
    in which either is empty, and repeated ones, are left out. `names` is a table of labels and the names to
    use instead, and `duplicates` is as in `read_labelled_folder`.

    Raises InputError for a table without rows or those columns, for an item with two labels, and for names
    that are missing or shared.
    """
    rows, columns = read_table(path)
    items = require_column(items or columns[0], columns, path)
    others = [name for name in columns if name != items]
    labels = require_column(labels or (others or ["label"])[0], columns, path)
    found, left_out = _distinct_items(rows, items, labels, modality, path)
    given = [label for _, label in found.values()]
    renamed = _rename(dict.fromkeys(sorted(given)), names, duplicates)
    own, classes = _labels(given, renamed, duplicates)
    return Labelled(
        tuple(item_in_folder(item, modality, Path(path).parent) for item, _ in found.values()),
        own,
        Origin(f"{path}, columns {items!r} and {labels!r}", tuple(found), tuple(left_out)),
        classes,
    )


def _distinct_items(
    rows: list[dict[str, Any]], items: str, labels: str, modality: str, path: str | os.PathLike[str]
) -> tuple[dict[str, tuple[Any, str]], list[LeftOut]]:
    """Collect item and label by key, and the rows left out; InputError for an item with two labels."""
    found: dict[str, tuple[Any, str]] = {}
    left_out = []
    for number, row in enumerate(rows):
        empty = [name for name in (items, labels) if is_empty_cell(row.get(name))]
        if empty:
            left_out.append(LeftOut(f"row {number}", f"no value in {empty[0]!r}"))
            continue
        key, label = make_key(row[items], modality, path, number), read_word(row[labels], path, number)
        if key not in found:
            found[key] = (row[items], label)
        elif found[key][1] == label:
            left_out.append(LeftOut(f"row {number}", TWICE))
        else:
            raise InputError(
                f"row {number} gives {key!r} the label {label!r}, and a row before it {found[key][1]!r}",
                source=str(path),
                remedy="keep one of them: an item has one right label here",
                index=number,
            )
    return found, left_out


def _labels(
    given: Sequence[str], renamed: Mapping[str, str], duplicates: Duplicates
) -> tuple[tuple[str, ...] | tuple[int, ...], tuple[str, ...] | None]:
    """The name of each label and None, or with duplicates its place among the classes, and their names."""
    if duplicates == "refuse":
        return tuple(renamed[label] for label in given), None
    places = {label: place for place, label in enumerate(renamed)}
    return tuple(places[label] for label in given), tuple(renamed.values())


def _rename(labels: Mapping[str, object], names: Names | None, duplicates: Duplicates) -> dict[str, str]:
    """Look up the name of each label in the table, if there is one; InputError for one missing or shared."""
    if names is None:
        return {label: label for label in labels}
    table: dict[str, str] = {}
    for label, name in read_pairs(names):
        if table.setdefault(str(label), str(name).strip()) != str(name).strip():
            raise _naming_error(names, f"it gives {label!r} two names", "keep one of them")
    missing = [label for label in labels if label not in table]
    if missing:
        raise _naming_error(
            names, f"it has no name for {', '.join(map(repr, missing))}", "add a row for each"
        )
    shared = [name for name, count in Counter(table[label] for label in labels).items() if count > 1]
    if shared and duplicates == "refuse":
        raise _naming_error(
            names, f"it gives two classes the name {shared[0]!r}", f"tell them apart, or {KEEP_REMEDY}"
        )
    return {label: table[label] for label in labels}


def _naming_error(names: Names, fact: str, remedy: str) -> InputError:
    return InputError(fact, source=str(names), remedy=remedy)
