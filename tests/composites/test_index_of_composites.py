"""An index knows the items of composites by the contents of their parts, and encodes changed ones only."""

from __future__ import annotations

import os

import pytest
from PIL import Image

from mmencode import Index, Space
from mmencode.index.entries import Entry
from mmencode.testing import fake_omni_specs

pytest.importorskip("lancedb")
FUSED, MIXED = "image+text", "interleaved"


@pytest.fixture
def index(tmp_path):
    with Space("omni", fake_omni_specs("omni")) as space, Index.create(tmp_path / "index", space) as index:
        yield index


@pytest.fixture
def photo(tmp_path):
    return draw(tmp_path / "photo.png", "green")


def draw(path, colour):
    Image.new("RGB", (9, 9), colour).save(path)
    return path


def counts(done):
    return done.added, done.unchanged, len(done.failed)


def test_unchanged_items_are_not_encoded_again_and_each_change_of_a_part_is(index, photo, monkeypatch):
    items = [(photo, "in red"), (photo.read_bytes(), None), (None, "a dress")]
    keys = ["a", "b", "c"]
    assert counts(index.add(FUSED, items, keys=keys)) == (3, 0, 0)
    with monkeypatch.context() as patched:
        patched.setattr(type(index.space), "stream", None)
        assert counts(index.add(FUSED, items, keys=keys)) == (0, 3, 0)
        moved = (photo.rename(photo.with_name("moved.png")), "in red")  # the same content elsewhere
        assert counts(index.add(FUSED, [moved], keys=["a"])) == (0, 1, 0)
    other = draw(photo, "blue")
    changed = [(moved[0], "in blue"), (other, None), ("absent", "a dress")]
    for key, item in zip(keys[:2], changed, strict=False):
        assert counts(index.add(FUSED, [item], keys=[key])) == (1, 0, 0)
    expected = index.space.encode(FUSED, [*changed[:2], items[2]]).vectors
    assert abs(index.rows().embeddings.vectors - expected).max() < 1e-6


def test_a_part_that_is_changed_in_its_place_is_encoded_again(index, photo):
    index.add(FUSED, [(photo, "red")], keys=["a"])
    before = os.stat(photo)
    draw(photo, "blue")
    os.utime(photo, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert counts(index.add(FUSED, [(photo, "red")], keys=["a"])) == (1, 0, 0)


def test_an_interleaving_is_known_by_its_parts_in_their_order(index, photo):
    recipe = [("text", "mix"), ("image", photo), ("text", "bake")]
    assert counts(index.add(MIXED, [recipe], keys=["a"])) == (1, 0, 0)
    assert counts(index.add(MIXED, [recipe], keys=["a"])) == (0, 1, 0)
    assert counts(index.add(MIXED, [recipe[::-1]], keys=["a"])) == (1, 0, 0)
    assert counts(index.add(MIXED, [recipe[:1]], keys=["a"])) == (1, 0, 0)


def test_items_whose_content_is_not_known_are_encoded_each_time(index, photo):
    with Image.open(photo) as opened:
        items = [(opened.copy(), "red")]
    for _ in range(2):
        assert counts(index.add(FUSED, items, keys=["a"])) == (1, 0, 0)


def test_hash_tells_parts_apart_wherever_they_stand(photo):
    items = [
        (FUSED, (photo, "a")),
        (FUSED, (photo, None)),
        (FUSED, (None, "a")),
        ("text+image", ("a", photo)),
        ("text+text", ("a", "b")),
        ("text+text", ("ab", "")),
        ("text+text", ("b", "a")),
        (MIXED, [("text", "a"), ("text", "b")]),
        (MIXED, [("text", "a"), ("image", photo)]),
    ]
    found = [Entry("k", modality, item, 0).read(2**20).hash for modality, item in items]
    assert None not in found
    assert len({*found}) == len(items) - 2  # which have equal parts, and other modalities
    assert found[3] == found[8]
    assert found[4] == found[7]


@pytest.mark.parametrize(
    ("modality", "item"),
    [
        (FUSED, "a"),
        (FUSED, ["a", "b"][:1]),
        (FUSED, (None,)),
        (FUSED, (7, "a")),
        (FUSED, ("/no/such.png", "a")),
        ("image+smell", (None, "a rose")),
        (MIXED, []),
        (MIXED, ["text", "a"]),
        (MIXED, [(7, "a")]),
        (MIXED, 7),
    ],
)
def test_what_is_no_item_of_such_parts_has_no_hash(modality, item):
    assert Entry("k", modality, item, 0).read(2**20).hash is None


def test_a_bad_part_is_named_with_its_file_and_tried_again_once_it_changes(index, photo):
    photo.write_bytes(b"nothing")
    items, keys = [(photo, "red"), (None, "blue")], ["a", "b"]
    done = index.add(FUSED, items, keys=keys, on_error="skip")
    assert counts(done) == (1, 0, 1)
    (failure,) = index.failures()
    assert failure.key == "a"
    assert failure.reason.startswith("part 0 (image): ")
    assert str(photo) in failure.reason
    encoded = index.add(FUSED, items, keys=keys, on_error="skip")
    assert (counts(encoded), encoded.failed) == ((0, 1, 1), done.failed)
    draw(photo, "green")
    assert counts(index.add(FUSED, items, keys=keys, on_error="skip")) == (1, 1, 0)
    assert index.failures() == ()
