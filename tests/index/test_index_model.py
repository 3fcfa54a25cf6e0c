"""An index is a dictionary from keys to vectors, whatever is done to it in whatever order."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mmencode import Embeddings, Index
from mmencode.engine.runtime import Runtime
from mmencode.errors import StoreError
from mmencode.spaces.space import Space
from mmencode.testing import fake_specs

pytest.importorskip("lancedb", reason="an index is on LanceDB: pip install 'mmencode[index]'")
KEYS = st.sampled_from(["a", "b's", "\udcff", "\ufdd0dcff", 'c"', "d\n", "", "é", "e", "f", "g", "h"])
NUMBERS = st.sampled_from(["n < 10", "n >= 50", "NOT n = 7", "n BETWEEN 20 AND 60", "n % 2 = 0 OR n > 90"])
MODALITIES = st.sampled_from(["image", "audio"])
SPACE = Space("fake", fake_specs(), runtime=Runtime("cpu", batch_size=4, workers=1))


def _vectors(count, seed):
    rows = np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Rows(RuleBasedStateMachine):
    """Every rule is done to an index and to a dictionary of key to (modality, vector, number)."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.index = Index.create(Path(self.folder.name) / "index", SPACE)
        self.model = {}

    @rule(keys=st.lists(KEYS, unique=True, max_size=8), modality=MODALITIES, seed=st.integers(0, 99))
    def add(self, keys, modality, seed):
        rows = _vectors(len(keys), seed)
        given = Embeddings(rows, space=SPACE.id, modality=modality, keys=keys)
        held = [self.model[key][0] for key in keys if key in self.model]
        if set(held) - {modality}:
            with pytest.raises(ValueError, match="is that of a row of"):
                self.index.add_embeddings(given)
            return
        done = self.index.add_embeddings(given, metadata=[{"n": seed}] * len(keys))
        assert (done.added, done.replaced) == (len(keys), len(held))
        self.model |= {key: (modality, row, seed) for key, row in zip(keys, rows, strict=True)}

    @rule(items=st.lists(st.sampled_from(["one", "two", " ", "three"]), unique=True), shift=st.integers(0, 1))
    def add_texts(self, items, shift):
        keys = [f"text {place + shift}" for place in range(len(items))]
        self.index.add("text", items, keys=keys, on_error="skip")
        for key, item in zip(keys, items, strict=True):
            self.model.pop(key, None)
            if item.strip():
                self.model[key] = ("text", SPACE.encode("text", [item]).vectors[0], None)

    @rule(keys=st.lists(KEYS, max_size=4))
    def delete_keys(self, keys):
        gone = [self.model.pop(key) for key in set(keys) if key in self.model]
        assert self.index.delete(keys=keys) == len(gone)

    @rule(where=NUMBERS, rest=st.sampled_from(["", "", " AN n > 1", ";", ", n > 1", ") OR (true", " -- all"]))
    def delete_where(self, where, rest):
        if not any(number is not None for *_, number in self.model.values()):
            return
        if rest:
            with pytest.raises(ValueError, match="where is"):
                self.index.delete(where + rest)
            return
        meets = where.replace("NOT n = 7", "n != 7").replace("AND", "and").replace("OR", "or")
        meets = meets.replace("n BETWEEN 20 and 60", "20 <= n <= 60").replace("% 2 = 0", "% 2 == 0")
        gone = [
            key
            for key, (*_, number) in self.model.items()
            if number is not None and eval(meets, {"n": number})
        ]
        assert self.index.delete(where) == len(gone)
        for key in gone:
            del self.model[key]

    @rule()
    def compact(self):
        self.index.compact()

    @rule()
    def reopen(self):
        self.index.close()
        self.index = Index.open(self.index.path, space=SPACE)

    @rule(seed=st.integers(0, 99))
    def add_by_another_handle(self, seed):
        row = _vectors(1, seed)
        with Index.open(self.index.path, space=SPACE) as other:
            other.add_embeddings(Embeddings(row, space=SPACE.id, modality="image", keys=["other"]))
        self.model["other"] = ("image", row[0], None)

    @rule(seed=st.integers(0, 99))
    def rebuild_under_the_handle(self, seed):
        old = self.index
        shutil.rmtree(old.path)
        row = _vectors(1, seed)
        self.index = Index.create(old.path, SPACE)
        self.index.add_embeddings(Embeddings(row, space=SPACE.id, modality="image", keys=["new"]))
        self.model = {"new": ("image", row[0], None)}
        for use in (
            lambda: old.add_embeddings(Embeddings(row, space=SPACE.id, modality="image", keys=["old"])),
            lambda: old.search_embeddings(Embeddings(row, space=SPACE.id, modality="image"), 1),
            lambda: old.delete("true"),
            old.rows,
            old.compact,
        ):
            with pytest.raises(StoreError, match="replaced by another"):
                use()
        old.close()

    @precondition(lambda self: self.model)
    @rule(count=st.sampled_from([1, 6]), k=st.integers(1, 5), among=st.none() | MODALITIES)
    def search(self, count, k, among):
        queries = Embeddings(_vectors(count, 7), space=SPACE.id, modality="text")
        for query, hits in zip(
            queries.vectors, self.index.search_embeddings(queries, k, among=among), strict=True
        ):
            scores = {
                key: float(query @ row) for key, (kind, row, _) in self.model.items() if among in (None, kind)
            }
            best = sorted(scores.values(), reverse=True)[:k]
            np.testing.assert_allclose([hit.score for hit in hits], best, atol=1e-5)
            np.testing.assert_allclose([scores[hit.key] for hit in hits], best, atol=1e-5)
            assert len({hit.key for hit in hits}) == len(hits)

    @invariant()
    def rows_are_those_of_the_dictionary(self):
        rows = self.index.rows()
        assert len(self.index) == len(self.model)
        assert set(rows.embeddings.keys) == set(self.model)
        for place, key in enumerate(rows.embeddings.keys):
            modality, vector, number = self.model[key]
            assert (rows.modalities[place], rows.metadata[place].get("n")) == (modality, number)
            np.testing.assert_allclose(rows.embeddings.vectors[place], vector, atol=1e-6)

    def teardown(self):
        self.index.close()
        self.folder.cleanup()


TestRows = Rows.TestCase
TestRows.settings = settings(
    max_examples=8, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
