"""Rows in memory: they find what LanceDB finds, are those of the latest commit, and have a limit."""

from __future__ import annotations

import pickle
import shutil
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from mmencode import Embeddings, Index, Runtime, Space
from mmencode.errors import StoreError
from mmencode.index import resident, snapshot
from mmencode.testing import fake_specs

SPACE = Space("fake", fake_specs(), runtime=Runtime("cpu", batch_size=4, workers=1))
NUMBERS = st.integers(0, 119)
MODALITIES = ["image", "audio"]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Blocks of so few rows that a few dozen make many, and rows in memory from the first query on."""
    monkeypatch.setattr(snapshot, "BLOCK_ROWS", 16)
    monkeypatch.setattr(resident, "FEW", 0)


def _key(number):
    return f"k{number:03}"


def _embeddings(numbers, seed, modality):
    """Vectors of few kinds, so that many scores are equal."""
    rows = np.random.default_rng(seed).integers(-1, 2, (len(numbers), 8)).astype(np.float32)
    rows[:, 0] += 2
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Embeddings(rows, space=SPACE.id, modality=modality, keys=[_key(number) for number in numbers])


class Handles(RuleBasedStateMachine):
    """Two handles change an index; one of them searches in memory, a third one always by LanceDB."""

    @initialize()
    def open(self):
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "index"
        self.handles = [Index.create(path, SPACE), Index.open(path, space=SPACE, memory=0)]
        self.on_disk = Index.open(path, space=SPACE, memory=0)
        self.rows = {}

    @rule(
        handle=st.integers(0, 1),
        numbers=st.lists(NUMBERS, unique=True, max_size=40),
        seed=st.integers(0, 9),
        column=st.sampled_from(["n", "n", "other"]),
    )
    def put(self, handle, numbers, seed, column):
        for parity, modality in enumerate(MODALITIES):
            chosen = [number for number in numbers if number % 2 == parity]
            given = _embeddings(chosen, seed, modality)
            metadata = [{column: number} for number in chosen]
            self.handles[handle].add_embeddings(given, metadata=metadata)
            for number, vector in zip(chosen, given.vectors, strict=True):
                self.rows[_key(number)] = (modality, vector)

    @rule(handle=st.integers(0, 1), numbers=st.lists(NUMBERS, max_size=30))
    def delete(self, handle, numbers):
        self.handles[handle].delete(keys=map(_key, numbers))
        for number in numbers:
            self.rows.pop(_key(number), None)

    @rule(handle=st.integers(0, 1))
    def compact(self, handle):
        self.handles[handle].compact()

    @rule(
        k=st.sampled_from([1, 2, 7, 200]),
        count=st.sampled_from([1, 3, 6]),
        seed=st.integers(0, 3),
        among=st.sampled_from([None, "image", "audio"]),
        bound=st.none() | NUMBERS,
    )
    def search(self, k, count, seed, among, bound):
        where = None if bound is None else f"key >= '{_key(bound)}'"
        queries = _embeddings(range(count), seed, "text")
        found = self.handles[0].search_embeddings(queries, k, where=where, among=among)
        assert found == self.on_disk.search_embeddings(queries, k, where=where, among=among)
        allowed = {
            key: vector
            for key, (modality, vector) in self.rows.items()
            if among in (None, modality) and (bound is None or key >= _key(bound))
        }
        for query, hits in zip(queries.vectors.astype(np.float64), found, strict=True):
            scores = {key: np.float32((query * vector).sum().clip(-1, 1)) for key, vector in allowed.items()}
            best = sorted(scores, key=lambda key: (-scores[key], key))[:k]
            assert [hit.key for hit in hits] == best
            assert [hit.score for hit in hits] == [float(scores[key]) for key in best]
        assert (self.handles[0].state().held > 0) == bool(self.rows)
        assert self.on_disk.state().held == 0

    def teardown(self):
        for index in [*getattr(self, "handles", []), getattr(self, "on_disk", None)]:
            if index is not None:
                index.close()
        self.folder.cleanup()


TestHandles = Handles.TestCase
TestHandles.settings = settings(
    max_examples=15, stateful_step_count=14, deadline=None, suppress_health_check=list(HealthCheck)
)


def _found(index, query, k=50, **options):
    return [hit.key for hit in index.search_embeddings(query, k, **options)[0]]


@pytest.fixture
def hot(index, vectors):
    """An index whose forty rows are in memory."""
    index.add_embeddings(vectors(*map(_key, range(40))))
    _found(index, vectors("q", seed=1))
    assert index.state().held > 0
    return index


def test_what_another_process_commits_is_found_by_the_next_search(other, hot, vectors):
    query = vectors("q", seed=1)
    for code, gone, new in (
        ('index.add_embeddings(vectors("new"))', [], ["new"]),
        ("index.delete(keys=['k001', 'k002'])", ["k001", "k002"], []),
        ("index.compact()", [], []),
        ('index.delete(keys=["k003"]); index.add_embeddings(vectors("last"))', ["k003"], ["last"]),
    ):
        before = _found(hot, query)
        other.run(f"with Index.open(path, space=space) as index: {code}", hot.path)
        after = _found(hot, query)
        assert (set(before) - set(after), set(after) - set(before)) == (set(gone), set(new))
        assert hot.state().held > 0


def test_a_vector_that_another_process_replaced_scores_by_what_it_is_now(other, hot, vectors):
    query = vectors("k007", seed=2)
    other.run('with Index.open(path, space=space) as i: i.add_embeddings(vectors("k007", seed=2))', hot.path)
    best = hot.search_embeddings(query, 1)[0][0]
    assert (best.key, best.score) == ("k007", pytest.approx(1, abs=1e-6))


def test_only_what_is_new_is_read_after_an_addition_or_a_deletion(hot, vectors, monkeypatch):
    read = []
    scan = snapshot._scan

    def counted(search, names, count):
        for batch in scan(search, names, count):
            read.extend([tuple(names)] * batch.num_rows)
            yield batch

    monkeypatch.setattr(snapshot, "_scan", counted)
    hot.add_embeddings(vectors("new a", "new b", "new c"))
    assert len(_found(hot, vectors("q"))) == 43
    assert read == [("key", "modality")] * 3 + [("vector",)] * 3
    read.clear()
    hot.delete(keys=["k005"])
    assert len(_found(hot, vectors("q"))) == 42
    assert read == [("key", "modality")] * 42


def test_vectors_are_read_again_once_a_fragment_is_not_as_it_was_written(hot, vectors):
    """LanceDB may write one column of a fragment anew, which leaves the ids of its rows."""
    table = hot._store.rows
    _, version, _ = hot._store.tables.rows.read_state()
    held = hot._store.resident._snapshot
    assert held.shares_vectors(table, version)
    table.add_columns({"number": "1"})
    assert len(_found(hot, vectors("q"), where="number = 1")) == 40
    _, version, _ = hot._store.tables.rows.read_state()
    assert not held.shares_vectors(table, version)


def test_the_first_few_queries_are_answered_from_disk(hot, space, vectors, monkeypatch):
    monkeypatch.setattr(resident, "FEW", 4)
    with Index.open(hot.path, space=space) as index:
        for held in (False, False, False, False, True, True):
            assert len(_found(index, vectors("q"))) == 40
            assert (index.state().held > 0) is held
    with Index.open(hot.path, space=space) as index:
        index.search_embeddings(vectors(*"abcde"), 3)
        assert index.state().held > 0


def test_no_more_memory_is_taken_than_was_allowed(hot, space, vectors):
    with Index.open(hot.path, space=space) as index:
        found = index.search_embeddings(vectors("q", "r", seed=1), 50)
        taken = index.state().held
    for memory, held in ((taken, taken), (taken - 1, 0), (40 * 8 * 4, 0), (40 * 8 * 4 - 1, 0), (0, 0)):
        with Index.open(hot.path, space=space, memory=memory) as index:
            assert index.search_embeddings(vectors("q", "r", seed=1), 50) == found
            state = index.state()
            assert state.held == held
            assert state.memory == (40 * 8 * 4 if memory >= 40 * 8 * 4 else 0)


def test_long_metadata_counts_as_memory(hot, space, vectors):
    with Index.open(hot.path, space=space, memory=100_000) as index:
        assert index.search_embeddings(vectors("q"), 1)
        assert index.state().held > 0
        index.add_embeddings(vectors("long"), metadata=[{"said": "x" * 100_000}])
        assert len(_found(index, vectors("q"))) == 41
        assert index.state().held == 0
        index.delete(keys=["long"])
        assert len(_found(index, vectors("q"))) == 40
        assert index.state().held > 0


@pytest.mark.parametrize("memory", [-1, True, 1.5, "512", None])
def test_what_is_no_number_of_bytes_is_refused(index, space, tmp_path, memory):
    with pytest.raises(ValueError, match="memory is"):
        Index.open(index.path, space=space, memory=memory)
    with pytest.raises(ValueError, match="memory is"):
        Index.create(tmp_path / "new", space, memory=memory)
    assert not (tmp_path / "new").exists()


def test_an_index_that_is_sent_to_another_process_keeps_its_limit(tmp_path):
    with Index.create(tmp_path / "index", "default", memory=12_345) as index:
        index.close()
    with Index.open(tmp_path / "index", memory=12_345) as index, pickle.loads(pickle.dumps(index)) as sent:
        assert sent._store.resident.most == 12_345


def test_a_rebuilt_index_is_never_searched_by_the_rows_of_the_old_one(hot, space, vectors):
    shutil.rmtree(hot.path)
    with Index.create(hot.path, space) as new:
        new.add_embeddings(vectors(*map(_key, range(40)), seed=5))
        with pytest.raises(StoreError, match="replaced by another one"):
            _found(hot, vectors("q"))


def test_a_copy_from_a_backup_is_searched_by_the_rows_that_it_has(hot, vectors, tmp_path):
    shutil.copytree(hot.path, tmp_path / "backup")
    hot.add_embeddings(vectors("late"))
    hot.add_embeddings(vectors("k001", seed=9))
    query = vectors("q")
    assert len(_found(hot, query)) == 41
    shutil.rmtree(hot.path)
    shutil.copytree(tmp_path / "backup", hot.path)
    found = hot.search_embeddings(query, 50)[0]
    assert len(found) == 40
    assert hot.add_embeddings(vectors("k001", seed=9)).replaced == 1  # the same ids as before, another row
    assert hot.search_embeddings(vectors("q", seed=9), 1)[0][0].key == "k001"


def test_a_condition_that_fails_on_a_row_is_a_value_error(hot, vectors):
    hot.add_embeddings(vectors("zero"), metadata=[{"n": 0}])
    _found(hot, vectors("q"))
    with pytest.raises(ValueError, match="which isn't understood"):
        _found(hot, vectors("q"), where="1 / n > 0")
    assert _found(hot, vectors("q"), where="n = 0") == ["zero"]


def test_threads_that_search_while_rows_come_and_go_find_rows_of_one_commit(hot, vectors):
    """Rows come and go in pairs, so that a search which mixed two commits would find half a pair."""
    wrong, done = [], threading.Event()
    query = vectors("q")

    def search():
        while not done.is_set():
            found = {key for key in _found(hot, query, k=100) if key.startswith("pair")}
            halves = {key[:-1] for key in found if (key[:-1] + "a" in found) != (key[:-1] + "b" in found)}
            if halves:
                wrong.append(halves)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(15):
            keys = [f"pair{number}a", f"pair{number}b"]
            pair = query.vectors[[0, 0]]  # the nearest of all rows
            hot.add_embeddings(Embeddings(pair, space=query.space, modality="image", keys=keys))
            if number % 3 == 2:
                hot.delete(f"key >= 'pair{number - 1}' AND key < 'pair{number - 1}z'")
            if number == 7:
                hot.compact()
    finally:
        done.set()
        for thread in threads:
            thread.join(60)
    assert not wrong
    assert len(_found(hot, query, k=100)) == 40 + 2 * 15 - 2 * 5
