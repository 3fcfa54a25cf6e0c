"""A condition means what it says, all of it, or is refused."""

from __future__ import annotations

import re
import sqlite3

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmencode import Embeddings, Index
from mmencode.engine.runtime import Runtime
from mmencode.spaces.space import Space
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
    "many brackets": "(" * 17 + "n >= 2" + ")" * 17,
    "tests that follow each other": "kind IS NULL" + " IS TRUE" * 5000,
    "comparisons that follow each other": "kind IS NULL" + " = true" * 5000,
    "comparisons with brackets": "kind IS NULL" + " = (true)" * 5000,
    "casts in each other": "CAST(" * 40 + "n" + " AS int)" * 40 + " = 1",
    "negations in brackets": "NOT (" * 40 + "n >= 2" + ")" * 40,
    "minuses": "-" + " - " * 200 + "n >= 2",
    "a list of sums": "n IN (" + ", ".join(["1 + 1"] * 40) + ")",
    "words that are joined": "kind || 'x' = 'redx'",
    "a function that joins": "concat(kind, 'x') = 'redx'",
    "a function that makes lists of a word": "array_length(string_to_array(kind, 'e')) = 2",
    "a function that isn't called": "lower = 'red'",
    "a column that is called": "n (2)",
    "a long word in a function": f"coalesce(kind, '{'x' * 5000}') = 'red'",
    "a long word in functions": f"lower(left(kind, length('{'x' * 5000}'))) = 'red'",
    "a long pattern": f"kind LIKE '{'%r' * 5000}'",
    "a long pattern in brackets": f"kind ILIKE ('{'%r' * 5000}')",
    "too many alternatives": " OR ".join(["n = 1"] * 600),
    "a type that is an alias": "n AS int",
    "a column of the index's own": "_hash IS NULL",
    "a number of a row": "_rowid >= 0",
    "a vector": "vector IS NOT NULL",
    "a word of another alphabet": "\u043a\u0435\u0443 = 'a'",
    "a case": "CASE WHEN n = 1 THEN true ELSE true END",
    "a list": "n IN [1, 2]",
    "a cast of another kind": "n::string = '1'",
    "a name of a table": "rows.n = 1",
    "many patterns": " OR ".join(["regexp_like(kind, 'r')"] * 17),
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
    "N >= 2 and KIND = 'red'": "ce",
    "round(sqrt(n * n)) = 3": "d",
    "isnan(CAST(n AS double)) = false": "abcde",
    "regexp_like(kind, '^r.d$')": "ace",
    "coalesce(kind, 'none') = 'none'": "d",
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
    given = Embeddings(vectors, space=index.card.id, modality="image", keys=[*"abcde"])
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


def test_a_condition_leaves_the_rows_that_it_says_in_every_use(rows):
    for use, ask in uses(rows).items():
        assert {where: ask(where) for where in MEANT} == MEANT, use


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


def test_ten_thousand_keys_can_be_named(rows):
    listed = ", ".join(f"'{number}'" for number in range(10_000))
    assert rows.rows(f"key IN ({listed}, 'b')").embeddings.keys == ("b",)


ALLOWED = {
    "brackets": "(" * 16 + "n >= 2" + ")" * 16,
    "negations": "NOT NOT (" * 12 + "n >= 2" + ")" * 12,
    "tests": "(" * 16 + "n >= 2" + " IS TRUE" * 7 + (")" + " IS TRUE" * 7) * 16,
    "casts": "CAST(" * 16 + "n" + " AS int)" * 16 + " >= 2",
    "sums": "n" + " + 0" * 32 + " >= 2",
    "functions": " OR ".join(["lower(upper(kind)) = 'none'"] * 250) + " OR n >= 2",
    "alternatives": " OR ".join(["key = 'z' AND n = 9"] * 250) + " OR n >= 2",
}


@pytest.mark.parametrize("where", ALLOWED.values(), ids=ALLOWED)
def test_the_longest_that_is_taken_is_read_without_harm(rows, where):
    for use, ask in uses(rows).items():
        assert ask(where) == "cde", use


@pytest.mark.parametrize(
    "where", ["1 / n >= 0", "n % (n - 2) = 0", "CAST(key AS int) = 1", "key LIKE 'a%' ESCAPE 'x'"]
)
def test_a_condition_that_fails_on_some_row_is_refused_and_deletes_none(rows, where):
    for ask in (*uses(rows).values(), rows.delete):
        with pytest.raises(ValueError, match=r"where is .*isn't understood"):
            ask(where)
    assert len(rows) == 5


def test_a_refusal_names_what_is_wrong_and_what_there_is(rows):
    with pytest.raises(
        ValueError, match="it names 'AN', at character 8, and the columns are key, modality, n, kind;"
    ):
        rows.delete("n >= 2 AN red")
    with pytest.raises(ValueError, match="it calls 'repeat', at character 1, and may call abs, "):
        rows.delete("repeat('red', 3) = 'red'")


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
    base.execute("PRAGMA case_sensitive_like = ON")
    base.create_function("isnan", 1, lambda number: None if number is None else number != number)
    base.create_function("regexp_like", 2, lambda text, like: text and re.search(like, text) is not None)
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


@settings(max_examples=30, deadline=None)
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


# Conditions with what they mean in Python, where None is SQL's unknown.
def compared(column, sign, value):
    signs = {"=": "__eq__", "<>": "__ne__", "<": "__lt__", ">=": "__ge__"}
    known = f"'{value}'" if isinstance(value, str) else value
    return (
        f"{column} {sign} {known}",
        lambda row: None if row[column] is None else getattr(row[column], signs[sign])(value),
    )


def within(values, *, negated):
    listed = ", ".join(map(str, values))
    return f"n {'NOT ' * negated}IN ({listed})", lambda row: (row["n"] in values) != negated


def null(column, *, negated):
    return f"{column} IS {'NOT ' * negated}NULL", lambda row: (row[column] is None) != negated


def opposite(one):
    return f"NOT ({one[0]})", lambda row: None if one[1](row) is None else not one[1](row)


def joined(one, word, other):
    decisive = word == "OR"

    def meets(row):
        sides = [one[1](row), other[1](row)]
        return decisive if decisive in sides else None if None in sides else not decisive

    return f"({one[0]}) {word} ({other[0]})", meets


SIGNS = st.sampled_from(["=", "<>", "<", ">="])
SIMPLE = st.one_of(
    st.builds(compared, st.just("n"), SIGNS, st.integers(-1, 5)),
    st.builds(compared, st.just("kind"), SIGNS, st.sampled_from(["red", "blue", "green"])),
    st.builds(compared, st.just("key"), SIGNS, st.sampled_from("abcde")),
    st.builds(within, st.lists(st.integers(0, 5), min_size=1, max_size=4), negated=st.booleans()),
    st.builds(null, st.sampled_from(["n", "kind"]), negated=st.booleans()),
)
CONDITIONS = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        inner.map(opposite), st.builds(joined, inner, st.sampled_from(["AND", "OR"]), inner)
    ),
    max_leaves=6,
)
ROWS = [{"key": key, "n": n, "kind": kind} for key, n, kind in zip("abcde", range(5), KINDS, strict=True)]


def deleted(index, where):
    """The keys that a condition deletes, which are added again; None where it is refused."""
    try:
        count = index.delete(where)
    except ValueError:
        assert index.rows().embeddings.keys == tuple("abcde")
        return None
    left = index.rows().embeddings.keys
    assert len(left) == 5 - count
    if count:
        fill(index)
    return "".join(key for key in "abcde" if key not in left)


@settings(max_examples=30, deadline=None)
@given(CONDITIONS)
def test_a_condition_deletes_the_rows_that_it_says_and_no_others(rows, made):
    where, meets = made
    assert deleted(rows, where) == "".join(row["key"] for row in ROWS if meets(row) is True)


@settings(max_examples=50, deadline=None)
@given(CONDITIONS, st.sampled_from(["put in", "left out", "replaced", "behind"]), st.integers(0, 60), PIECES)
def test_a_mistyped_condition_deletes_what_another_parser_says_or_nothing(rows, made, how, place, piece):
    words = made[0].replace("(", " ( ").replace(")", " ) ").split()
    place = len(words) if how == "behind" else place % len(words)
    words[place : place + (how in ("left out", "replaced"))] = [] if how == "left out" else [piece]
    where = " ".join(words)
    found = deleted(rows, where)
    assert found is None or found == by_sqlite(where), where
