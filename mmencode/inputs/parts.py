"""Files that hold several items: how each is named, report.pdf#page=3, and how many there are."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import PurePath
from typing import Any

from ..errors import InputError, MmencodeError
from ..errors.causes import describe_error, quote
from ..plugins.modalities import find_modality
from ..plugins.modality import ModalitySpec
from .limits import Limits, limit_remedy
from .reading import blame, load_target
from .within import call_within

MOST = 2**24  # items of one file


def split_part(modality: str, item: Any) -> tuple[Any, int | None]:
    """Split the name of an item in a file of several into the file's path and the item's number.

    What is no such name is given back whole, with None: another path, bytes, and whatever else. Numbers begin
    with 1; one of 0 is given as it is, for the reader to refuse.
    """
    spec = find_modality(modality)
    if spec is None or not spec.part or not isinstance(item, (str, PurePath)):
        return item, None
    found = _pattern(spec.part).fullmatch(os.fsdecode(item))
    return (found[1], int(found[2])) if found else (item, None)


def name_part(spec: ModalitySpec, path: str, number: int) -> str:
    """Name one item of a file of several, as keys and readers have it."""
    return f"{path}#{spec.part}={number}"


def list_parts(modality: str, path: str | os.PathLike[str], limits: Limits | None = None) -> Iterator[str]:
    """Name the items of a file one by one: report.pdf#page=1 and so on, or the path of a single item.

    Files of most modalities are single items, and those named with a number already are left as they are.
    Raises InputError, before the first, for a file whose items can't be counted.
    """
    spec, whole = find_modality(modality), os.fsdecode(path)
    if spec is None or not spec.part or split_part(modality, whole)[1] is not None:
        return iter((whole,))
    count = count_parts(spec, whole, Limits() if limits is None else limits)
    return (name_part(spec, whole, number) for number in range(1, count + 1)) if count else iter((whole,))


def count_parts(spec: ModalitySpec, path: str, limits: Limits) -> int:
    """Count the items of a file, 0 where it is a single one; its plugin gets `limits.wait` seconds.

    Raises InputError for a file that can't be counted, also where the fault is the plugin's.
    """
    return int(
        call_within(limits.wait, lambda: _count(spec, path, limits), lambda: _late(spec, path, limits))
    )


def _count(spec: ModalitySpec, path: str, limits: Limits) -> int:
    try:
        count = load_target(spec, "count")(path, limits.of(spec))
    except InputError as cause:
        error = copy.copy(cause)  # a plugin may raise one object several times
        error.source = cause.source or path
        raise error from cause.__cause__
    except (MmencodeError, KeyboardInterrupt):
        raise
    except BaseException as cause:
        error = blame(spec, f"counting its parts raised {describe_error(cause)}", path, cause)
        raise error from error.__cause__
    if type(count) is not int or not 0 <= count <= MOST:
        raise blame(spec, f"it counted {quote(count, 80)} parts, and not 0 to {MOST}", path)
    return count


def _late(spec: ModalitySpec, path: str, limits: Limits) -> InputError:
    return InputError(
        f"counting its parts takes more than {limits.wait:g} s",
        source=path,
        remedy=f"leave the file out, or {limit_remedy('wait')}",
        fault="time",
    )


@cache
def _pattern(part: str) -> re.Pattern[str]:
    return re.compile(f"(.+)#{re.escape(part)}=([0-9]{{1,9}})", re.DOTALL)
