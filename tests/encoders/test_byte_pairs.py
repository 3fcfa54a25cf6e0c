"""open_clip's byte pairs are its own, for any text, in time that the context bounds."""

from __future__ import annotations

import threading
import time
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer

from mmencode.encoders.byte_pairs import BytePairs, Merges
from mmencode.encoders.openclip.tokenizer import reader
from mmencode.errors import WeightsError

OURS = SimpleTokenizer()
PAIRS = BytePairs(OURS)
ALPHABETS = (
    "abc",
    "ab",
    "etaoin",
    "x",
    "!?.-",
    "0123",
    "日本é🙂\u0301",
    "aA &<;#'",
    "thequickbrown",
    "\n a.",
)
words = st.sampled_from(ALPHABETS).flatmap(lambda letters: st.text(letters, min_size=1, max_size=400))
texts = st.one_of(words, st.text(max_size=80), st.lists(words.map(lambda word: word[:12])).map(" ".join))


def theirs(text: str, tokenizer: SimpleTokenizer = OURS) -> list[int]:
    """What open_clip makes of a text; its cache is emptied, which would remember long words."""
    tokenizer.cache = {tokenizer.decoder[id]: tokenizer.decoder[id] for id in tokenizer.all_special_ids}
    return tokenizer.encode(text)


@settings(max_examples=150, deadline=None)
@given(texts, st.sampled_from([1, 2, 15, 76]))
def test_ids_are_open_clips_for_any_text(text, most):
    assert PAIRS.ids(text, most) == theirs(text)[:most]


@pytest.mark.parametrize(
    "text",
    [
        "<start_of_text> a <end_of_text>",
        "<START_OF_TEXT>x",
        "&nbsp;",
        "don't we'll I'M",
        "&lt;b&gt;\n<i>&amp;amp;</i>",
        "ΑΣ\nΣ ΑΣ",
        "a" * 77,
        "line\n" * 1500,
        "&amp\n;" * 1200,
        "<\n" + "&EACUTE;\n" * 900,
    ],
)
def test_marks_entities_and_lines_are_read_as_open_clip_reads_them(text):
    for most in (3, 76, 10**6):
        assert PAIRS.ids(text, most) == theirs(text)[:most]


@pytest.mark.parametrize("clean", ["lower", "whitespace", "canonicalize"])
def test_every_way_to_clean_is_open_clips(clean):
    tokenizer = SimpleTokenizer(clean=clean, context_length=12)
    read = reader(tokenizer).read
    for text in ("A cat, running!", "", "X" * 900, "so many words that this one is cut off in the end", "!"):
        assert torch.equal(read(text).ids, tokenizer([text])[0])


@pytest.mark.parametrize("length", [4500, 6000])
@pytest.mark.parametrize("letters", ["a", "ab", "the", "qzj"])
def test_a_long_word_begins_as_the_whole_word_does(letters, length):
    word = (letters * length)[:length]
    assert PAIRS.ids(word, 76) == theirs(word)[:76]


def trained(corpus: list[str]) -> dict[tuple[str, str], int]:
    """The merges that training finds: the most frequent pair, again and again."""
    ranks: dict[tuple[str, str], int] = {}
    rows = [list(word) for word in corpus]
    while len(ranks) < 40:
        counts: dict[tuple[str, str], int] = {}
        for row in rows:
            for pair in pairwise(row):
                counts[pair] = counts.get(pair, 0) + 1
        if not counts:
            break
        best = max(sorted(counts), key=counts.__getitem__)
        ranks[best] = len(ranks)
        rows = [naive(row, {best: 0}) for row in rows]
    return ranks


def naive(symbols: list[str], ranks: dict[tuple[str, str], int]) -> list[str]:
    """Join the pair of the lowest rank wherever it stands, from the left, until there is none."""
    while True:
        pairs = [pair for pair in pairwise(symbols) if pair in ranks]
        if not pairs:
            return symbols
        first, second = min(pairs, key=ranks.__getitem__)
        joined, place = [], 0
        while place < len(symbols):
            both = symbols[place : place + 2] == [first, second]
            joined.append(first + second if both else symbols[place])
            place += 2 if both else 1
        symbols = joined


corpora = st.lists(
    st.text("ab", min_size=2, max_size=30) | st.text("abc", min_size=2, max_size=30), min_size=1
)


@settings(max_examples=150, deadline=None)
@given(corpora, st.text("abc", min_size=1, max_size=60), st.text("abc", max_size=40))
def test_symbols_that_are_sure_stand_whatever_follows(corpus, word, rest):
    """For any vocabulary that training makes: of few letters, so that everything joins with everything."""
    merges = Merges(trained(corpus))
    assert merges.join(list(word)) == naive(list(word), dict(merges.ranks))
    sure = merges.join(list(word), open_ended=True)
    whole = naive(list(word + rest), dict(merges.ranks))
    assert whole[: len(sure)] == sure


def test_a_pair_has_a_higher_rank_than_those_that_its_symbols_are_made_by():
    """What sure symbols rest on."""
    made = {"".join(pair): rank for pair, rank in OURS.bpe_ranks.items()}
    assert len(made) == len(OURS.bpe_ranks)
    for (first, second), rank in OURS.bpe_ranks.items():
        assert max(made.get(first, -1), made.get(second, -1)) < rank


@pytest.mark.parametrize("word", ["x", "ab", "!", "日", "🙂", "the", "a\n"])
def test_work_on_a_long_text_is_bounded_by_the_context(word, monkeypatch):
    """Counted in symbols that are joined, whatever the machine: one text of 100 000 characters."""
    looked, joined = [], Merges.join

    def count(self, symbols, **options):
        looked.append(len(symbols))
        return joined(self, symbols, **options)

    monkeypatch.setattr(Merges, "join", count)
    BytePairs(OURS).ids((word * 100_000)[:100_000], 76)
    assert sum(looked) < 40_000


def test_nothing_is_locked_and_no_word_is_kept_for_ever():
    tokenizer = SimpleTokenizer()
    subject = reader(tokenizer)
    before = len(tokenizer.cache)
    texts = [f"word{index} other" for index in range(400)]
    results = [[] for _ in range(4)]
    threads = [
        threading.Thread(target=lambda row=row: row.extend(subject.read(text).ids.tolist() for text in texts))
        for row in results
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results[0] == [tokenizer([text])[0].tolist() for text in texts]
    assert all(row == results[0] for row in results)
    fresh = SimpleTokenizer()
    reader(fresh).read("some words and more")
    assert len(fresh.cache) == before


def test_text_that_the_tokenizer_leaves_nothing_of_has_no_words():
    subject = reader(OURS)
    assert [subject.read(text).words for text in ("&nbsp;", "&#160; &nbsp;\u2003", "\ufeff"[:0], "a")] == [
        0,
        0,
        0,
        1,
    ]


def test_tokens_left_out_by_chance_are_refused():
    with pytest.raises(WeightsError, match=r"reduction_mask(.|\n)*tokenizer_kwargs"):
        reader(SimpleTokenizer(reduction_mask="simple"))


def test_one_unbroken_word_is_late_alone_or_not_at_all(tmp_path):
    """The neighbours' rows and the next call's are there, within a limit that open_clip's own exceeds."""
    from openclip_tiny import CONFIGS, register, save_weights

    import mmencode

    register(tmp_path, "tiny-clip", CONFIGS["tiny-clip"])
    save_weights("tiny-clip", tmp_path / "w.safetensors")
    batch = ["a cat", "a dog", "x" * 4500, "a tree", "y" * 100_000, "a house", "a car", "rain"]
    name = f"openclip/tiny-clip/{tmp_path}/w.safetensors"
    with mmencode.load(name, device="cpu", dtype="float32", limits=mmencode.Limits(wait=2.0)) as space:
        space.encode("text", ["warm"])
        begun = time.perf_counter()
        with pytest.warns(UserWarning, match="longer than 77 tokens"):
            found = space.encode("text", batch, on_error="skip")
        assert found.positions.tolist() == list(range(8))
        assert time.perf_counter() - begun < 60
        again = space.encode("text", ["rain"])
    assert abs(float(again.vectors[0] @ found.vectors[7]) - 1) < 1e-5
