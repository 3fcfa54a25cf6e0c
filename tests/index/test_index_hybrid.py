"""The search by words in full text, alone and fused with vectors: what is found, in which order, and said."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mmencode
from mmencode import Embeddings, Index, Runtime, Space
from mmencode.errors import InputError, SpaceMismatchError, UnknownModalityError
from mmencode.index import RankedHit, full_text
from mmencode.testing import fake_multi_specs, fake_specs

NOTES = {
    "n1": "a red car by the river",
    "n2": "two dogs run along the river",
    "n3": "invoice 4711 for a bicycle",
    "n4": "an old bridge",
}


@pytest.fixture
def notes(index):
    index.add("text", list(NOTES.values()), keys=list(NOTES), keep_text=True)
    index.build_full_text()
    return index


def keys(found):
    return [[hit.key for hit in hits] for hits in found]


def words_of(index, words, **options):
    return keys(index.search_text([words], 100, **options))[0]


def test_words_find_the_rows_that_have_one_of_them_best_first(notes):
    found = notes.search_text(["red river", "4711", "submarine"])
    assert keys(found) == [["n1", "n2"], ["n3"], []]
    best, other = found[0]
    assert (best.text_rank, other.text_rank) == (1, 2)
    assert best.bm25 > other.bm25 > 0
    assert (best.score, best.vector_rank, best.reranked) == (None, None, None)
    assert (best.modality, best.metadata) == ("text", {"text": NOTES["n1"]})


def test_a_hybrid_hit_says_both_ranks_its_similarity_and_the_sum_of_reciprocal_ranks(notes):
    query = ["invoice for the river"]
    nearest = {hit.key: (place, hit.score) for place, hit in enumerate(notes.search("text", query)[0], 1)}
    worded = {hit.key: (place, hit.bm25) for place, hit in enumerate(notes.search_text(query)[0], 1)}
    (found,) = notes.search_hybrid(query)
    assert {hit.key for hit in found} == set(NOTES) == set(nearest)
    assert set(worded) == {"n1", "n2", "n3"}
    for hit in found:
        assert (hit.vector_rank, hit.score) == nearest[hit.key]
        assert (hit.text_rank, hit.bm25) == worded.get(hit.key, (None, None))
        ranks = [rank for rank in (hit.vector_rank, hit.text_rank) if rank]
        assert hit.fused == pytest.approx(sum(1 / (60 + rank) for rank in ranks))
    assert [hit.fused for hit in found] == sorted((hit.fused for hit in found), reverse=True)
    assert notes.search_hybrid(query, 2) == [found[:2]]


def test_a_row_that_is_far_is_found_by_its_words_and_has_no_similarity(index, vectors, space):
    near = vectors(*(f"near{number:02}" for number in range(40)), seed=1)
    far = Embeddings(-near.vectors[:1], space=space.id, modality="image", keys=["far"])
    index.add_embeddings(near, metadata=[{"caption": "a meadow"}] * 40)
    index.add_embeddings(far, metadata=[{"caption": "the Zanzibar harbour"}])
    index.build_full_text("caption")
    asked = Embeddings(near.vectors[:1], space=space.id, modality="image")
    (found,) = index.search_hybrid(["zanzibar"], 3, vectors=asked, depth=10)
    assert [hit.key for hit in found[:2]] == ["far", "near00"]  # equal ranks, so by key
    assert (found[0].score, found[0].vector_rank, found[0].text_rank) == (None, None, 1)
    assert (found[1].vector_rank, found[1].text_rank, found[1].bm25) == (1, None, None)
    assert found[1].score == pytest.approx(1, abs=1e-6)
    assert not hasattr(found[0], "similarity")


def test_words_with_a_picture_rank_by_both(index):
    pictures = [np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8) for seed in range(3)]
    said = [{"caption": "night"}, {"caption": "dusk"}, {"caption": "snow"}]
    index.add("image", pictures, keys=["dark", "grey", "white"], metadata=said)
    index.build_full_text("caption")
    query = index.space.encode("image", pictures[1:2], role="query")
    (found,) = index.search_hybrid(["dusk"], vectors=query)
    assert (found[0].key, found[0].vector_rank, found[0].text_rank) == ("grey", 1, 1)
    with pytest.raises(ValueError, match="2 queries of words have 1 vectors"):
        index.search_hybrid(["dusk", "dawn"], vectors=query)


ROWS = st.sampled_from([f"k{number}" for number in range(6)])
VOCABULARY = ["red", "blue", "car", "dog", "river"]
TEXT = st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=4).map(" ".join)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.dictionaries(ROWS, TEXT, min_size=1, max_size=4)),
        st.tuples(st.just("say"), st.dictionaries(ROWS, TEXT, min_size=1, max_size=3)),
        st.tuples(st.just("delete"), st.lists(ROWS, max_size=3)),
        st.tuples(st.sampled_from(["compact", "build", "widen"]), st.none()),
    ),
    max_size=8,
)


@pytest.fixture(scope="module")
def shared_space():
    with Space("fake", fake_specs(), runtime=Runtime("cpu", workers=1)) as space:
        yield space


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_words_find_what_the_rows_say_now_whatever_was_done_before(tmp_path_factory, shared_space, steps):
    """Rows are added, replaced, said something else about without being encoded, deleted, and compacted."""
    folder = tmp_path_factory.mktemp("model") / "index"
    expected = {"first": "red"}
    with Index.create(folder, shared_space) as index, Index.open(folder, space=shared_space) as other:
        index.add("text", ["first"], metadata=[{"caption": "red"}])
        index.build_full_text("caption")
        for number, (step, value) in enumerate(steps):
            if step == "put":  # other vectors, and so other rows
                rng = np.random.default_rng(number)
                rows = rng.standard_normal((len(value), 8)).astype(np.float32)
                rows /= np.linalg.norm(rows, axis=1, keepdims=True)
                made = Embeddings(
                    rows,
                    space=shared_space.id,
                    modality="text",
                    keys=list(value),
                    towers=shared_space.encode("text", ["x"]).towers,
                )
                index.add_embeddings(made, metadata=[{"caption": text} for text in value.values()])
                expected |= value
            elif step == "say":
                index.add("text", list(value), metadata=[{"caption": text} for text in value.values()])
                expected |= value
            elif step == "delete":
                index.delete(keys=value)
                expected = {key: text for key, text in expected.items() if key not in value}
            elif step == "widen":
                index.add("text", ["first"], metadata=[{"caption": "red", f"extra{number}": number}])
                expected["first"] = "red"
            elif step == "build":
                index.build_full_text("caption")
            else:
                index.compact()
            for reader in (index, other):
                for word in VOCABULARY:
                    having = {key for key, text in expected.items() if word in text.split()}
                    assert set(words_of(reader, word)) == having
                    among = set(words_of(reader, word, where="key < 'k3'"))
                    assert among == {key for key in having if key < "k3"}


def test_equal_scores_come_in_the_order_of_keys_and_the_first_of_more_are_those_of_fewer(index, vectors):
    names = [f"{number * 37 % 100:03}" for number in range(100)]
    index.add_embeddings(vectors(*names), metadata=[{"caption": "red car"}] * 100)
    index.build_full_text("caption")
    everything = words_of(index, "red")
    assert everything == sorted(names)
    for k in (1, 7, 60):
        assert keys(index.search_text(["red"], k)) == [everything[:k]]


def test_words_in_several_columns_find_all_rows_that_have_them_also_beside_the_index(index, vectors):
    draw = random.Random(0)
    said = {}

    def add(start, end):
        rows = {
            f"k{number:03}": [draw.choices(VOCABULARY, k=3) for _ in range(2)] for number in range(start, end)
        }
        metadata = [{"a": " ".join(first), "b": " ".join(second)} for first, second in rows.values()]
        index.add_embeddings(vectors(*rows, seed=start), metadata=metadata)
        said.update({key: {*first, *second} for key, (first, second) in rows.items()})

    add(0, 60)
    index.build_full_text(["a", "b"])
    add(60, 100)
    for words in ("red", "dog river"):
        everything = words_of(index, words)
        assert set(everything) == {key for key, has in said.items() if has & {*words.split()}}
        for k in (1, 9, 50):
            assert keys(index.search_text([words], k)) == [everything[:k]]


def test_conditions_and_modalities_hold_for_both_rankings(index, vectors):
    said = [{"caption": "red car", "year": 2000 + number} for number in range(10)]
    index.add_embeddings(vectors(*(f"i{number}" for number in range(10))), metadata=said)
    index.add("text", ["red car"], metadata=[{"caption": "red car", "year": 2009}])
    index.build_full_text("caption")
    assert words_of(index, "car", where="year >= 2008") == ["i8", "i9", "red car"]
    assert words_of(index, "car", where="year >= 2008", among="image") == ["i8", "i9"]
    (found,) = index.search_hybrid(["red"], where="year >= 2008", among=["image"])
    assert {hit.key for hit in found} == {"i8", "i9"}
    assert all(hit.vector_rank and hit.text_rank for hit in found)
    for wrong in ("year >= 2008 AN red", "1 / (year - 2009) > 0"):
        with pytest.raises(ValueError, match="isn't understood"):
            index.search_text(["red"], where=wrong)
    with pytest.raises(UnknownModalityError):
        index.search_text(["red"], among="smell")


def test_german_words_are_found_in_other_forms_and_without_their_accents(index):
    texts = ["Die Häuser der Stadt", "Ein schöner Garten", "Der Fluß"]
    index.add("text", texts, keep_text=True)
    index.build_full_text()
    assert words_of(index, "häuser") == words_of(index, "HAUSER") == texts[:1]
    assert words_of(index, "Haus") == []
    index.build_full_text(language="german")
    assert words_of(index, "Haus") == words_of(index, "hause") == texts[:1]
    assert words_of(index, "schöne") == texts[1:2]
    assert words_of(index, "der die das") == []  # stop words, which say nothing
    assert [hit.text_rank for hit in index.search_hybrid(["der"])[0]] == [None] * 3
    assert index.state().full_text == {"text": "words, by the rules of German"}
    index.add("text", ["Das neue Haus"], keep_text=True)
    assert set(words_of(index, "Häuser")) == {texts[0], "Das neue Haus"}


def test_chinese_and_japanese_words_are_found_without_spaces_and_parts_of_words_by_characters(index):
    texts = ["我爱北京天安门", "今天天气很好", "図書館で本を読む", "the postman's bicycle"]
    index.add("text", texts, keep_text=True)
    index.build_full_text()
    assert words_of(index, "北京") == texts[:1]
    assert words_of(index, "天气") == texts[1:2]
    assert words_of(index, "図書館") == texts[2:3]
    assert words_of(index, "cycle") == words_of(index, "安门") == []
    index.build_full_text(characters=2)
    assert words_of(index, "安门")[0] == texts[0]
    assert words_of(index, "書館")[0] == texts[2]
    assert words_of(index, "cycle")[0] == texts[3]
    assert index.state().full_text == {"text": "pieces of 2 characters"}


@pytest.mark.parametrize(
    "words",
    [
        "", "   ", "?!", "🎉", "\x00", "\udce9", '"red', "(((", "*", "red~9", "text:red^5", "-red", "a" * 999,
        "'; DROP TABLE rows; --", "+red AND NOT car OR", "\\", "{}[]", "\ufdd0dce9", "the", "\u202e red",
    ],
)  # fmt: skip
def test_a_query_is_words_alone_whatever_signs_it_has(notes, words):
    (found,) = notes.search_text([words])
    has = [key for key, text in NOTES.items() if {*words.lower().split()} & {*text.split()}]
    by_signs = ["n1"] if "red" in words and "red~" not in words else []
    assert {hit.key for hit in found} >= {*has, *by_signs}
    assert len(notes) == 4
    if not any(one.isalnum() for one in words):
        assert found == []


def test_ten_thousand_words_are_searched_and_more_than_the_limit_refused(notes):
    many = " ".join(f"word{number}" for number in range(9_000)) + " 4711" + " red" * 1000
    assert {*keys(notes.search_text([many]))[0]} == {"n1", "n3"}
    with pytest.raises(ValueError, match="query 1 has 100001 characters, and may have 100000"):
        notes.search_text(["red", "x" * 100_001])


def test_emoji_and_stop_words_leave_the_ranking_to_the_vectors(notes):
    (found,) = notes.search_hybrid(["🎉 ?!"])
    assert [hit.key for hit in found] == keys(notes.search("text", ["🎉 ?!"]))[0]
    assert all(hit.text_rank is None and hit.vector_rank for hit in found)


def test_queries_that_are_no_list_of_texts_are_refused_and_an_iterator_is_read(notes):
    assert keys(notes.search_text(iter(["4711"]))) == [["n3"]]
    assert notes.search_text([]) == notes.search_hybrid([], vectors=notes.rows().embeddings[:0]) == []
    with pytest.raises(TypeError, match="put it into a list"):
        notes.search_text("4711")
    with pytest.raises(InputError, match="the text is blank"):
        notes.search_hybrid([" "])
    assert keys(notes.search_hybrid([" "], 9, vectors=notes.rows().embeddings[:1]))[0][0] == "n1"
    with pytest.raises(TypeError, match="query 1 is of type int: make it a str of words"):
        notes.search_hybrid(["a", 4711])
    for k in (0, -1, True, 1.5):
        with pytest.raises(ValueError, match="make it a positive int"):
            notes.search_text(["a"], k)
        with pytest.raises(ValueError, match="make it a positive int"):
            notes.search_hybrid(["a"], depth=k)


def test_an_index_without_full_text_says_how_to_make_it(index):
    index.add("text", ["a red car"])
    with pytest.raises(ValueError, match=r"index\.build_full_text\(\) makes it"):
        index.search_text(["red"])
    with pytest.raises(
        ValueError, match="the index has no texts under 'text': add texts with keep_text=True"
    ):
        index.build_full_text()
    with pytest.raises(ValueError, match="no texts under 'vector': name one of its columns of texts"):
        index.build_full_text("vector")
    with pytest.raises(ValueError, match="columns is empty"):
        index.build_full_text([])
    index.build_full_text("key")
    assert words_of(index, "red") == ["a red car"]
    with pytest.raises(ValueError, match="column 'caption' has no full text, which key of this index has"):
        index.search_text(["red"], columns="caption")
    with pytest.raises(ValueError, match="columns is empty: leave it out"):
        index.search_hybrid(["red"], columns=[])


def test_settings_that_mean_nothing_are_refused_before_anything_is_written(notes):
    for wrong, said in (
        (
            {"language": "Klingon"},
            "language is 'Klingon', and the languages known are Arabic, .*leave it out",
        ),
        ({"language": "Germany"}, "did you mean German"),
        ({"language": 7}, "language is 7"),
        ({"characters": 9}, "characters is 9: make it an int from 1 to 8 or 0"),
        ({"language": "German", "characters": 2}, "pass one of them"),
    ):
        with pytest.raises(ValueError, match=said):
            notes.build_full_text(**wrong)
    assert notes.state().full_text == {"text": "words"}


@pytest.mark.parametrize("language", full_text.LANGUAGES)
def test_each_language_is_one_that_lancedb_knows(index, language):
    index.add("text", ["x"], keep_text=True)
    index.build_full_text(language=language)
    assert index.state().full_text == {"text": f"words, by the rules of {language}"}


def test_several_columns_are_searched_with_the_settings_of_each(index):
    said = [
        {"caption": "ein gelbes Haus", "tags": ["Houses", "old town"]},
        {"caption": "der Garten", "tags": ["house"]},
        {"caption": None, "tags": None},
    ]
    index.add("text", ["one", "two", "3"], metadata=said)
    index.build_full_text("caption", language="German")
    index.build_full_text("tags")
    assert index.state().full_text == {"caption": "words, by the rules of German", "tags": "words"}
    assert words_of(index, "Häuser") == ["one"]
    assert set(words_of(index, "Häuser house")) == {"one", "two"}
    assert words_of(index, "Häuser house", columns="tags") == ["two"]
    assert words_of(index, "town", columns=["caption", "tags"]) == ["one"]


def test_keys_and_texts_that_no_utf_8_holds_are_found_as_they_are(index):
    said = [{"file": "caf\udce9 red"}, {"file": "plain"}]
    index.add("text", ["one", "two"], keys=["\udcff", "p"], metadata=said)
    index.build_full_text("file")
    for words in ("red", "caf\udce9"):
        (hit,) = index.search_text([words])[0]
        assert (hit.key, hit.metadata) == ("\udcff", {"file": "caf\udce9 red"})


def test_full_text_is_brought_up_to_date_once_many_rows_are_beside_it(index, vectors, monkeypatch):
    monkeypatch.setattr("mmencode.index.full_text.FROM_LOOSE", 30)
    monkeypatch.setattr("mmencode.index.store.FROM_LOOSE", 30)

    def loose():
        return index._store.rows.index_stats("full_text_caption").num_unindexed_rows

    def add(start, end):
        names = [f"k{number}" for number in range(start, end)]
        index.add_embeddings(vectors(*names), metadata=[{"caption": f"word{name}"} for name in names])

    add(0, 1)
    index.build_full_text("caption")
    add(1, 20)
    assert loose() == 19
    add(20, 40)
    assert loose() == 0
    assert words_of(index, "wordk5 wordk39") == ["k39", "k5"]
    add(40, 60)
    assert loose() == 20
    index.compact()
    assert loose() == 0


def test_what_another_process_adds_is_found_and_its_full_text_is_seen(index, other, tmp_path):
    other.run(
        """
with Index.open(path, space=space) as index:
    index.add("text", ["a blue whale"], keys=["w"], keep_text=True)
    index.build_full_text()
    index.add("text", ["a grey whale"], keys=["v"], keep_text=True)
""",
        index.path,
    )
    assert set(words_of(index, "whale")) == {"v", "w"}


def test_an_index_of_many_vectors_is_searched_by_words_and_maxsim(tmp_path):
    late = Space("late", fake_multi_specs("late"), runtime=Runtime("cpu"))
    with late, Index.create(tmp_path / "late", late) as index:
        index.add("text", list(NOTES.values()), keys=list(NOTES), keep_text=True)
        index.build_full_text()
        nearest = {hit.key: hit.score for hit in index.search("text", ["4711"])[0]}
        (found,) = index.search_hybrid(["4711"])
        assert {hit.key: hit.score for hit in found} == nearest
        assert [hit.key for hit in found if hit.text_rank] == ["n3"]
        single = Embeddings(np.eye(1, 8, dtype=np.float32), space=late.id, modality="text")
        with pytest.raises(SpaceMismatchError, match="many vectors"):
            index.search_hybrid(["a"], vectors=single)
        with pytest.raises(ValueError, match="can't be centred"):
            index.search_hybrid(["a"], centred=True)


def test_vectors_of_another_space_are_refused_beside_words_too(notes):
    other = mmencode.Embeddings(notes.rows().embeddings.vectors[:1], space="other@0123", modality="text")
    with pytest.raises(SpaceMismatchError):
        notes.search_hybrid(["red"], vectors=other)


def test_hits_are_values_and_what_takes_a_similarity_gets_none_from_a_fused_score(notes):
    (hit, *_) = notes.search_hybrid(["red"])[0]
    assert isinstance(hit, RankedHit)
    with pytest.raises(AttributeError):
        hit.fused = 1.0
    assert hit.score == {row.key: row.score for row in notes.search("text", ["red"])[0]}[hit.key]
    (worded,) = notes.search_text(["4711"])[0]
    with pytest.raises(TypeError):
        _ = worded.score >= 0.5
