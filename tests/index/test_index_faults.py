"""What an index survives, and what it refuses."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from mmencode import Embeddings, Index, Space
from mmencode.engine.runtime import Runtime
from mmencode.errors import BusyError, IdentityError, SpaceMismatchError, StoreError, WeightsError
from mmencode.index import locking
from mmencode.index.locking import WriteLock
from mmencode.projection import Linear
from mmencode.testing import fake_specs
from mmencode.testing.fakes import FakeText

ADD = """
import sys, numpy as np
from mmencode import Embeddings, Index
from mmencode.errors import StoreError
index = Index.open(sys.argv[1])
def batch(start, count=64):
    rows = np.random.default_rng(start).standard_normal((count, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    keys = [f"{number:06}" for number in range(start, start + count)]
    return Embeddings(rows, space=index.card.id, modality="image", keys=keys)
"""
FULL = """
import resource
added = index.add_embeddings(batch(0)).added
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
try:
    index.add_embeddings(batch(64, 4096))
except StoreError as error:
    print(error)
assert len(index) == added == len(index.search_embeddings(batch(0), 64)[0]), len(index)
index.add_embeddings(batch(64))
assert len(index) == 128
"""
TWO = """
index = Index.open(path)
for start in range(0, 640, 64):
    keys = [f"{number:06}" for number in range(start, start + 64)]
    index.add_embeddings(vectors(*keys, seed=start))
"""


def _python(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there are no limits on files here")
def test_full_disk_is_a_named_error_and_what_was_added_stays_searchable(index):
    child = _python(ADD + FULL, index.path)
    out, err = child.communicate(timeout=300)
    assert child.returncode == 0, err
    assert "the disk is full" in out
    assert "what was added before is there" in out
    assert len(index) == 128


def test_two_processes_that_write_at_once_lose_and_double_nothing(other, index, vectors):
    other.start(TWO, index.path)
    for start in range(0, 640, 64):
        index.add_embeddings(vectors(*(f"{number:06}" for number in range(start, start + 64)), seed=start))
    other.end()
    assert index.rows().embeddings.keys == tuple(f"{number:06}" for number in range(640))


def test_writer_that_waits_too_long_is_told_who_is_busy(index, vectors, monkeypatch):
    monkeypatch.setattr(locking, "WAIT", 0.05)
    with WriteLock(index.path / "lock").hold(), pytest.raises(BusyError, match="another process"):
        index.add_embeddings(vectors("a"))
    assert index.add_embeddings(vectors("a")).added == 1


def test_folder_that_is_there_is_not_made_an_index(index, space, tmp_path):
    with pytest.raises(FileExistsError):
        Index.create(index.path, space)
    with pytest.raises(FileNotFoundError):
        Index.create(tmp_path / "no" / "index", space)


def test_making_that_fails_leaves_nothing(space, tmp_path, monkeypatch):
    monkeypatch.setattr("mmencode.index.index.make_tables", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Index.create(tmp_path / "index", space)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["with space", "100%20", "a#b?c", "日本", "s3:", "it's"])
def test_index_may_be_anywhere_and_be_moved(space, tmp_path, vectors, name):
    (tmp_path / "before").mkdir()
    with Index.create(tmp_path / "before" / "index", space) as index:
        index.add_embeddings(vectors("a"))
    (tmp_path / "before" / "index").rename(tmp_path / name)
    with Index.open(tmp_path / name, space=space) as moved:
        moved.add_embeddings(vectors("b"))
        assert moved.rows().embeddings.keys == ("a", "b")


def test_what_is_no_index_is_refused(tmp_path, space):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "nothing", tmp_path, tmp_path / "file"):
        assert not Index.is_index(path)
        with pytest.raises(StoreError, match="there is no index"):
            Index.open(path)


def _damage_tables(folder):
    for path in (folder / "rows.lance").rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged")


def _damage_vectors(folder):
    for path in (folder / "rows.lance" / "data").iterdir():
        path.write_bytes(path.read_bytes()[:100])


def _other_tables(folder):
    import lancedb

    shutil.rmtree(folder / "rows.lance")
    lancedb.connect(folder).create_table("rows", [{"vector": [0.0, 1.0], "item": "foreign"}])


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (_damage_tables, StoreError),
        (_damage_vectors, StoreError),
        (_other_tables, StoreError),
        (lambda folder: shutil.rmtree(folder / "failures.lance"), StoreError),
        (lambda folder: (folder / "card.json").write_text("{}"), WeightsError),
        (lambda folder: _change_card(folder), IdentityError),
    ],
)
def test_damaged_or_foreign_folder_is_a_named_error(index, space, vectors, damage, error):
    index.add_embeddings(vectors("a"))
    index.close()
    damage(index.path)
    with pytest.raises(error), Index.open(index.path, space=space) as opened:
        opened.search_embeddings(vectors("q"), 1)


def _change_card(folder):
    content = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**content, "name": "other"}))


# Spaces


def test_vectors_of_another_space_are_refused_with_both_ids(index, vectors):
    other = Embeddings(vectors("a").vectors, space="fake@0123", modality="image", keys=["a"])
    for use in (index.add_embeddings, index.search_embeddings):
        with pytest.raises(SpaceMismatchError) as refused:
            use(other)
        assert index.card.id in str(refused.value)
        assert "fake@0123" in str(refused.value)


def test_another_space_is_refused_with_what_differs(index):
    specs = [replace(spec, name=f"my/{spec.modality}") for spec in fake_specs()]
    with (
        Space("mine", specs, runtime=Runtime("cpu")) as other,
        pytest.raises(SpaceMismatchError, match="image: encoder is 'fake/image' in the index") as refused,
    ):
        Index.open(index.path, space=other)
    assert other.id in str(refused.value)
    assert index.card.id in str(refused.value)


def test_space_under_another_name_is_the_same(index, vectors):
    with Space("renamed", fake_specs(), runtime=Runtime("cpu", "float32")) as space:
        with Index.open(index.path, space=space) as opened:
            assert opened.add("text", ["a"]).added == 1
        assert index.search_embeddings(space.encode("text", ["a"]))[0][0].key == "a"


def test_reopening_needs_no_arguments(tmp_path, install):
    install(fakes=fake_specs())
    with Index.create(tmp_path / "index", "fake") as index:
        index.add("text", ["a", "b"])
    with Index.open(tmp_path / "index", device="cpu") as again:
        assert again.search("text", ["a"], 1)[0][0].key == "a"
        assert again.space.name == "fake"


def test_encoder_that_changed_since_is_refused_with_what_differs(tmp_path, install):
    install(fakes=fake_specs())
    with Index.create(tmp_path / "index", "fake") as index:
        index.add("text", ["a"])
    changed = replace(fake_specs()[0], target=f"{__name__}:ChangedText")
    install(fakes=(changed, *fake_specs()[1:]))
    with Index.open(tmp_path / "index") as again:
        for use in (again.search, again.add):
            with pytest.raises(SpaceMismatchError, match="text: preprocessing is 'characters' in the index"):
                use("text", ["b"])


class ChangedText(FakeText):
    preprocessing = "other characters"


def test_index_of_a_composed_space_brings_its_projections_along(tmp_path, install):
    install(fakes=fake_specs())
    turned = Linear(torch.eye(8).flip(0), torch.zeros(8))
    projections = {"text": turned, "image": turned}
    with Space("mine", fake_specs()[:2], projections=projections, runtime=Runtime("cpu")) as mine:
        expected = mine.encode("text", ["a"])
        with Index.create(tmp_path / "index", mine) as index:
            index.add("text", ["a"])
    with Index.open(tmp_path / "index") as again:
        np.testing.assert_allclose(again.space.encode("text", ["a"]).vectors, expected.vectors, atol=1e-3)
        assert again.search("text", ["a"])[0][0].score > 0.999


# kill -9

PLUGIN = """
from dataclasses import replace
import mmencode
from mmencode.testing import fake_specs


@mmencode.hookimpl
def mmencode_encoders():
    from mmencode.index import filling

    filling.SECONDS, filling.CHUNK = 0.03, 4  # so that a kill meets many commits
    image = next(spec for spec in fake_specs("slow") if spec.modality == "image")
    yield replace(image, target="slow_encoder:SlowImage")
"""
ENCODER = """
import time
from pathlib import Path
from mmencode.testing.fakes import FakeImage


class SlowImage(FakeImage):
    def preprocess(self, item):
        Path("started").touch()
        time.sleep(0.02)
        return super().preprocess(item)
"""


@pytest.fixture
def slow(tmp_path, monkeypatch):
    """Start `mmencode index add` on a folder with an encoder that takes its time, for real."""
    site = tmp_path / "site"
    (site / "slow-1.0.dist-info").mkdir(parents=True)
    (site / "slow_plugin.py").write_text(PLUGIN)
    (site / "slow_encoder.py").write_text(ENCODER)
    (site / "slow-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: slow\nVersion: 1.0\n")
    (site / "slow-1.0.dist-info" / "entry_points.txt").write_text("[mmencode]\nslow = slow_plugin\n")
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(150):
        path = photos / f"{number:03}.ppm"
        if number % 10 == 7:
            path.write_bytes(b"bad")
        else:
            pixels = np.random.default_rng(number).integers(0, 256, (4, 8, 3), np.uint8)
            Image.fromarray(pixels).save(path)
    monkeypatch.setenv("PYTHONPATH", f"{site}:{_pythonpath()}")
    monkeypatch.chdir(tmp_path)

    def start(name):
        (tmp_path / "started").unlink(missing_ok=True)
        command = [sys.executable, "-m", "mmencode.cli", "index", "add", name, "photos", "--space", "slow"]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    return start


def _pythonpath():
    return ":".join(path for path in sys.path if path)


def _content(path):
    with Index.open(path) as index:
        rows = index.rows().embeddings
        return rows.keys, rows.vectors, index.failures()


@pytest.mark.slow
def test_index_whose_making_is_killed_ten_times_is_the_same_in_the_end(slow, tmp_path):
    """At random moments, from the start of the process to its last commit; each is resumed to its end."""
    begun = time.monotonic()
    whole = slow("whole")
    _wait(whole, tmp_path / "started")
    starting = time.monotonic() - begun
    assert whole.wait(300) == 0
    encoding = time.monotonic() - begun - starting
    expected = _content(tmp_path / "whole")
    assert (len(expected[0]), len(expected[2])) == (135, 15)
    draw = random.Random(0)
    counts, makings = [], 0
    while len(counts) < 10:
        makings += 1
        path = tmp_path / f"killed{makings}"
        while len(counts) < 10 and _killed(slow(path.name), tmp_path, draw, starting, encoding):
            counts.append(len(_content(path)[0]) if Index.is_index(path) else 0)
        assert slow(path.name).wait(300) == 0
        found = _content(path)
        assert found[0] == expected[0]
        np.testing.assert_array_equal(found[1], expected[1])
        assert found[2] == expected[2]
    assert len({count for count in counts if 0 < count < 135}) >= 2, counts


def _killed(child, folder, draw, starting, encoding):
    """Kill the process at a random moment, one time in four while it starts; False when it ended before."""
    if draw.random() < 0.25:
        time.sleep(draw.uniform(0, starting))
    else:
        _wait(child, folder / "started")
        time.sleep(draw.uniform(0, encoding / 2))
    ended = child.poll() is not None
    child.kill()
    child.wait(60)
    return not ended


def _wait(child, marker):
    while not marker.exists() and child.poll() is None:
        time.sleep(0.005)
