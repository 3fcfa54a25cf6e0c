"""The recall and ranks of retrieval: items searched by captions, and captions by items."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arguments.lists import require_list
from ..card import json_digest
from ..embeddings.array_types import Numbers, Vectors
from ..errors import InputError
from ..plugins.spec import QUERY, TEXT
from ..spaces.recall import DEPTHS
from ..spaces.sides import Role
from ..spaces.space import Space
from . import chance
from .bootstrap import Sampling
from .classification import choose_depths, require_measurable
from .figures import Figure
from .origin import LeftOut, Origin
from .ranking import Ranking, rank_by_vectors
from .report import Report, card_of

TWICE = "an earlier pair is the same"
ALONE = "all its partners are left out"


def retrieval(
    space: Space,
    pairs: Iterable[tuple[Any, str]],
    *,
    modality: str = "image",
    k: Sequence[int] | None = None,
    sampling: Sampling | None = None,
    origin: Origin | None = None,
    progress: bool = False,
) -> Report:
    """Search items by each caption and captions by each item, and measure the ranks of the right ones.

    Items with one key (path, text, content) are one item with several captions; equal captions are one
    caption with several items. Each item and each caption is one query and one candidate. recall@k is the
    share of queries with any right answer among the first k, as CLIP_benchmark and open_clip count it; the
    ranks are those of the first right answer; mAP is the mean average precision over all right answers.
    Equal scores count as if their order were drawn. By default k is 1, 5 and 10, as far as there are so many
    candidates. A sample is drawn of the items, with all their captions. Pairs of which either side can't be
    encoded are left out and listed.

    Raises InputError for anything but a pair of an item and a text, for a k above the number of items or of
    captions, and when no pair can be measured; ValueError for a k below 1.
    """
    sampling, origin = sampling or Sampling(), origin or Origin()
    rows, twice = _sample(_read(pairs), sampling, origin)
    require_measurable(len(rows), origin.left_out, origin.source)
    choose_depths(k, _fewest_candidates(rows), "candidates", DEPTHS)  # raises before anything is encoded
    found = _encode(space, modality, rows, progress)
    left_out = (*origin.left_out, *twice, *found.left_out)
    require_measurable(len(found.rows), left_out, origin.source)
    depths, notes = choose_depths(k, _fewest_candidates(found.rows), "candidates", DEPTHS)
    ways = {f"{modality} to text": False, f"text to {modality}": True}
    return Report(
        task="retrieval",
        card=card_of(space),
        modalities=(modality, TEXT),
        source=origin.source,
        counts={"pairs": len(found.rows), "items": len(found.items), "captions": len(found.captions)},
        digest=json_digest({"rows": sorted((row.key, row.caption) for row in found.rows)}),
        sampling=sampling,
        figures=tuple(
            figure
            for of, reverse in ways.items()
            for figure in _figures(found.rank(reverse=reverse), depths, sampling, of)
        ),
        left_out=left_out,
        notes=notes,
    )


@dataclass(frozen=True, slots=True)
class CaptionedItem:
    """An item with its key and one of its captions."""

    key: str
    item: Any
    caption: str


def _read(pairs: Iterable[tuple[Any, str]]) -> list[tuple[Any, str]]:
    require_list(pairs, "pairs", of=" of (item, caption) tuples")
    read = []
    for place, pair in enumerate(pairs):
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not isinstance(pair[1], str):
            raise InputError(
                "the pair isn't an item and a text",
                source=f"{pair!r:.100}",
                remedy='give tuples such as ("cat.jpg", "a cat on a mat")',
                index=place,
            )
        read.append((pair[0], pair[1]))
    return read


def _sample(
    pairs: list[tuple[Any, str]], sampling: Sampling, origin: Origin
) -> tuple[list[CaptionedItem], list[LeftOut]]:
    """Draw items, and keep their pairs, each once; the repeated ones are returned beside them."""
    keys = origin.keys_of([item for item, _ in pairs])
    distinct = list(dict.fromkeys(keys))
    drawn = {distinct[place] for place in sampling.draw(distinct)}
    rows: dict[tuple[str, str], CaptionedItem] = {}
    left_out = []
    for key, (item, caption) in zip(keys, pairs, strict=True):
        if key not in drawn:
            continue
        if (key, caption) in rows:
            left_out.append(LeftOut(f"{key}: {caption}", TWICE))
        rows.setdefault((key, caption), CaptionedItem(key, item, caption))
    return list(rows.values()), left_out


def _fewest_candidates(rows: Sequence[CaptionedItem]) -> int:
    """The number of candidates on the side, items or captions, that has fewer."""
    return min(len({row.key for row in rows}), len({row.caption for row in rows}))


@dataclass(frozen=True, slots=True)
class _EncodedPairs:
    """The pairs that could be encoded, and the vectors `[dim]` of their items and captions, by key.

    Those that ask are the vectors of queries, where a modality has a side for these.
    """

    rows: Sequence[CaptionedItem]
    items: Mapping[str, Vectors]
    captions: Mapping[str, Vectors]
    asking_items: Mapping[str, Vectors]
    asking_captions: Mapping[str, Vectors]
    left_out: Sequence[LeftOut]

    def rank(self, *, reverse: bool) -> Ranking:
        """Rank all captions for each item; in reverse, all items for each caption."""
        pairs = [(row.caption, row.key) if reverse else (row.key, row.caption) for row in self.rows]
        asking = self.asking_captions if reverse else self.asking_items
        candidates = self.items if reverse else self.captions
        places = {name: place for place, name in enumerate(candidates)}
        right: dict[str, list[int]] = defaultdict(list)
        for query, candidate in pairs:
            right[query].append(places[candidate])
        answers = [np.array(right[query], np.int64) for query in asking]
        return rank_by_vectors(np.stack(list(asking.values())), np.stack(list(candidates.values())), answers)


def _encode(space: Space, modality: str, rows: Sequence[CaptionedItem], progress: bool) -> _EncodedPairs:
    """Encode each item and each caption once, and leave out pairs of which either can't be encoded."""
    asking_items, items, bad_items = _encode_both(
        space, modality, {row.key: row.item for row in rows}, progress
    )
    asking_captions, captions, bad_captions = _encode_both(
        space, TEXT, {row.caption: row.caption for row in rows}, progress
    )
    kept = [row for row in rows if row.key in items and row.caption in captions]
    keys, words = {row.key for row in kept}, {row.caption for row in kept}
    alone = [name for name in items if name not in keys] + [name for name in captions if name not in words]
    return _EncodedPairs(
        kept,
        {key: vector for key, vector in items.items() if key in keys},
        {caption: vector for caption, vector in captions.items() if caption in words},
        {key: vector for key, vector in asking_items.items() if key in keys},
        {caption: vector for caption, vector in asking_captions.items() if caption in words},
        [*bad_items, *bad_captions, *(LeftOut(name, ALONE) for name in alone)],
    )


def _encode_both(
    space: Space, modality: str, items: Mapping[str, Any], progress: bool
) -> tuple[dict[str, Vectors], dict[str, Vectors], list[LeftOut]]:
    """Encode items as queries and as documents, once where that is the same, and list the bad ones."""
    documents, left_out = _encode_side(space, modality, items, progress)
    if space.key(modality, QUERY) == space.key(modality):
        return documents, documents, left_out
    queries, lost = _encode_side(space, modality, items, progress, QUERY)
    both = queries.keys() & documents.keys()
    named = {each.source for each in left_out}
    return (
        {key: vector for key, vector in queries.items() if key in both},
        {key: vector for key, vector in documents.items() if key in both},
        [*left_out, *(each for each in lost if each.source not in named)],
    )


def _encode_side(
    space: Space, modality: str, items: Mapping[str, Any], progress: bool, role: Role = ""
) -> tuple[dict[str, Vectors], list[LeftOut]]:
    """Encode items by their keys, and list those that can't be encoded."""
    keys = list(items)
    found = space.encode(modality, list(items.values()), role=role, on_error="skip", progress=progress)
    places = found.positions.tolist()
    vectors = {keys[place]: vector for place, vector in zip(places, found.vectors, strict=True)}
    return vectors, [LeftOut(keys[error.index or 0], error.fact) for error in found.errors]


def _figures(ranks: Ranking, depths: Sequence[int], sampling: Sampling, of: str) -> Iterator[Figure]:
    values = np.stack([*(ranks.hits(k) for k in depths), ranks.precision, ranks.first], axis=1)
    means = _statistics(values)
    intervals = sampling.intervals(values, _statistics) if len(values) > 1 else [None] * len(means)
    blind = [
        *(chance.hit_rate(ranks, k) for k in depths),
        chance.average_precision(ranks),
        chance.mean_rank(ranks),
        chance.median_rank(ranks),
    ]
    names = [*(f"recall@{k}" for k in depths), "mAP", "mean rank", "median rank"]
    for name, value, interval, guess in zip(names, means.tolist(), intervals, blind, strict=True):
        yield Figure(name, value, interval, guess, of=of, rank=name.endswith("rank"))


def _statistics(values: Numbers) -> Numbers:
    """The means of all columns, and the median of the last one, which has the ranks."""
    return np.append(values.mean(axis=0), np.median(values[:, -1]))
