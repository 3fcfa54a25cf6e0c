"""Byte-pair encoding as in open_clip's SimpleTokenizer, in time that grows with the context, not the text.

SimpleTokenizer searches a whole word again for every pair that it merges, though a context of 77 tokens holds
only the beginning of a long word, and it caches every word that it has ever seen.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from functools import lru_cache
from heapq import heapify, heappop, heappush
from itertools import islice, pairwise

from open_clip.tokenizer import SimpleTokenizer

_WORDS = 2**14  # words in the cache: nearly all that a language uses often
_LONGEST = 32  # characters of a word that is worth caching
_BEGINNING = 2**12  # characters of a text that are cleaned at first, up to the end of their line
_REACH = 8  # characters of a long word that are merged at first, for each token wanted
_LAST = "</w>"  # marks the last symbol of a word
_NEVER = 2**62


class BytePairs:
    """Encodes texts to the ids of a SimpleTokenizer, and stops at as many ids as are wanted.

    The tokenizer's vocabulary is read and never changed. Threads may share an object.
    """

    def __init__(self, tokenizer: SimpleTokenizer) -> None:
        self._clean = tokenizer.clean_fn
        self._pattern = tokenizer.pat
        self._bytes = tokenizer.byte_encoder
        self._ids = tokenizer.encoder
        self._marks = {tokenizer.decoder[id]: id for id in tokenizer.all_special_ids}
        self._merges = Merges(tokenizer.bpe_ranks)
        self._kept = lru_cache(_WORDS)(self._whole)

    def ids(self, text: str, most: int) -> list[int]:
        """Encode a text to its first `most` ids, without the marks of start and end."""
        end = _BEGINNING
        # Cleaning a line depends on the lines before it, never on those after it.
        while 0 <= (end := text.find("\n", end)) < len(text) - 1:
            found = list(islice(self._all(text[: end + 1], most), most))
            if len(found) == most:
                return found
            end *= 4
        return list(islice(self._all(text, most), most))

    @property
    def identity(self) -> str:
        """A digest of everything that the ids depend on: cleaning, pattern, vocabulary and merges."""
        ranked = sorted(self._merges.ranks, key=self._merges.ranks.__getitem__)
        known = sorted(self._ids, key=self._ids.__getitem__)
        facts = (self._clean.__name__, self._pattern.pattern, *known, *map(" ".join, ranked))
        return f"sha256:{hashlib.sha256(chr(0).join(facts).encode()).hexdigest()}"

    def _all(self, text: str, most: int) -> Iterator[int]:
        for found in self._pattern.finditer(self._clean(text)):
            word = found.group()
            yield from self._kept(word) if len(word) <= _LONGEST else self._beginning(word, most)

    def _beginning(self, word: str, most: int) -> tuple[int, ...]:
        """Encode the beginning of a long word to `most` ids or more, or to all there are."""
        reach = _REACH * most
        while reach < len(word):
            found = self._merges.join(self._symbols(word[:reach]), open_ended=True)
            if len(found) >= most:
                return tuple(self._ids[symbol] for symbol in found)
            reach *= 4
        return self._whole(word)

    def _whole(self, word: str) -> tuple[int, ...]:
        symbols = self._symbols(word)
        if (mark := "".join(symbols)) in self._marks:
            return (self._marks[mark],)
        symbols[-1] += _LAST
        return tuple(self._ids[symbol] for symbol in self._merges.join(symbols))

    def _symbols(self, word: str) -> list[str]:
        return [self._bytes[byte] for byte in word.encode()]


class Merges:
    """The pairs of symbols that are merged, each with its rank: the lowest in a word first, from the left.

    A symbol that a merge makes is part of pairs of higher ranks only, since training adds them later.
    """

    def __init__(self, ranks: Mapping[tuple[str, str], int]) -> None:
        self.ranks = ranks
        self._leading: dict[str, list[int]] = {}  # by first symbol, ascending ranks of its pairs
        for (first, _), rank in sorted(ranks.items(), key=lambda entry: entry[1]):
            self._leading.setdefault(first, []).append(rank)

    def join(self, symbols: list[str], *, open_ended: bool = False) -> list[str]:
        """Merge a word's symbols; of an open-ended word, give only those that no continuation can change.

        Merges are done in order of rank. The last certain symbol of an open-ended word is followed by an
        unknown one. Once the ranks reach a pair that it begins, it might be merged with that, so it is no
        longer certain, and the symbol before it becomes the last one. Symbols that are left when no rank is
        left stay, whatever follows.
        """
        symbols, count = list(symbols), len(symbols)
        before, after = list(range(-1, count - 1)), [*range(1, count), -1]
        pairs = enumerate(pairwise(symbols))
        heap = [(self.ranks[pair], place) for place, pair in pairs if pair in self.ranks]
        heapify(heap)
        last = count - 1
        unsure = self._unsure(symbols[last], 0) if open_ended else _NEVER
        while heap or unsure != _NEVER:
            if not heap or heap[0][0] > unsure:
                last = before[last]
                if last < 0:
                    return []
                after[last] = -1
                unsure = self._unsure(symbols[last], unsure + 1)  # at this rank its neighbour was certain
                continue
            rank, place = heappop(heap)
            other = after[place]
            if other < 0 or not symbols[place] or self.ranks.get((symbols[place], symbols[other])) != rank:
                continue  # one of the two has been merged with another symbol since
            symbols[place] += symbols[other]
            symbols[other] = ""
            behind = after[place] = after[other]
            if behind >= 0:
                before[behind] = place
            if other == last:
                last = place
                unsure = self._unsure(symbols[last], rank) if open_ended else _NEVER
            for left, right in ((before[place], place), (place, behind)):
                if left >= 0 and right >= 0 and (symbols[left], symbols[right]) in self.ranks:
                    heappush(heap, (self.ranks[symbols[left], symbols[right]], left))
        return [symbol for symbol in symbols[: last + 1] if symbol]

    def _unsure(self, symbol: str, now: int) -> int:
        """The lowest rank, from `now` on, of a pair that begins with a symbol."""
        ranks = self._leading.get(symbol, ())
        place = bisect_left(ranks, now)
        return ranks[place] if place < len(ranks) else _NEVER
