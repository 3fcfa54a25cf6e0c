"""An index is built of an output as its items would have been added, without encoding them again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mmencode
from mmencode import Embeddings, Index
from mmencode.errors import InputError, SpaceMismatchError, StoreError, UnknownNameError
from mmencode.scale import Job, Output, OutputConflictError, Sizes, build_index, embed, find_duplicates
from mmencode.scale.output import Failure

WORDS = [f"sentence number {number}" for number in range(40)]


@pytest.fixture(scope="module")
def embedded(space, tmp_path_factory):
    """An output of six parts with 39 vectors and 3 failures."""
    folder = tmp_path_factory.mktemp("embedded")
    rows = [{"key": f"k{place}", "text": word} for place, word in enumerate(WORDS)]
    rows[3]["text"] = " "
    lines = [json.dumps(row) for row in rows]
    lines.insert(20, "{broken")
    lines.insert(20, lines[19])  # with a key that a row has
    (folder / "a.jsonl").write_text("\n".join(lines))
    report = embed(str(folder / "a.jsonl"), str(folder / "out"), "text", space=space, sizes=Sizes(bytes=400))
    assert (report.vectors, report.failures) == (39, 3)
    assert report.units > 3
    return folder


@pytest.fixture
def output(embedded, tmp_path):
    return shutil.copytree(embedded / "out", tmp_path / "out")


def test_an_index_has_what_it_would_have_if_the_items_had_been_added(space, output, tmp_path):
    report = build_index(str(output), tmp_path / "built", space=space)
    assert (report.rows, report.stale, report.missing) == (39, (), ())
    with Index.create(tmp_path / "added", space) as added:
        kept = [place for place in range(40) if place != 3]
        added.add("text", [WORDS[place] for place in kept], keys=[f"k{place}" for place in kept])
        expected = added.rows()
        with Index.open(tmp_path / "built", space=space) as built:
            found = built.rows()
            assert found.embeddings.keys == expected.embeddings.keys
            assert found.modalities == expected.modalities
            np.testing.assert_allclose(found.embeddings.vectors, expected.embeddings.vectors, atol=1e-5)
            asked = [WORDS[7], "something else"]
            hits, others = (each.search("text", asked, k=5) for each in (built, added))
            assert [[hit.key for hit in row] for row in hits] == [[hit.key for hit in row] for row in others]
            assert built.add("text", ["later"], keys=["k1"]).replaced == 1


def test_failures_are_listed_unless_their_key_has_a_row(space, output, tmp_path):
    report = build_index(str(output), tmp_path / "built", space=space)
    with Index.open(tmp_path / "built", space=space) as built:
        failures = {each.key: each for each in built.failures()}
    assert report.failures == len(failures) == 2
    assert failures["k3"].modality == "text"
    assert set(failures) == {"k3", next(key for key in failures if key.startswith("a.jsonl#"))}
    assert "isn't JSON" in next(each.reason for key, each in failures.items() if key != "k3")


def test_the_space_is_found_by_its_name_and_its_fingerprint(space, output, tmp_path):
    assert build_index(str(output), tmp_path / "built").rows == 39
    with Index.open(tmp_path / "built") as built:
        assert built.card.fingerprint == space.card.fingerprint


def test_another_space_is_refused(output, tmp_path):
    from mmencode.spaces.space import Space
    from mmencode.testing import fake_specs

    with (
        Space("fake", fake_specs()) as other,
        pytest.raises(SpaceMismatchError, match="has vectors of offline@"),
    ):
        build_index(str(output), tmp_path / "built", space=other)
    assert not (tmp_path / "built").exists()


def test_a_space_that_is_not_installed_must_be_given(space, output, tmp_path):
    card = json.loads((output / "card.json").read_text())
    card["name"] = "elsewhere"
    (output / "card.json").write_text(json.dumps(card))
    renamed = f"elsewhere@{space.id.partition('@')[2]}"
    job = json.loads((output / "job.json").read_text())
    (output / "job.json").write_text(json.dumps({**job, "space": renamed}))
    with pytest.raises(UnknownNameError, match=r"space=space"):
        build_index(str(output), tmp_path / "built")


def test_what_is_no_output_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    for name in ("out", "missing"):
        with pytest.raises(OutputConflictError, match=r"no output of `mmencode embed`"):
            build_index(str(tmp_path / name), tmp_path / "built")


def test_an_unfinished_output_is_refused_unless_asked_for(space, output, tmp_path):
    parts = sorted((output / "vectors").iterdir())
    count = len(Embeddings.load(parts[0]))
    parts[0].unlink()
    with pytest.raises(OutputConflictError, match=rf"unfinished: 1 of {len(parts)} parts are missing"):
        build_index(str(output), tmp_path / "built", space=space)
    assert not (tmp_path / "built").exists()
    report = build_index(str(output), tmp_path / "built", space=space, partial=True)
    assert (report.rows, report.missing) == (39 - count, (parts[0].stem,))


def test_a_unit_that_could_not_be_read_is_named_and_listed(space, tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"text": "one"}')
    (folder / "b.tar").write_bytes(b"x" * 700)
    embed(str(folder), str(tmp_path / "out"), "text", space=space)
    with pytest.raises(OutputConflictError, match="1 of them since their files couldn't be read"):
        build_index(str(tmp_path / "out"), tmp_path / "built", space=space)
    assert build_index(str(tmp_path / "out"), tmp_path / "built", space=space, partial=True).rows == 1
    with Index.open(tmp_path / "built", space=space) as built:
        assert [each.key for each in built.failures()] == [str(folder / "b.tar")]


def test_an_output_that_does_not_say_its_parts_is_refused(space, output, tmp_path):
    (output / "parts.json").unlink()
    with pytest.raises(OutputConflictError, match="doesn't say which parts"):
        build_index(str(output), tmp_path / "built", space=space)
    (output / "parts.json").write_text("[")
    with pytest.raises(StoreError, match="doesn't say which parts"):
        build_index(str(output), tmp_path / "built", space=space)


def test_stale_parts_are_left_out_and_named(space, tmp_path):
    source, out = tmp_path / "a.jsonl", tmp_path / "out"
    source.write_text('{"key": "a", "text": "one"}')
    embed(str(source), str(out), "text", space=space)
    source.write_text('{"key": "a", "text": "another"}')
    embed(str(source), str(out), "text", space=space)
    report = build_index(str(out), tmp_path / "built", space=space)
    assert (report.rows, len(report.stale)) == (1, 1)
    with Index.open(tmp_path / "built", space=space) as built:
        expected = space.encode("text", ["another"]).vectors
        np.testing.assert_allclose(built.rows().embeddings.vectors, expected, atol=1e-5)


def test_keys_of_several_rows_are_named_with_their_parts(space, tmp_path):
    source = tmp_path / "a.jsonl"
    source.write_text("".join(f'{{"key": "{key}", "text": "{key}"}}\n' for key in ("same", "other", "same")))
    embed(str(source), str(tmp_path / "out"), "text", space=space, sizes=Sizes(bytes=1))
    found = find_duplicates(str(tmp_path / "out"))
    assert {key: len(parts) for key, parts in found.items()} == {"same": 2}
    with pytest.raises(OutputConflictError, match=r"1 keys of .* have several rows: 'same' in ") as caught:
        build_index(str(tmp_path / "out"), tmp_path / "built", space=space)
    assert all(name in str(caught.value) for name in found["same"])
    assert not (tmp_path / "built").exists()


def test_a_part_of_another_space_or_none_is_refused(space, output, tmp_path):
    part = sorted((output / "vectors").iterdir())[-1]
    table = pq.read_table(part)
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"space": b"other@1234"}), part)
    with pytest.raises(OutputConflictError, match="other@1234"):
        build_index(str(output), tmp_path / "built", space=space)
    part.write_bytes(b"PAR1 nothing")
    with pytest.raises(StoreError, match="a part of the output can't be read"):
        build_index(str(output), tmp_path / "built", space=space)
    assert not (tmp_path / "built").exists()


def test_vectors_that_are_damaged_end_the_build_without_an_index(space, output, tmp_path):
    part = sorted((output / "vectors").iterdir())[-1]
    table = pq.read_table(part)
    column = pa.FixedSizeListArray.from_arrays(pa.array(np.full(len(table) * 384, 2, np.float32)), 384)
    pq.write_table(table.set_column(2, table.schema.field("vector"), column), part)
    with pytest.raises((ValueError, StoreError), match="length"):
        build_index(str(output), tmp_path / "built", space=space)
    assert os.listdir(tmp_path) == ["out"]


def test_cut_vectors_are_refused(space, output, tmp_path):
    job = json.loads((output / "job.json").read_text())
    (output / "job.json").write_text(json.dumps({**job, "dim": 64}))
    with pytest.raises(InputError, match="cut to 64 numbers"):
        build_index(str(output), tmp_path / "built", space=space)


def test_an_index_that_is_there_stays(space, output, tmp_path):
    with Index.create(tmp_path / "built", space) as index:
        index.add("text", ["kept"])
    with pytest.raises(FileExistsError):
        build_index(str(output), tmp_path / "built", space=space)
    with Index.open(tmp_path / "built", space=space) as index:
        assert index.rows().embeddings.keys == ("kept",)


def test_an_output_of_failures_alone_becomes_an_index_without_rows(space, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"key": "a", "text": ""}')
    embed(str(tmp_path / "a.jsonl"), str(tmp_path / "out"), "text", space=space)
    report = build_index(str(tmp_path / "out"), tmp_path / "built", space=space)
    assert (report.rows, report.failures) == (0, 1)
    with Index.open(tmp_path / "built", space=space) as built:
        assert [each.key for each in built.failures()] == ["a"]
        assert built.add("text", ["a text"], keys=["a"]).added == 1
        assert built.failures() == ()


def write_parts(folder, space, parts, rows):
    """An output of made-up vectors, as a run leaves it."""
    output = Output(str(folder))
    output.claim(Job(space.id, "text"), space.card)
    output.plan([f"{part:032x}" for part in range(parts)])
    towers = space.encode("text", []).towers
    for part in range(parts):
        vectors = np.random.default_rng(part).standard_normal((rows, space.dim)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        keys = [f"{part}-{row}" for row in range(rows)]
        found = Embeddings(vectors, space=space.id, modality="text", keys=keys, towers=towers)
        failures = [Failure(f"bad-{part}", 0, "a.jsonl", "content", "it is bad", "mend it")]
        output.write(f"{part:032x}", found, failures, space.card)
    return folder


KILLED = """
import os, sys
import mmencode.index.building as building
from mmencode.scale import build_index

batches = building._Rows.batches

def end(self, *given):
    for count, batch in enumerate(batches(self, *given)):
        if str(count) == sys.argv[3]:
            os._exit(9)
        yield batch

building._Rows.batches = end
if sys.argv[3] == "failures":
    building._failure_tables = lambda *given: os._exit(9)
build_index(sys.argv[1], sys.argv[2])
"""


@pytest.mark.parametrize("moment", ["0", "2", "failures"])
def test_a_build_that_is_killed_leaves_no_index_and_is_made_again(space, output, tmp_path, moment):
    command = [sys.executable, "-c", KILLED, str(output), str(tmp_path / "built"), moment]
    assert subprocess.run(command, timeout=240, check=False).returncode == 9
    assert not (tmp_path / "built").exists()
    assert build_index(str(output), tmp_path / "built", space=space).rows == 39


def test_the_memory_of_a_build_does_not_grow_with_the_parts(space, tmp_path):
    peaks = []
    for parts in (4, 32):
        folder = write_parts(tmp_path / f"out{parts}", space, parts, 500)
        tracemalloc.start()
        before = pa.total_allocated_bytes()
        held = []
        part_of = Output.load_part

        def load(output, name, held=held, part_of=part_of, before=before):
            held.append(pa.total_allocated_bytes() - before)
            return part_of(output, name)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Output, "load_part", load)
            assert build_index(str(folder), tmp_path / f"built{parts}", space=space).rows == 500 * parts
        peaks.append(max(held) + tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    one = 500 * space.dim * 4
    assert peaks[1] < peaks[0] + 8 * one


def test_the_space_of_mmencode_itself_is_loaded_by_id(space, output):
    assert mmencode.load("default", id=json.loads((output / "job.json").read_text())["space"]).id == space.id
