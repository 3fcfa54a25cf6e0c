"""Lance datasets, on this machine or on object storage, read fragment by fragment and row by row."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..errors import InputError, MmencodeError
from ..errors.causes import fault_of, message_of
from ..plugins.packages import import_package
from .shards import SPARE, TIMES, Column, Row, columns_of

_ROWS = 16  # rows that are made at once
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


@dataclass(frozen=True, slots=True)
class Fragment:
    """A fragment of a dataset: its number, the bytes of its files, and a hash of all that it consists of."""

    number: int
    size: int
    mark: str


def lance_options() -> dict[str, str]:
    """Give the options of Lance for object storage that is reached by http://, which it refuses otherwise."""
    addresses = [os.environ.get(name, "") for name in _ENDPOINTS]
    return {"allow_http": "true"} if any(one.startswith("http://") for one in addresses) else {}


def import_lance() -> Any:
    """Import Lance's own package; MissingPackageError where it isn't installed."""
    return import_package("lance", "Lance datasets need pylance", "pip install 'mmencode[lance]'")


def open_dataset(place: str) -> Any:
    """Open the latest version of a dataset at a path or an address; raises the errors of Lance."""
    options = lance_options() if "://" in place else None
    return import_lance().dataset(place, storage_options=options)


def list_fragments(place: str) -> tuple[list[Fragment], list[Column]]:
    """List the fragments of a dataset, and its columns; InputError where it can't be opened."""
    with readable(place):
        dataset = open_dataset(place)
        return [_look(each) for each in dataset.get_fragments()], columns_of(dataset.schema)


def look_at_fragment(place: str, number: int) -> Fragment | None:
    """Look at a fragment of the latest version; None where it is gone."""
    with readable(place):
        found = open_dataset(place).get_fragment(number)
        return None if found is None else _look(found)


def read_fragment(
    place: str, fragment: Fragment, columns: Sequence[str], source: str
) -> Iterator[tuple[int, Row]]:
    """Read these columns of a fragment's rows, each with its place in it, which no deletion changes.

    InputError where the fragment isn't the one any more that was listed.
    """
    left = TIMES * fragment.size + SPARE
    with readable(source):
        dataset = open_dataset(place)
        found = dataset.get_fragment(fragment.number)
        if found is None or _look(found) != fragment:
            raise InputError(
                "it was changed while it was read",
                source=source,
                remedy="run this again, which encodes it anew",
                fault="access",
            )
        names = [name for name in dict.fromkeys(columns) if name in dataset.schema.names]
        for batch in found.to_batches(columns=names, batch_size=_ROWS, with_row_address=True):
            left -= batch.nbytes
            if left < 0:
                raise ValueError("its rows unpack to far more than the files' size")
            for row in batch.to_pylist():
                yield row.pop("_rowaddr") & 0xFFFFFFFF, row


@contextmanager
def readable(source: str) -> Iterator[None]:
    """Raise Lance's errors, which have no class of their own, as InputError."""
    try:
        yield
    except (MmencodeError, GeneratorExit, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as cause:  # a panic of Rust is no Exception
        raise InputError(
            f"it can't be read: {message_of(cause)}",
            source=source,
            remedy="check that it is a Lance dataset, is there, and may be read",
            fault=fault_of(cause, "access"),
        ) from cause


def _look(fragment: Any) -> Fragment:
    facts = fragment.metadata.to_json()
    size = sum(file.get("file_size_bytes") or 0 for file in facts.get("files", ()))
    text = json.dumps(facts, sort_keys=True, default=str)
    return Fragment(fragment.fragment_id, size, hashlib.sha256(text.encode()).hexdigest()[:32])
