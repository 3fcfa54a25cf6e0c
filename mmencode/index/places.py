"""The place of an index: a folder, or an address on object storage, as LanceDB opens it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import StoreError

_AS_PATH = re.compile("[a-z][a-z0-9+]+:/")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


@dataclass(frozen=True, slots=True)
class Address:
    """An address on object storage, with the options that LanceDB opens it with, which may hold secrets."""

    url: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.url.rpartition("/")[2]

    def lance_options(self) -> dict[str, str]:
        """Give LanceDB's options; http:// is allowed for a server that was asked for by it."""
        said = [*(os.environ.get(name, "") for name in _ENDPOINTS), *self.options.values()]
        plain = any(each.startswith("http://") for each in said)
        return {**({"allow_http": "true"} if plain else {}), **self.options}


Place = Path | Address


def place_of(path: str | os.PathLike[str] | Address, options: Mapping[str, str] | None = None) -> Place:
    """Find where a path or an address leads; ValueError for options of a folder.

    StoreError for an address that was taken for a path, as the command line does, which would make a folder.
    """
    if isinstance(path, Address):
        return path
    text = os.fsdecode(path)
    if isinstance(path, str) and "://" in text:
        return Address(text.rstrip("/"), dict(options or {}))
    if options:
        raise ValueError(
            f"storage_options are for an address, such as s3://bucket/photos.index, and {text!r:.200} is a "
            "folder: leave them out"
        )
    if _AS_PATH.match(text) and not os.path.lexists(text.partition("/")[0]):
        raise StoreError(
            f"{text!r:.200} is an address that was made a path; the command line keeps indexes in folders",
            remedy="use it from Python, as text: mmencode.Index.open('s3://bucket/photos.index')",
        )
    return Path(os.path.abspath(text))
