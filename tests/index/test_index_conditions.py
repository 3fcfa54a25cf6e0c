"""A condition means what it says, all of it, or is refused."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmencode import Embeddings, Index
from mmencode.index.conditions import condition
from mmencode.runtime import Runtime
from mmencode.space import Space
from mmencode.testing import fake_specs

pytest.importorskip("lancedb", reason="an index is on LanceDB: pip install 'mmencode[index]'")

REFUSED = {
    "trailing word": "n >= 2 AN red",
    "trailing words": "n >= 2 red blue",
    "another statement": "n >= 2; DELETE FROM rows",
    "a semicolon": "n >= 2;",
    "a comma": "n >= 2, n < 0",
    "an order": "n >= 2 ORDER BY n",
    "a limit": "n >= 2 LIMIT 1",
    "an alias": "n >= 2 AS x",
    "a bracket too many": "n >= 2)",
    "a bracket too few": "(n >= 2",
    "brackets that close others": "true) OR (true",
    "brackets in the wrong order": ")n >= 2(",
    "a comment": "n >= 2 -- and n < 0",
    "a comment between": "n >= /* none */ 2",
    "a number that is an alias": "n >= 2_010",
    "a quote that isn't closed": "kind = 'red",
    "a name that isn't closed": '"n >= 2',
    "dollar quotes": "kind = $$red$$",
    "a parameter": "n >= ?",
    "a numbered parameter": "n >= $1",
    "a national string": "kind = N'red'",
    "a bit string": "kind = B'0'",
    "an escape string": "kind = E'red'",
    "a string that goes on": "kind = 'red' 'blue'",
    "a backslash": "kind = 'red\\' OR true OR kind = '",
    "nothing": "",
    "spaces": "  \n",
    "a zero byte": "n >= 2\0",
    "a space that is none": "n\u00a0>= 2",
    "a subquery": "n IN (SELECT n FROM rows)",
    "a union": "n >= 2 UNION SELECT 1",
    "a query": "SELECT true",
    "no condition": "n",
    "no condition either": "1",
    "a column that isn't there": "m >= 2",
    "a function that repeats": "repeat('red', 1000000000) = kind",
    "a function that pads": "lpad(kind, 1000000000, 'x') = kind",
    "a function that makes lists": "array_length(range(1, 10000000000)) > 2",
    "a function that replaces": "replace(kind, 'r', 'rrrrrrrr') = kind",
    "a quoted function": "\"repeat\"('red', 1000000000) = kind",
    "deep brackets": "(" * 100_000 + "n >= 2" + ")" * 100_000,
    "many brackets": "(" * 41 + "n >= 2" + ")" * 41,
    "a sum that is too long": "n >= " + " + ".join(["1"] * 5000),
    "words that are too many": "n >= 2" + " OR n >= 2" * 20_000,
    "many negations": "NOT " * 5000 + "n >= 2",
}
MEANT = {
    "n >= 2": "cde",
    "n >= 2 AND kind = 'red'": "ce",
    "(n >= 2) OR (kind = 'blue')": "bcde",
    "n IN (0, 3)": "ad",
    "n NOT IN (0, 3)": "bce",
    "n BETWEEN 1 AND 2": "bc",
    "kind LIKE 'r%'": "ace",
    "kind IS NULL": "d",
    "kind IS NOT NULL AND NOT n = 0": "bce",
    "n % 2 = 0": "ace",
    "n * 2 + 1 > 5": "de",
    "n / 2 >= 1.0": "cde",
    "-n <= -3": "de",
    "key = 'a' OR key='b'": "ab",
    "kind = 'red' AND \"n\" > 1": "ce",
    "`n` > 1": "cde",
    "upper(kind) = 'RED'": "ace",
    "length(key) = 1": "abcde",
    "CAST(n AS string) = '3'": "d",
    "key <> 'it''s -- no /* comment */ ; ('": "abcde",
    "true": "abcde",
    "false": "",
    "n\n>=\t3": "de",
    "modality = 'image'": "abcde",
}
KINDS = ["red", "blue", "red", None, "red"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    space = Space("fake", fake_specs(), runtime=Runtime("cpu", batch_size=4, workers=1))
    with Index.create(tmp_path_factory.mktemp("conditions") / "index", space) as index:
        fill(index)
        yield index


def fill(index):
    vectors = np.eye(8, dtype=np.float32)[:5]
    given = Embeddings(vectors, space=index.card.id, modality="image", keys="abcde")
    said = [{"n": number} | ({"kind": kind} if kind else {}) for number, kind in enumerate(KINDS)]
    index.add_embeddings(given, metadata=said)


def uses(index):
    """Every way to say a condition, each giving the keys that it leaves."""
    query = Embeddings(np.eye(8, dtype=np.float32)[:1], space=index.card.id, modality="text")
    many = Embeddings(np.eye(8, dtype=np.float32), space=index.card.id, modality="text")

    def found(hits):
        return "".join(sorted(hit.key for hit in hits[0]))

    return {
        "rows": lambda where: "".join(index.rows(where).embeddings.keys),
        "search": lambda where: found(index.search_embeddings(query, 5, where=where)),
        "search of many": lambda where: found(index.search_embeddings(many, 5, where=where)),
        "search among": lambda where: found(index.search_embeddings(query, 5, where=where, among="image")),
        "centred search": lambda where: found(index.search_embeddings(query, 5, where=where, centred=True)),
    }


@pytest.mark.parametrize("where", MEANT)
def test_a_condition_leaves_the_rows_that_it_says_in_every_use(rows, where):
    for use, ask in uses(rows).items():
        assert ask(where) == MEANT[where], use


@pytest.mark.parametrize("where", REFUSED.values(), ids=REFUSED)
def test_what_is_no_whole_condition_is_refused_in_every_use_and_changes_nothing(rows, where):
    for ask in (*uses(rows).values(), rows.delete):
        with pytest.raises(ValueError, match="where is"):
            ask(where)
    assert len(rows) == 5


def test_a_bracket_that_closes_among_reaches_no_other_modality(rows):
    other = Embeddings(np.eye(8, dtype=np.float32)[:1], space=rows.card.id, modality="text", keys=["z"])
    rows.add_embeddings(other)
    try:
        with pytest.raises(ValueError, match="closes a bracket"):
            rows.search_embeddings(other, where="true) OR (true", among="image")
    finally:
        rows.delete(keys=["z"])


@pytest.mark.parametrize("where", [3, b"true", ["true"], True])
def test_a_condition_is_a_str(rows, where):
    for ask in (*uses(rows).values(), rows.delete):
        with pytest.raises(TypeError, match="make it a str"):
            ask(where)


def test_a_file_name_that_is_not_utf_8_can_be_asked_for(rows):
    assert rows.rows("key = '\udcff'").embeddings.keys == ()


def test_ten_thousand_keys_can_be_named():
    listed = ", ".join(f"'{number}'" for number in range(10_000))
    assert condition(f"key IN ({listed})").endswith("'9999'))")


# Whatever is made of pieces of conditions: sqlite, which parses by itself, says what it means.
PIECES = st.sampled_from(
    [
        *("n", "kind", "key", "1", "2", "3", "'red'", "'blue'", "null", "true", "false", "red", "AN"),
        *("=", "<>", ">=", "<", "+", "-", "%", ",", "(", ")", "AND", "OR", "NOT", "IN", "IS", "LIKE"),
        *(
            ";",
            "--",
            "BETWEEN",
            "ORDER BY",
            "LIMIT",
            "AS",
            "n >= 2",
            "kind = 'red'",
            "n IS NULL",
            "''",
            '"n"',
        ),
    ]
)


def by_sqlite(where):
    """The keys that meet a condition, None where sqlite doesn't take it."""
    base = sqlite3.connect(":memory:")
    base.execute("CREATE TABLE rows (key TEXT, n INTEGER, kind TEXT)")
    base.executemany("INSERT INTO rows VALUES (?, ?, ?)", zip("abcde", range(5), KINDS, strict=True))
    try:
        return "".join(key for (key,) in base.execute(f"SELECT key FROM rows WHERE ({where}) ORDER BY key"))
    except sqlite3.Error:
        return None
    finally:
        base.close()


@settings(max_examples=250, deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=7).map(" ".join))
def test_whatever_is_taken_means_what_another_parser_says(rows, where):
    try:
        found = "".join(rows.rows(where).embeddings.keys)
    except ValueError:
        return
    assert found == by_sqlite(where), where


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(MEANT)), st.integers(0, 30), PIECES)
def test_a_word_put_into_a_condition_never_deletes_what_another_parser_would_not(rows, where, place, piece):
    words = where.split(" ")
    words.insert(place % (len(words) + 1), piece)
    changed = " ".join(words)
    expected = by_sqlite(
        changed.replace("CAST(n AS string)", "CAST(n AS text)").replace("modality = 'image'", "1")
    )
    try:
        found = "".join(rows.rows(changed).embeddings.keys)
    except ValueError:
        return
    assert found == expected, changed
