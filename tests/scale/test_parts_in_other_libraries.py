"""Parts are files that other libraries read, with the whole card of their space in the footer."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from mmencode import Embeddings
from mmencode.card import card_from_dict
from mmencode.scale import embed


@pytest.fixture(scope="module")
def part(space, tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    (folder / "a.jsonl").write_text('{"key": "a", "text": "a cat"}\n{"key": "b", "text": "a dog"}\n')
    embed(str(folder / "a.jsonl"), str(folder / "out"), "text", space=space)
    (found,) = (folder / "out" / "vectors").iterdir()
    return found


@pytest.fixture(scope="module")
def vectors(space):
    return space.encode("text", ["a cat", "a dog"]).vectors


def test_the_footer_has_the_whole_card(space, part):
    facts = pq.read_schema(part).metadata
    card = card_from_dict(json.loads(facts[b"card"]))
    assert (card.id, card.fingerprint) == (space.id, space.card.fingerprint)
    assert card.to_dict() == space.card.to_dict()


def test_embeddings_load_a_part(space, part, vectors):
    found = Embeddings.load(part)
    assert (found.space, found.modality, found.keys) == (space.id, "text", ("a", "b"))
    assert found.towers == space.encode("text", []).towers
    np.testing.assert_allclose(found.vectors, vectors, atol=1e-5)


def test_pandas_reads_a_part(part, vectors):
    frame = pd.read_parquet(part)
    assert frame["key"].tolist() == ["a", "b"]
    assert frame["position"].tolist() == [0, 1]
    np.testing.assert_allclose(np.stack(frame["vector"]), vectors, atol=1e-5)


@pytest.mark.hosts
def test_duckdb_reads_a_part(space, part, vectors):
    duckdb = pytest.importorskip("duckdb", reason="duckdb: .ci/run hosts installs it")
    rows = duckdb.sql(f"SELECT key, position, vector FROM '{part}' ORDER BY key").fetchall()
    assert [row[:2] for row in rows] == [("a", 0), ("b", 1)]
    np.testing.assert_allclose([row[2] for row in rows], vectors, atol=1e-5)
    asked = f"SELECT value FROM parquet_kv_metadata('{part}') WHERE key = 'card'::BLOB"
    ((card,),) = duckdb.sql(asked).fetchall()
    assert card_from_dict(json.loads(card)).id == space.id
