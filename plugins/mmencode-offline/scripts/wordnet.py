"""Just enough of WordNet 3.0's `data.noun` for names, glosses and what a thing is a kind of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Kinds that say nothing about how a thing looks.
_ABSTRACT = frozenset(
    {"entity", "physical entity", "abstraction", "object", "whole", "unit", "thing", "matter", "substance"}
    | {"causal agent", "artifact", "instrumentality", "device"}
    | {"living thing", "organism", "chordate", "vertebrate", "placental"}
)


@dataclass(frozen=True, slots=True)
class Synset:
    """One sense: its first word, its definition, and the offset of its first hypernym, None at the root."""

    name: str
    gloss: str
    parent: int | None


class WordNet:
    """Reads synsets of nouns; the digits of a WordNet id, "n02084071", are the synset's byte offset."""

    def __init__(self, folder: Path) -> None:
        self._nouns = (folder / "data.noun").read_bytes()

    def synset(self, offset: int) -> Synset:
        """The synset at a byte offset; the format is that of the manual page wndb(5)."""
        line = self._nouns[offset : self._nouns.index(b"\n", offset)].decode("ascii")
        if not line.startswith(f"{offset:08d} "):
            raise ValueError(f"no synset stands at byte {offset} of data.noun: is this WordNet 3.0?")
        fields, _, gloss = line.partition(" | ")
        parts = fields.split(" ")
        pointers = 5 + 2 * int(parts[3], 16)
        symbols = parts[pointers : pointers + 4 * int(parts[pointers - 1]) : 4]
        parent = int(parts[pointers + 4 * symbols.index("@") + 1]) if "@" in symbols else None
        return Synset(parts[4].replace("_", " "), gloss.split('; "')[0].strip(), parent)

    def kinds(self, offset: int, count: int) -> list[str]:
        """The names of the nearest `count` hypernyms that say something; fewer near the root."""
        useful = (synset.name for synset in self._ancestors(offset) if synset.name not in _ABSTRACT)
        return [name for name, _ in zip(useful, range(count), strict=False)]

    def _ancestors(self, offset: int) -> Iterator[Synset]:
        parent = self.synset(offset).parent
        while parent is not None:
            synset = self.synset(parent)
            yield synset
            parent = synset.parent
