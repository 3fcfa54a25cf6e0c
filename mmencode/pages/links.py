"""Links from a page to the files that items are read from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..inputs import split_part
from ..plugins.modalities import find_modality


def make_link(modality: str, item: Any) -> str:
    """Make the address of the file that an item lies in, with its part: file:///a/report.pdf#page=3.

    It is "" for what is no file that is there, and never leads elsewhere, whatever the item's name.
    """
    spec = find_modality(modality)
    if spec is None or not spec.names_files or not isinstance(item, (str, os.PathLike)):
        return ""
    path, number = split_part(modality, os.fsdecode(item))
    try:
        if not os.path.isfile(path):
            return ""
        address = Path(os.path.abspath(path)).as_uri()
    except (OSError, ValueError):
        return ""
    return address if number is None else f"{address}#{spec.part}={number}"
