"""Indexes on object storage: readers see whole commits, and writers that no lock keeps apart lose none."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from joining import First, measured, on_cpu
from objects import connect_environment, make_bucket, serve

import mmencode
from mmencode import EncoderSpec, Index
from mmencode.encoder import identify
from mmencode.errors import BusyError, SpaceMismatchError, StoreError

pytestmark = pytest.mark.hosts
BARE = EncoderSpec(name="bare/clips", modality="clip", target="joining:Clips", dim=8)
FIRST = replace(BARE, name="bare/first", target="joining:First", identity=identify(First()))


@pytest.fixture
def objects(monkeypatch):
    found = serve()
    connect_environment(monkeypatch, found)
    return found


@pytest.fixture
def address(objects):
    return f"s3://{make_bucket()[0]}/photos.index"


@pytest.fixture(scope="module")
def real():
    return mmencode.load("default", device="cpu", dtype="float32")


def vectors_of(space, keys, modality="text"):
    """Vectors of texts that are their keys."""
    found = space.encode(modality, [f"text {key}" for key in keys])
    return mmencode.Embeddings(
        found.vectors, space=found.space, modality=modality, keys=keys, towers=found.towers
    )


def test_an_index_on_object_storage_does_what_one_in_a_folder_does(space, address, tmp_path):
    results = []
    for path in (address, tmp_path / "folder.index"):
        with Index.create(path, space) as index:
            index.add("text", ["one", "two", "three"], metadata=[{"year": year} for year in (1, 2, 3)])
            index.build_full_text("key")
            assert index.add("text", ["two", "four"]).unchanged == 1
            assert index.add("text", ["another"], keys=["one"]).replaced == 1
            assert index.add("text", ["", "five"], on_error="skip").failed[0].key == ""
            assert index.delete("year = 3") == 1
        with Index.open(path, space=space) as index:
            index.compact()
            rows = index.rows()
            hits = index.search("text", ["two", "five"], k=3)
            results.append(
                (
                    rows.embeddings.keys,
                    rows.embeddings.vectors.tolist(),
                    rows.metadata,
                    [[hit.key for hit in row] for row in hits],
                    [[hit.key for hit in row] for row in index.search_text(["four", "three", "five two"])],
                    [(hit.key, hit.text_rank) for hit in index.search_hybrid(["five"])[0]],
                    index.failures(),
                    index.modalities,
                    len(index),
                    index.get(["four"]).embeddings.keys,
                )
            )
            assert index.state().bytes > 0
            assert str(path) in repr(index)
    assert results[0] == results[1]


def test_a_reader_sees_each_commit_and_no_part_of_one(space, address):
    with Index.create(address, space) as writer, Index.open(address, space=space) as reader:
        assert len(reader) == 0
        stop = threading.Event()
        seen, errors = [], []

        def read():
            try:
                while not stop.is_set():
                    seen.append(len(reader.rows().embeddings.keys))
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=read)
        thread.start()
        for commit in range(6):
            writer.add_embeddings(vectors_of(space, [f"{commit}-{row}" for row in range(10)]))
        assert len(reader) == 60
        stop.set()
        thread.join(120)
    assert errors == []
    assert all(count % 10 == 0 for count in seen)


def test_of_two_writers_all_commits_stay_and_no_key_is_doubled(space, address):
    Index.create(address, space).close()
    together = threading.Barrier(3)
    errors = []

    def write(number):
        try:
            with Index.open(address, space=space) as index:
                together.wait(60)
                for round in range(4):
                    keys = ["shared", f"shared-{round}", f"own-{number}-{round}"]
                    index.add_embeddings(vectors_of(space, keys))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
    assert errors == []
    expected = {"shared", *(f"shared-{round}" for round in range(4))}
    expected |= {f"own-{number}-{round}" for number in range(3) for round in range(4)}
    with Index.open(address, space=space) as index:
        found = index.rows().embeddings
        assert sorted(found.keys) == sorted(expected)
        np.testing.assert_allclose(found.vectors, vectors_of(space, list(found.keys)).vectors, atol=1e-6)


def test_a_row_of_another_modality_that_came_in_between_stays(space, address, monkeypatch):
    from mmencode.index.tables import Tables

    with Index.create(address, space) as index, Index.open(address, space=space) as other:
        index.add_embeddings(vectors_of(space, ["first"]))
        look_up = Tables.look_up
        done = []

        def look_up_late(tables, keys):
            found = look_up(tables, keys)
            if not done:
                done.append(True)
                image = mmencode.Embeddings(
                    vectors_of(space, ["x"]).vectors, space=space.id, modality="image", keys=["same"]
                )
                other.add_embeddings(image)
            return found

        monkeypatch.setattr(Tables, "look_up", look_up_late)
        with pytest.raises(ValueError, match="'same' is that of a row of image"):
            index.add_embeddings(vectors_of(space, ["same"]))
        monkeypatch.undo()


KILLED = """
import os, sys
import mmencode
from mmencode.index.writer import Writer

put = Writer.put_rows

def end(self, rows, embeddings):
    if sys.argv[2] == "before":
        os._exit(9)
    put(self, rows, embeddings)
    os._exit(9)

index = mmencode.Index.open(sys.argv[1])
if sys.argv[2] == "within":
    # The process ends once the data are there, and before the commit.
    from lancedb.table import LanceTable
    import threading
    def watch():
        import s3fs
        files = s3fs.S3FileSystem()
        folder = sys.argv[1] + "/rows.lance/data"
        before = len(files.find(folder))
        while len(files.find(folder)) == before:
            files.invalidate_cache()
        os._exit(9)
    threading.Thread(target=watch, daemon=True).start()
    while True:
        index.add("text", ["killed"], keys=["killed"])
        index.delete("true")
else:
    Writer.put_rows = end
    index.add("text", ["killed"], keys=["killed"])
"""


@pytest.mark.parametrize("moment", ["before", "within", "after"])
def test_a_writer_that_is_killed_leaves_a_whole_index_and_no_lock(real, address, moment):
    with Index.create(address, real) as index:
        index.add("text", ["kept"])
        command = [sys.executable, "-c", KILLED, address, moment]
        assert subprocess.run(command, timeout=300, check=False).returncode == 9
        keys = set(index.rows().embeddings.keys)
        assert keys <= {"kept", "killed"}
        assert moment == "within" or "kept" in keys
        assert ("killed" in keys) == (moment == "after") or moment == "within"
        index.add("text", ["later", "kept"])
        assert {"kept", "later"} <= set(index.rows().embeddings.keys)


CREATED = """
import os, sys
import mmencode.index.index as index
from mmencode.testing import fake_specs
from mmencode.spaces.space import Space

index.finish = lambda *given: os._exit(9)
index.Index.create(sys.argv[1], Space("fake", fake_specs()))
"""


def test_a_creation_that_was_killed_is_no_index_and_is_made_again(space, address):
    assert subprocess.run([sys.executable, "-c", CREATED, address], timeout=300, check=False).returncode == 9
    assert not Index.is_index(address)
    with pytest.raises(StoreError, match="there is no index at s3://"):
        Index.open(address, space=space)
    with Index.create(address, space) as index:
        index.add("text", ["one"])
    assert Index.is_index(address)
    with pytest.raises(FileExistsError):
        Index.create(address, space)
    with Index.open(address, space=space) as index:
        assert index.rows().embeddings.keys == ("one",)


def test_of_those_that_create_at_once_one_at_most_succeeds_and_the_index_is_whole(space, address):
    together = threading.Barrier(3)
    made, errors = [], []

    def create():
        together.wait(60)
        try:
            made.append(Index.create(address, space))
        except (FileExistsError, StoreError) as error:
            errors.append(error)

    threads = [threading.Thread(target=create) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
    assert len(made) + len(errors) == 3
    assert len(made) <= 1
    if not Index.is_index(address):
        made.append(Index.create(address, space))
    with Index.open(address, space=space) as index:
        assert index.add("text", ["one"]).added == 1
    for each in made:
        assert len(each) == 1
        each.close()


def test_what_a_late_creation_writes_over_is_put_back(space, address, monkeypatch):
    """LanceDB looks whether a table is there, and then writes it over, whatever has come in between."""
    from mmencode.index import shared

    connect = shared.connect

    class Late:
        def __init__(self, place):
            self._database = connect(place)

        def create_table(self, name, content):
            return self._database.create_table(name, content, mode="overwrite")

        def __getattr__(self, name):
            return getattr(self._database, name)

    with Index.create(address, space) as index:
        index.add("text", ["one", "two"])
        with monkeypatch.context() as patch:
            patch.setattr(shared, "connect", Late)
            opened, looked = shared._open, []

            def look(place, name):
                looked.append(name)
                return None if len(looked) <= 2 else opened(place, name)  # for rows, and for failures

            patch.setattr(shared, "has_shared", lambda place: False)
            patch.setattr(shared, "_open", look)
            with pytest.raises(FileExistsError):
                Index.create(address, space)
        assert index.rows().embeddings.keys == ("one", "two")
        assert index.add("text", ["three"]).added == 1
    with Index.open(address, space=space) as index:
        assert index.rows().embeddings.keys == ("one", "three", "two")


def test_the_space_of_an_index_is_loaded_from_there(real, address):
    with Index.create(address) as index:
        index.add("text", ["a cat"])
    with Index.open(address) as index:
        assert index.space.id == real.id
        assert index.search("text", ["a cat"], k=1)[0][0].key == "a cat"


def test_options_are_given_and_are_no_part_of_messages(space, address, objects, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    options = {
        "aws_access_key_id": "somebody",
        "aws_secret_access_key": "very-secret",
        "aws_endpoint": objects.url,
        "aws_region": "us-east-1",
    }
    with Index.create(address, space, storage_options=options) as index:
        index.add("text", ["one"])
        copy = pickle.loads(pickle.dumps(index))
        assert len(copy) == 1
        copy.close()
        assert "very-secret" not in repr(index) + repr(index.path)
    assert Index.is_index(address, storage_options=options)
    with Index.open(address, space=space, storage_options=options) as index:
        with objects.failing(503, "PUT", "rows.lance"), pytest.raises(StoreError) as caught:
            index.add("text", ["two"])
        assert "very-secret" not in str(caught.value)
        assert index.rows().embeddings.keys == ("one",)
        assert index.add("text", ["two"]).added == 1


def test_options_of_a_folder_are_refused(space, tmp_path):
    with pytest.raises(ValueError, match="storage_options are for an address"):
        Index.create(tmp_path / "a.index", space, storage_options={"a": "b"})


def test_an_address_that_became_a_path_is_refused(space, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match="an address that was made a path"):
        Index.create(Path("s3://bucket/a.index"), space)
    assert list(tmp_path.iterdir()) == []


def test_a_busy_storage_costs_nothing(space, objects, address):
    with Index.create(address, space) as index:
        with objects.failing(503, "PUT", "rows.lance", 1) as fault:
            assert index.add("text", ["one"]).added == 1
        assert fault.seen == 1
        with objects.failing(503, "GET", "rows.lance", 1):
            assert index.rows().embeddings.keys == ("one",)


def test_a_commit_that_is_always_refused_is_one_clear_error(space, objects, address):
    with Index.create(address, space) as index:
        index.add("text", ["one"])
        with (
            objects.failing(412, "PUT", "rows.lance/_versions") as fault,
            pytest.raises(StoreError) as caught,
        ):
            index.add("text", ["two"])
        assert fault.seen
        assert isinstance(caught.value, BusyError) or "can't be written" in str(caught.value)
        assert index.rows().embeddings.keys == ("one",)
        assert index.add("text", ["two"]).added == 1


def test_missing_credentials_and_buckets_are_one_sentence(space, address, monkeypatch):
    with pytest.raises(StoreError, match=r"can't be opened|can't be written"):
        Index.create("s3://no-such-bucket-anywhere/a.index", space)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(StoreError, match=r"(?i)credential"):
        Index.open(address, space=space)


def test_two_encoders_that_join_at_once_never_mix_their_rows(address):
    with on_cpu() as space:
        Index.create(address, space).close()
        first = space.join({"clip": (FIRST, measured("First", space))})
        spaces = [space.join({"clip": (BARE, measured(space=space))}), first]
        refused, start = [], threading.Barrier(2, timeout=60)

        def write(number):
            with Index.open(address, space=spaces[number], device="cpu", dtype="float32") as index:
                start.wait()
                for step in range(3):
                    try:
                        index.add("clip", [[f"{number} {step}", "x"]], keys=[f"{number} {step}"])
                    except SpaceMismatchError:
                        refused.append(number)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(240)
        assert refused in ([0, 0, 0], [1, 1, 1])
        winner = 1 - refused[0]
        with Index.open(address, space=spaces[winner], device="cpu", dtype="float32") as index:
            assert index.card.tower("clip").digest == spaces[winner].tower_card("clip").digest
            assert index.rows().embeddings.keys == tuple(f"{winner} {step}" for step in range(3))
