"""open_clip's byte pairs, in time that grows with the context and not with the text, and without a lock.

Its own tokenizer looks through a whole word for every pair that it joins, though a context of 77 tokens holds
the beginning of a long one only, and it keeps every word that it has ever seen.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from functools import lru_cache
from heapq import heapify, heappop, heappush
from itertools import islice, pairwise

from open_clip.tokenizer import SimpleTokenizer

_WORDS = 2**14  # that are kept: nearly all that are said in a language
_LONGEST = 32  # characters of a word worth keeping
_BEGINNING = 2**12  # characters that are cleaned at first, and the rest of their line
_REACH = 8  # characters for each token that is asked for, in the first look at a long word
_LAST = "</w>"  # behind the last symbol of a word
_NEVER = 2**62


class BytePairs:
    """The ids that a SimpleTokenizer gives a text, as many as are asked for.

    It reads the tokenizer's vocabulary and changes nothing of it. Safe in threads.
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
        """The first `most` ids of a text, without marks of start and end."""
        end = _BEGINNING
        # What is cleaned of a line depends on those before it, and not on those behind.
        while 0 <= (end := text.find("\n", end)) < len(text) - 1:
            found = list(islice(self._all(text[: end + 1], most), most))
            if len(found) == most:
                return found
            end *= 4
        return list(islice(self._all(text, most), most))

    @property
    def identity(self) -> str:
        """A digest of all that ids depend on."""
        ranked = sorted(self._merges.ranks, key=self._merges.ranks.__getitem__)
        known = sorted(self._ids, key=self._ids.__getitem__)
        facts = (self._clean.__name__, self._pattern.pattern, *known, *map(" ".join, ranked))
        return f"sha256:{hashlib.sha256(chr(0).join(facts).encode()).hexdigest()}"

    def _all(self, text: str, most: int) -> Iterator[int]:
        for found in self._pattern.finditer(self._clean(text)):
            word = found.group()
            yield from self._kept(word) if len(word) <= _LONGEST else self._beginning(word, most)

    def _beginning(self, word: str, most: int) -> tuple[int, ...]:
        """The first ids of a long word, as many as are sure and `most` at least, or all."""
        reach = _REACH * most
        while reach < len(word):
            found = self._merges.joined(self._symbols(word[:reach]), open_ended=True)
            if len(found) >= most:
                return tuple(self._ids[symbol] for symbol in found)
            reach *= 4
        return self._whole(word)

    def _whole(self, word: str) -> tuple[int, ...]:
        symbols = self._symbols(word)
        if (mark := "".join(symbols)) in self._marks:
            return (self._marks[mark],)
        symbols[-1] += _LAST
        return tuple(self._ids[symbol] for symbol in self._merges.joined(symbols))

    def _symbols(self, word: str) -> list[str]:
        return [self._bytes[byte] for byte in word.encode()]


class Merges:
    """The pairs of symbols that are joined, each with its rank: the lowest of a word first, from the left.

    A symbol that a pair makes has pairs of higher ranks only, as training leaves them.
    """

    def __init__(self, ranks: Mapping[tuple[str, str], int]) -> None:
        self.ranks = ranks
        self._leading: dict[str, list[int]] = {}  # the ranks of the pairs that a symbol begins, ascending
        for (first, _), rank in sorted(ranks.items(), key=lambda entry: entry[1]):
            self._leading.setdefault(first, []).append(rank)

    def joined(self, symbols: list[str], *, open_ended: bool = False) -> list[str]:
        """What a word's symbols become; of an open-ended word, the symbols that are sure whatever follows.

        Ranks are gone through upwards. Of an open-ended word the last symbol that is sure is followed by an
        unknown one, so at the next rank that it could be joined at, it is sure no more, and the one before it
        is the last. What is left when no rank is, no continuation can change.
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
                unsure = self._unsure(symbols[last], unsure + 1)  # at this rank it saw the sure one
                continue
            rank, place = heappop(heap)
            other = after[place]
            if other < 0 or not symbols[place] or self.ranks.get((symbols[place], symbols[other])) != rank:
                continue  # one of the two has been joined with another since
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
        """The next rank, from `now` on, at which something behind could be joined to a symbol."""
        ranks = self._leading.get(symbol, ())
        place = bisect_left(ranks, now)
        return ranks[place] if place < len(ranks) else _NEVER
