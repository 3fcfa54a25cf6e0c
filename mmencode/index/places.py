"""The place of an index: a folder, or an address on object storage, as LanceDB opens it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

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
    """Find where a path or an address leads; ValueError for options of a folder."""
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
    return Path(os.path.abspath(text))
