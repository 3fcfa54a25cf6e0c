"""Untrusted bytes become molecules here: a line of SMILES is read into the symbols of its atoms."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from mmencode import Limits
from mmencode.errors import InputError
from mmencode.inputs import read_bytes

_ATOM = re.compile(r"Cl|Br|[BCNOPSFI]|[cnops]")
_BETWEEN = re.compile(r"[-=#()\[\]@+0-9]*")


@dataclass(frozen=True)
class Molecule:
    """The symbols of a molecule's atoms, in the order of its line."""

    atoms: tuple[str, ...]


def read(item: Any, limits: Limits) -> Molecule:
    """Read the file, path or bytes of one line."""
    line = read_bytes(item, limits).decode("ascii", "replace").strip()
    if not line or not _BETWEEN.fullmatch(_ATOM.sub("", line)):
        raise InputError(f"it is no SMILES: {line[:20]!r}", source="", remedy="check the file")
    atoms = tuple(atom.capitalize() for atom in _ATOM.findall(line))
    most = limits.declared["molecule.atoms"]
    if len(atoms) > most:
        raise InputError(
            f"it has {len(atoms)} atoms, and the limit is {most}",
            source="",
            remedy=f"raise it: --limit molecule.atoms={len(atoms)}",
            fault="limit",
        )
    return Molecule(atoms)


def preview(item: Any, limits: Limits) -> str:
    """The formula, with what a page must escape."""
    counts = Counter(read(item, limits).atoms)
    return "<b>" + " ".join(f"{symbol}{count}" for symbol, count in sorted(counts.items()))


def probes() -> list[bytes]:
    return [b"CCO", b"c1ccccc1", b"CC(=O)N", b"NCCN"]
