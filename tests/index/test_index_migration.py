"""An index moves to another space, and back: what comes across, what is refused, and how it is undone."""

from __future__ import annotations

import os
from dataclasses import replace

import elsewhere
import leaflets
import numpy as np
import pytest
import torch
from PIL import Image

import mmencode
from mmencode import Embeddings, Index, Space
from mmencode.engine.runtime import Runtime
from mmencode.errors import BusyError, SpaceMismatchError, StoreError, UnknownNameError
from mmencode.index import History, migrate, plan_migration
from mmencode.index.editions import Editions, right_to_swap
from mmencode.projection import Linear
from mmencode.testing import fake_multi_specs, fake_specs

RUNTIME = Runtime("cpu", "float32", batch_size=4, workers=2)


@pytest.fixture
def target():
    with Space("elsewhere", elsewhere.SPECS, runtime=RUNTIME) as space:
        yield space


@pytest.fixture
def filled(index, photos):
    """An index of twelve images with metadata, and texts of each kind."""
    files = sorted(path for path in photos.rglob("*.png") if path.name != "broken.png")
    for path in files:
        os.utime(path, (1, 1))
    index.add("image", files, metadata=[{"number": n, "tags": [n, "a"]} for n in range(len(files))])
    index.add("text", ["a cat", "a dog"], metadata=[{"score": 0.5}, {"score": 2.0}])
    index.add("text", ["kept \ud800 text"], keys=["key-1"], keep_text=True, on_error="skip")
    index.add("text", ["a kept text"], keys=["key-2"], keep_text=True)
    index.add("image", [photos / "broken.png"], on_error="skip")
    return index


def content(index):
    """All that an index holds, but for its vectors."""
    rows = index.rows()
    return list(zip(rows.embeddings.keys, rows.modalities, rows.metadata, strict=True)), index.failures()


def vectors(index):
    return index.rows().embeddings.vectors


def test_keys_metadata_texts_and_failures_come_across_with_the_vectors_of_the_other_space(filled, target):
    filled.build_full_text("text")
    before, count = content(filled), len(filled)
    done = migrate(filled.path, target)
    assert (done.encoded, done.mapped, done.left_out) == (count, 0, ())
    with Index.open(filled.path, space=target) as moved:
        assert content(moved) == before
        assert moved.search_text(["kept"])[0][0].key == "key-2"
        assert moved.card.fingerprint == target.card.fingerprint
        rows = moved.rows("modality = 'image'").embeddings
        assert np.allclose(rows.vectors, target.encode("image", rows.keys).vectors, atol=1e-6)
        texts = moved.get(["a cat", "key-2"]).embeddings.vectors
        assert np.allclose(texts, target.encode("text", ["a cat", "a kept text"]).vectors, atol=1e-6)
        assert moved.add("image", rows.keys).unchanged == len(rows)


def test_there_and_back_gives_the_first_vectors_and_finds_the_same(filled, target, space):
    first, held = vectors(filled), content(filled)
    found = filled.search("image", filled.rows("modality = 'image'").embeddings.keys[:3], 5)
    migrate(filled.path, target)
    migrate(filled.path, space)
    with Index.open(filled.path, space=space) as back:
        assert content(back) == held
        assert np.array_equal(vectors(back), first)
        assert back.search("image", back.rows("modality = 'image'").embeddings.keys[:3], 5) == found


def test_index_that_moved_refuses_vectors_of_the_old_space(filled, target, vectors_of_old):
    migrate(filled.path, target)
    with Index.open(filled.path, space=target) as moved:
        with pytest.raises(SpaceMismatchError):
            moved.add_embeddings(vectors_of_old)
        with pytest.raises(SpaceMismatchError):
            moved.search_embeddings(vectors_of_old)


@pytest.fixture
def vectors_of_old(vectors):
    return vectors("a")


def test_reader_goes_on_with_the_old_rows_and_writer_is_told_to_open_again(filled, target, vectors_of_old):
    before = vectors(filled)
    migrate(filled.path, target)
    assert np.array_equal(vectors(filled), before)
    assert filled.search("text", ["a cat"], 1, among="text")[0][0].key == "a cat"
    with pytest.raises(StoreError, match="moved to another space"):
        filled.add_embeddings(vectors_of_old)
    with pytest.raises(StoreError, match="moved to another space"):
        filled.delete("true")


def test_reader_in_another_process_goes_on_with_the_old_rows(filled, target, other):
    opened = "import builtins; builtins.reader = Index.open(path, space=space); reader.rows()"
    other.run(opened, filled.path)
    migrate(filled.path, target)
    other.run(f"assert len(reader.rows().embeddings) == {len(filled)}; reader.close()")
    other.run("assert Index.open(path).card.name == 'elsewhere'", filled.path)


def test_undo_and_redo_swap_the_editions_and_forget_removes_all_but_the_current(filled, target, space):
    before, count = vectors(filled), len(filled)
    migrate(filled.path, target)
    history = History(filled.path)
    assert [edition.standing for edition in history.editions()] == ["earlier", "current"]
    with Index.open(filled.path, space=target) as moved:
        moved.add("text", ["added since"])
    assert history.changed_since()
    assert history.undo().rows == count
    with Index.open(filled.path, space=space) as back:
        assert np.array_equal(vectors(back), before)
    assert history.redo().rows == count + 1
    with Index.open(filled.path, space=target) as moved:
        assert moved.get(["added since"]).modalities == ("text",)
        assert history.forget() > 0
        moved.add("text", ["and again"])
    assert [edition.standing for edition in history.editions()] == ["current"]
    assert Index.is_index(filled.path)
    assert not (filled.path / "rows.lance").exists()
    for change in (history.undo, history.redo):
        with pytest.raises(StoreError, match="no migration"):
            change()
    migrate(filled.path, space)
    assert history.undo().space == target.id


def test_same_space_leaves_nothing_to_do(filled, space):
    done = migrate(filled.path, space)
    assert (done.source, done.encoded) == (done.target, 0)
    assert not plan_migration(filled.path, space).is_needed
    assert not (filled.path / "editions").exists()


def test_index_on_object_storage_is_refused(target):
    for change in (lambda: migrate("s3://bucket/i", target), lambda: History("s3://bucket/i")):
        with pytest.raises(StoreError, match="on object storage"):
            change()


def test_unknown_space_is_named_and_nothing_is_made(filled, install):
    install()
    with pytest.raises(UnknownNameError, match="nowhere"):
        migrate(filled.path, "nowhere")
    assert not (filled.path / "editions").exists()


def test_what_is_gone_changed_or_not_kept_is_listed_before_anything_starts(
    filled, target, photos, vectors, space
):
    (photos / "00.png").unlink()
    Image.new("RGB", (8, 8), "red").save(photos / "01.png")
    filled.add("text", ["whose text isn't kept"], keys=["bare"])
    filled.add("image", [Image.new("RGB", (4, 4))], keys=["picture"])
    filled.add_embeddings(vectors("vector"))
    plan = plan_migration(filled.path, target)
    lost = {os.path.basename(row.key): row.reason for row in plan.lost}
    assert set(lost) == {"00.png", "01.png", "bare", "picture", "vector"}
    assert "isn't there" in lost["00.png"]
    assert "was changed" in lost["01.png"]
    assert "its text isn't kept" in lost["bare"]
    assert "added as a vector" in lost["vector"]
    with pytest.raises(StoreError, match="5 rows can't be brought into elsewhere"):
        migrate(filled.path, target)
    assert History(filled.path).editions()[0].standing == "current"
    before, count = content(filled), len(filled)
    done = migrate(filled.path, target, drop=True)
    assert {row.key for row in done.left_out} == {row.key for row in plan.lost}
    with Index.open(filled.path, space=target) as moved:
        assert len(moved) == count - 5
        told = {os.path.basename(failure.key): failure.reason for failure in moved.failures()}
        assert "left out of a migration: its file was changed" in told["01.png"]
    assert History(filled.path).editions()[1].left_out == 5
    assert History(filled.path).undo().rows == count
    with Index.open(filled.path, space=space) as back:
        assert content(back) == before


def test_modality_that_the_target_lacks_is_listed(filled, photos):
    with Space("elsewhere", [elsewhere.TEXT], runtime=RUNTIME) as texts:
        plan = plan_migration(filled.path, texts)
        assert {row.modality for row in plan.lost} == {"image"}
        assert "image" in plan.lost[0].reason
        done = migrate(filled.path, texts, drop=True)
        assert len(done.left_out) == 12
        with Index.open(filled.path, space=texts) as moved:
            assert moved.modalities == ("text",)


def test_file_that_was_touched_or_moved_back_is_taken_by_its_hash(filled, target, photos):
    os.utime(photos / "02.png", (5, 5))
    assert plan_migration(filled.path, target).lost == ()


def test_vectors_with_files_are_taken_only_when_that_is_said(index, target, photos, space):
    files = [str(path) for path in sorted(photos.glob("0*.png"))]
    index.add_embeddings(space.encode("image", files).with_keys([os.path.basename(name) for name in files]))
    plan = plan_migration(index.path, target, root=photos)
    assert len(plan.unverified) == len(files)
    with pytest.raises(StoreError, match="nothing tells"):
        migrate(index.path, target, root=photos)
    done = migrate(index.path, target, root=photos, unverified=True)
    assert done.encoded == len(files)
    with Index.open(index.path, space=target) as moved:
        assert moved.rows().embeddings.keys == tuple(map(os.path.basename, files))
        assert np.allclose(vectors(moved), target.encode("image", files).vectors, atol=1e-6)


def test_items_may_be_given_by_key_and_others_than_the_rows_are_refused(index, target):
    picture, text = Image.new("RGB", (4, 4), "red"), "a text"
    index.add("image", [picture], keys=["picture"])
    index.add("text", [text, "another"], keys=["one", "two"])
    items = {"picture": picture, "one": text, "two": "wrong"}
    plan = plan_migration(index.path, target, items=items)
    assert [row.key for row in plan.lost] == ["two"]
    done = migrate(index.path, target, items={**items, "two": "another"})
    assert done.encoded == 3
    with Index.open(index.path, space=target) as moved:
        assert np.allclose(
            moved.get(["one", "two"]).embeddings.vectors, target.encode("text", [text, "another"]).vectors
        )


def test_what_is_written_meanwhile_comes_across(filled, target, monkeypatch, vectors):
    from mmencode.index.moving import Moving

    bring, wrote = Moving.bring, []

    def and_write(self):
        bring(self)
        if not wrote:
            wrote.append(True)
            filled.add("text", ["added meanwhile"])
            filled.delete(keys=["a dog"])
            filled.add("text", ["a cat"], metadata=[{"score": 7.0}])

    monkeypatch.setattr(Moving, "bring", and_write)
    migrate(filled.path, target)
    with Index.open(filled.path, space=target) as moved:
        assert content(moved) == content(filled)
        assert moved.get(["a cat"]).metadata == ({"score": 7.0},)


def test_what_others_write_all_the_time_comes_across_once_they_wait(filled, target, monkeypatch):
    from mmencode.index.moving import Moving

    bring, count = Moving.bring, iter(range(10))

    def and_write(self):
        bring(self)
        number = next(count)
        if number < 4:
            filled.add("text", [f"added {number}"])

    monkeypatch.setattr(Moving, "bring", and_write)
    migrate(filled.path, target)
    with Index.open(filled.path, space=target) as moved:
        assert content(moved) == content(filled)


def test_row_that_is_lost_on_the_way_ends_the_run_and_the_next_one_lists_it(
    filled, target, photos, monkeypatch
):
    from mmencode.index.moving import Moving

    encode = Moving._encode

    def and_remove(self, modality):
        (photos / "05.png").unlink(missing_ok=True)
        encode(self, modality)

    monkeypatch.setattr(Moving, "_encode", and_remove)
    with pytest.raises(StoreError, match="could when the migration began"):
        migrate(filled.path, target, drop=True)
    assert not Editions.read(filled.path).current
    plan = plan_migration(filled.path, target)
    assert [os.path.basename(row.key) for row in plan.lost] == ["05.png"]
    assert plan.done == 15 - 1
    assert len(migrate(filled.path, target, drop=True).left_out) == 1


def test_file_that_changes_while_it_is_encoded_is_not_taken(filled, target, photos, monkeypatch):
    stream = Space.stream

    def and_change(self, modality, items, **options):
        for part in stream(self, modality, items, **options):
            if modality == "image":
                Image.new("RGB", (9, 9), "blue").save(photos / "03.png")
            yield part

    monkeypatch.setattr(Space, "stream", and_change)
    with pytest.raises(StoreError, match="changed while it was encoded"):
        migrate(filled.path, target)


def test_second_migration_at_once_is_refused(filled, target):
    with right_to_swap(filled.path):
        for change in (lambda: migrate(filled.path, target), History(filled.path).forget):
            with pytest.raises(BusyError, match="migrating the index"):
                change()


def test_unfinished_migration_is_not_mixed_with_another(filled, target, monkeypatch, space):
    from mmencode.index.moving import Moving

    with monkeypatch.context() as patched:
        patched.setattr(Moving, "bring", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            migrate(filled.path, target)
    with (
        Space("third", fake_specs("third"), runtime=RUNTIME) as third,
        pytest.raises(StoreError, match="isn't finished"),
    ):
        migrate(filled.path, third)
    assert [edition.standing for edition in History(filled.path).editions()] == ["current", "unfinished"]
    assert History(filled.path).cancel() > 0
    assert [edition.standing for edition in History(filled.path).editions()] == ["current"]
    migrate(filled.path, target)


def test_rows_with_many_vectors_keep_their_layout_and_may_become_single_ones(tmp_path, photos, target):
    texts = ["a cat on a mat", "a dog"]
    with (
        Space("many", fake_multi_specs("many"), runtime=RUNTIME) as first,
        Space("more", fake_multi_specs("more"), runtime=RUNTIME) as second,
    ):
        with Index.create(tmp_path / "i", first, precision="float16", pool=2, protected=1) as index:
            index.add("text", texts)
        migrate(tmp_path / "i", second)
        with Index.open(tmp_path / "i", space=second) as moved:
            layout = moved.state().layout
            assert (layout.precision, layout.pool, layout.protected) == ("float16", 2, 1)
            found = moved.rows().embeddings
        with Index.create(tmp_path / "fresh", second, precision="float16", pool=2, protected=1) as fresh:
            fresh.add("text", texts)
            assert np.array_equal(found.vectors, fresh.rows().embeddings.vectors)
            assert found.space == fresh.rows().embeddings.space
        migrate(tmp_path / "i", target)
        with Index.open(tmp_path / "i", space=target) as moved:
            assert isinstance(moved.rows().embeddings, Embeddings)
        migrate(tmp_path / "i", first, pool=3)
        with Index.open(tmp_path / "i", space=first) as moved:
            assert moved.state().layout.pool == 3


def test_items_of_files_that_hold_several_come_across(tmp_path, install):
    other = tuple(leaflets.SPECS)
    moved_specs = tuple(replace(spec, name=f"moved/{spec.modality}", space="moved") for spec in other)
    install(leaves=(leaflets.SPEC, *other))
    top = tmp_path / "leaflets"
    top.mkdir()
    (top / "a.leaves").write_text("red\ngreen\nblue")
    (top / "c.leaf").write_text("white")
    for path in top.iterdir():
        os.utime(path, (1, 1))
    with Space("fake", other, runtime=RUNTIME) as first, Index.create(tmp_path / "i", first) as index:
        index.sync(top)
        before = content(index)
        with Space("moved", moved_specs, runtime=RUNTIME) as second:
            assert migrate(index.path, second).encoded == 4
            with Index.open(index.path, space=second) as moved:
                assert content(moved) == before
                assert moved.sync(top).unchanged == 4


def test_approximate_index_is_built_for_the_new_rows(tmp_path, space, target, monkeypatch):
    from mmencode.index import ann

    monkeypatch.setattr(ann, "FROM_ROWS", 300)
    monkeypatch.setattr("mmencode.index.store.FROM_ROWS", 300)
    with Index.create(tmp_path / "i", space) as index:
        index.add("text", [f"text {number}" for number in range(400)])
        assert index.state().method
    migrate(tmp_path / "i", target)
    with Index.open(tmp_path / "i", space=target) as moved:
        assert moved.state().method
        assert moved.state().covered == 400
        assert moved.search("text", ["text 7"], 1)[0][0].key == "text 7"


def test_migration_that_failed_encoding_lists_the_item_the_next_time(filled, target, monkeypatch):
    def refuse(self, item):
        if item == "a dog":
            raise mmencode.errors.InputError("it barks", source=item)
        return preprocess(self, item)

    preprocess = elsewhere.OtherText.preprocess
    monkeypatch.setattr(elsewhere.OtherText, "preprocess", refuse)
    with pytest.raises(StoreError, match="it barks"):
        migrate(filled.path, target)
    (lost,) = plan_migration(filled.path, target).lost
    assert (lost.key, lost.reason) == ("a dog", "it barks")
    assert [row.key for row in migrate(filled.path, target, drop=True).left_out] == ["a dog"]


def test_sample_says_how_long_it_would_take(filled, target):
    assert plan_migration(filled.path, target).seconds is None
    seconds = plan_migration(filled.path, target, sample=4).seconds
    assert seconds is not None
    assert seconds > 0
    assert not (filled.path / "editions").exists()


@pytest.fixture
def bridged(tmp_path):
    """A space of texts and smells, another of texts, and the bridge out of the first into the second."""
    from test_bridging import CORPUS, Others, Points, Smells, spec

    source = Space("a", [spec(Points, "text", "a"), spec(Smells, "smell", "a")], runtime=RUNTIME)
    target = Space("b", [spec(Others, "text", "b")], runtime=RUNTIME)
    return source, target, mmencode.bridge("ab", source, target, CORPUS, prefer="source")


def test_bridge_takes_rows_across_without_their_items_and_says_so(bridged, tmp_path):
    source, _, bridge = bridged
    items = [str(number) for number in range(20)]
    with Index.create(tmp_path / "i", source) as index:
        index.add("text", items)
        index.add_embeddings(source.encode("smell", items).with_keys([f"smell {item}" for item in items]))
    assert plan_migration(tmp_path / "i", bridge).mapped == {"smell": 20, "text": 20}
    done = migrate(tmp_path / "i", bridge)
    assert (done.encoded, done.mapped, done.left_out) == (0, 40, ())
    with Index.open(tmp_path / "i", space=bridge) as moved:
        found = moved.get(items).embeddings.vectors
        assert np.allclose(found, bridge.encode("text", items).vectors, atol=1e-5)
        smells = moved.get([f"smell {item}" for item in items]).embeddings.vectors
        assert np.allclose(smells, bridge.encode("smell", items).vectors, atol=1e-5)
        assert moved.card.tower("smell").identity.projection == bridge.tower_card("smell").identity.projection
    assert History(tmp_path / "i").editions()[1].mapped == 40


def test_map_that_gives_something_else_than_encoding_is_not_used(bridged, tmp_path, monkeypatch):
    from mmencode.index import surveying

    source, _, bridge = bridged
    with Index.create(tmp_path / "i", source) as index:
        index.add("text", ["1", "2", "3"])
        monkeypatch.setattr(surveying, "PROVEN", 1.1)
        assert plan_migration(tmp_path / "i", bridge).encoded == {"text": 3}


def test_map_of_a_projected_space_is_found_and_gives_what_encoding_gives(bridged, tmp_path):
    source, target, _ = bridged
    turn = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(5)))[0]
    projection = Linear(turn, torch.zeros(16))
    projection.into = "x"
    with Space(
        "projected", list(source.specs.values()), projections={"text": projection}, runtime=RUNTIME
    ) as own:
        from test_bridging import CORPUS

        over = mmencode.bridge("over", own, target, CORPUS, prefer="source")
        with Index.create(tmp_path / "i", own) as index:
            index.add_embeddings(own.encode("text", ["1", "2"]).with_keys(["one", "two"]))
            index.add("text", ["3"])
        plan = plan_migration(tmp_path / "i", over)
        assert plan.mapped == {"text": 3}
        done = migrate(tmp_path / "i", over)
        assert (done.encoded, done.mapped) == (0, 3)
        with Index.open(tmp_path / "i", space=over) as moved:
            found = moved.get(["one", "two", "3"]).embeddings.vectors
            assert np.allclose(found, over.encode("text", ["1", "2", "3"]).vectors, atol=1e-5)
        assert History(tmp_path / "i").editions()[1].mapped == 3
