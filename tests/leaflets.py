"""A modality whose files hold several items: leaflets, each line of which is a leaf, with a word on it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from mmencode import EncoderSpec, Limits, ModalitySpec
from mmencode.errors import InputError
from mmencode.inputs import read_bytes, split_part
from mmencode.testing import fake_specs

SPEC = ModalitySpec(
    name="leaf",
    reader="leaflets:read",
    value="builtins:str",
    limits=(("lines", 50),),
    endings=(".leaves", ".leaf"),
    part="line",
    count="leaflets:count",
    probes="leaflets:probes",
    preview="leaflets:read",
)
SPECS: tuple[EncoderSpec, ...] = (
    *fake_specs(),
    EncoderSpec(name="fake/leaf", modality="leaf", target="mmencode.testing:FakeText", space="fake", dim=8),
)
counted: list[str] = []  # the names of the files that were counted, for tests to look at


def lines(content: bytes, limits: Limits) -> list[str]:
    if content.startswith(b"!"):
        raise InputError("it is torn", source="", remedy="glue it")
    if content.startswith(b"?"):
        raise InputError("it can't be reached", source="", remedy="wait", fault="access")
    found = content.decode().splitlines()
    if len(found) > limits.declared["leaf.lines"]:
        raise InputError(f"it has {len(found)} lines", source="", remedy="raise leaf.lines", fault="limit")
    return found


def count(path: str, limits: Limits) -> Any:
    """The number of lines; a file .leaf is a single one."""
    counted.append(Path(path).name)
    content = read_bytes(path, limits)
    if content.startswith(b"slow"):
        time.sleep(5)
    if content.startswith(b"raise"):
        raise RuntimeError("dropped it")
    if content.startswith(b"many"):
        return 2**60
    return 0 if path.endswith(".leaf") else len(lines(content, limits))


def read(item: Any, limits: Limits) -> str:
    path, number = split_part("leaf", item)
    found = lines(read_bytes(path, limits), limits)
    if number is None and len(found) == 1:
        return found[0]
    if number is None or not 1 <= number <= len(found):
        raise InputError(f"it has {len(found)} lines", source="", remedy="name one: file#line=2")
    if found[number - 1] == "bad":
        raise InputError("this leaf is bad", source="", remedy="leave it out")
    return found[number - 1]


def probes() -> list[bytes]:
    return [b"one", b"two", b"three"]


def one_too_many(path: str, limits: Limits) -> int:
    return int(count(path, limits)) + 1


def read_any(item: Any, limits: Limits) -> str:
    """Give the first leaf, whatever the number."""
    return read(split_part("leaf", item)[0], limits)
