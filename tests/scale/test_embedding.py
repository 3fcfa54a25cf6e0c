"""Sources are embedded unit by unit; what is done isn't done again, and nothing is lost, doubled or mixed."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from processes import read_line, started

import mmencode
from mmencode import Embeddings
from mmencode.errors import InputError
from mmencode.scale import Output, OutputConflictError, Sizes, divide, embed, find_duplicates

WORDS = [f"sentence number {number}" for number in range(40)]


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def vectors_of(output):
    """The vector of each key in all parts, read as files that anybody could read."""
    found = {}
    for path in sorted((output / "vectors").iterdir()):
        part = Embeddings.load(path)
        for key, vector in zip(part.keys, part.vectors, strict=True):
            assert key not in found
            found[key] = vector
    return found


def failures_of(output):
    folder = output / "failures"
    lines = [line for path in sorted(folder.iterdir()) for line in path.read_text().splitlines()]
    return [json.loads(line) for line in lines] if folder.is_dir() else []


def photographs(folder, count):
    folder.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 255, (24, 24, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return folder


def test_lines_have_the_vectors_of_one_call(space, tmp_path):
    source = write_lines(
        tmp_path / "a.jsonl", [{"key": f"k{n}", "text": word} for n, word in enumerate(WORDS)]
    )
    report = embed(str(source), str(tmp_path / "out"), "text", space=space, sizes=Sizes(bytes=500))
    assert report.units > 3
    assert (report.vectors, report.failures) == (40, 0)
    found = vectors_of(tmp_path / "out")
    expected = space.encode("text", WORDS).vectors
    np.testing.assert_allclose([found[f"k{n}"] for n in range(40)], expected, atol=1e-5)


def test_files_parquet_csv_and_archives_give_the_same_vectors_as_the_call(space, tmp_path):
    folder = photographs(tmp_path / "photos", 6)
    paths = sorted(folder.iterdir())
    expected = space.encode("image", paths).vectors
    content = [path.read_bytes() for path in paths]
    pq.write_table(pa.table({"image": content}), tmp_path / "a.parquet", row_group_size=2)
    pq.write_table(
        pa.table({"image": [{"bytes": each, "path": None} for each in content]}), tmp_path / "b.parquet"
    )
    with open(tmp_path / "c.csv", "w", newline="") as file:
        csv.writer(file).writerows(
            [["key", "image"], *([path.stem, f"photos/{path.name}"] for path in paths)]
        )
    with tarfile.open(tmp_path / "d.tar", "w") as archive:
        for path in paths:
            archive.add(path, f"shard/{path.name}")
            archive.addfile(tarfile.TarInfo(f"shard/{path.stem}.txt"), io.BytesIO())
    names = {
        "photos": [path.name for path in paths],
        "a.parquet": [f"a.parquet#{number}" for number in range(6)],
        "b.parquet": [f"b.parquet#{number}" for number in range(6)],
        "c.csv": [path.stem for path in paths],
        "d.tar": [f"shard/{path.stem}" for path in paths],
    }
    for name, keys in names.items():
        out = tmp_path / f"out-{name}"
        report = embed(str(tmp_path / name), str(out), "image", space=space)
        assert (name, report.vectors, report.failures) == (name, 6, 0)
        found = vectors_of(out)
        np.testing.assert_allclose([found[key] for key in keys], expected, atol=1e-5)


def test_a_second_run_encodes_nothing_and_a_changed_file_only_its_own_unit(space, tmp_path):
    folder = photographs(tmp_path / "photos", 12)
    asked = {"space": space, "sizes": Sizes(files=2)}
    first = embed(str(folder), str(tmp_path / "out"), "image", **asked)
    again = embed(str(folder), str(tmp_path / "out"), "image", **asked)
    assert (again.done, again.vectors, again.stale) == (first.units, 0, ())
    Image.new("RGB", (30, 30), "red").save(folder / "new.png")
    (folder / "003.png").unlink()
    later = embed(str(folder), str(tmp_path / "out"), "image", **asked)
    assert later.done > 0
    assert 0 < len(later.stale) <= 2
    assert embed(str(folder), str(tmp_path / "out"), "image", prune=True, **asked).pruned
    assert set(vectors_of(tmp_path / "out")) == {path.name for path in folder.iterdir()}


def test_bad_rows_are_failures_and_cost_no_other_row(space, tmp_path):
    lines = [
        json.dumps({"key": "a", "text": "good"}),
        "{broken",
        json.dumps(["no object"]),
        json.dumps({"key": "a", "text": "the same key"}),
        json.dumps({"key": "b", "text": 5}),
        json.dumps({"key": ["c"], "text": "no key"}),
        json.dumps({"key": "d", "text": "   "}),
        json.dumps({"key": "e"}),
        "",
        json.dumps({"key": "f", "text": "good, too"}),
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    report = embed(str(tmp_path / "a.jsonl"), str(tmp_path / "out"), "text", space=space)
    assert (report.vectors, report.failures, report.failed) == (2, 7, ())
    assert set(vectors_of(tmp_path / "out")) == {"a", "f"}
    found = failures_of(tmp_path / "out")
    assert [failure["position"] for failure in found] == [1, 2, 3, 4, 5, 6, 7]
    assert "isn't JSON" in found[0]["message"]
    assert "row 0 of the unit has" in found[2]["message"]
    assert all(failure["source"] and failure["remedy"] for failure in found)


def test_a_unit_of_nothing_but_bad_items_is_done_without_vectors(space, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"no picture")
    report = embed(str(folder), str(tmp_path / "out"), "image", space=space)
    assert (report.vectors, report.failures) == (0, 1)
    assert embed(str(folder), str(tmp_path / "out"), "image", space=space).done == 1
    assert failures_of(tmp_path / "out")[0]["key"] == "a.png"


def test_failures_of_a_unit_that_is_gone_are_stale_as_parts_are(space, tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "b.tar").write_bytes(b"x" * 700)
    assert len(embed(str(folder), str(tmp_path / "out"), "text", space=space).failed) == 1
    (folder / "b.tar").unlink()
    write_lines(folder / "a.jsonl", [{"text": "one"}])
    assert len(embed(str(folder), str(tmp_path / "out"), "text", space=space).stale) == 1
    assert len(failures_of(tmp_path / "out")) == 1
    embed(str(folder), str(tmp_path / "out"), "text", space=space, prune=True)
    assert failures_of(tmp_path / "out") == []


def test_what_may_have_passed_is_tried_again_when_asked(space, tmp_path):
    rows = [{"key": "a", "image": "late.png"}]
    source = write_lines(tmp_path / "a.jsonl", rows)
    assert embed(str(source), str(tmp_path / "out"), "image", space=space).failures == 1
    Image.new("RGB", (30, 30), "red").save(tmp_path / "late.png")
    assert embed(str(source), str(tmp_path / "out"), "image", space=space).done == 1
    assert embed(str(source), str(tmp_path / "out"), "image", space=space, retry=True).vectors == 1
    assert failures_of(tmp_path / "out") == []


def test_a_row_isnt_lost_when_its_part_is_being_written_again_and_that_ends_between_two_files(
    space, tmp_path, monkeypatch
):
    good = photographs(tmp_path / "photos", 1)
    rows = [{"key": "a", "image": str(good / "000.png")}, {"key": "b", "image": "late.png"}]
    source = write_lines(tmp_path / "a.jsonl", rows)
    out = tmp_path / "out"
    embed(str(source), str(out), "image", space=space)
    Image.new("RGB", (30, 30), "red").save(tmp_path / "late.png")

    class Killed(BaseException):
        pass

    def die(self, *given):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("mmencode.scale.storage.Disk.write", die)
        patch.setattr(Output, "claim", lambda *_: None)  # which writes, too
        patch.setattr(Output, "plan", lambda *_: None)
        with pytest.raises(Killed):
            embed(str(source), str(out), "image", space=space, retry=True)
    embed(str(source), str(out), "image", space=space)
    assert set(vectors_of(out)) == {"a", "b"}
    assert failures_of(out) == []


def test_a_part_that_is_tried_again_in_vain_keeps_its_failures(space, tmp_path, monkeypatch):
    source = write_lines(tmp_path / "a.jsonl", [{"key": "a", "image": "late.png"}])
    embed(str(source), str(tmp_path / "out"), "image", space=space)
    before = failures_of(tmp_path / "out")

    def fail(unit):
        raise InputError("it was changed while it was read", source="a.jsonl")

    monkeypatch.setattr("mmencode.scale.encoding.require_unchanged", fail)
    assert len(embed(str(source), str(tmp_path / "out"), "image", space=space, retry=True).failed) == 1
    assert failures_of(tmp_path / "out") == before


def test_without_pyarrow_nothing_is_encoded_or_written(space, tmp_path, monkeypatch):
    source = write_lines(tmp_path / "a.jsonl", [{"text": "one"}])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(mmencode.errors.MissingPackageError, match="need pyarrow"):
        embed(str(source), str(tmp_path / "out"), "text", space=space)
    assert not (tmp_path / "out").exists()


def test_another_job_is_refused_with_what_differs(space, tmp_path):
    source = write_lines(tmp_path / "a.jsonl", [{"text": "one"}])
    embed(str(source), str(tmp_path / "out"), "text", space=space)
    with pytest.raises(OutputConflictError, match="dim is None, not 64"):
        embed(str(source), str(tmp_path / "out"), "text", space=space, dim=64)


def test_an_empty_or_missing_source_is_refused_and_leaves_the_output(space, tmp_path):
    source = write_lines(tmp_path / "a.jsonl", [{"text": "one"}])
    embed(str(source), str(tmp_path / "out"), "text", space=space)
    (tmp_path / "empty").mkdir()
    for place in ("empty", "missing.jsonl", "none/*.jsonl"):
        with pytest.raises(InputError):
            embed(str(tmp_path / place), str(tmp_path / "out"), "text", space=space, prune=True)
    assert len(Output(str(tmp_path / "out")).names()) == 1


def test_damaged_tables_fail_by_themselves(space, tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    write_lines(folder / "a.jsonl", [{"text": "one"}])
    (folder / "b.tar").write_bytes(b"x" * 700)
    (folder / "c.csv").write_bytes(b"text\n\xff\xfe\n")
    report = embed(str(folder), str(tmp_path / "out"), "text", space=space)
    assert report.vectors == 1
    assert {each.unit for each in report.failed} == {"b.tar", "c.csv"}
    assert len([each for each in failures_of(tmp_path / "out") if each["key"] is None]) == 2


def test_a_file_that_changes_meanwhile_is_no_part(space, tmp_path):
    source = write_lines(tmp_path / "a.jsonl", [{"text": word} for word in WORDS])
    units = divide(str(source), "text", Sizes())
    write_lines(source, [{"text": "another"}])
    from mmencode.scale import Job, encode_unit

    job = Job(space.id, "text")
    output = Output(str(tmp_path / "out"))
    assert "changed while" in encode_unit(space, units[0], job, output).error
    assert output.names() == set()


def test_equal_keys_of_two_units_are_found(space, tmp_path):
    source = write_lines(tmp_path / "a.jsonl", [{"key": "same", "text": word} for word in WORDS[:2]])
    embed(str(source), str(tmp_path / "out"), "text", space=space, sizes=Sizes(bytes=1))
    assert [len(parts) for parts in find_duplicates(str(tmp_path / "out")).values()] == [2]


def test_vectors_are_cut_and_know_it(space, tmp_path):
    source = write_lines(tmp_path / "a.jsonl", [{"text": "one"}])
    with pytest.raises(mmencode.errors.WidthError):
        embed(str(source), str(tmp_path / "out"), "text", space=space, dim=64)


def test_lines_are_divided_where_they_end(tmp_path):
    content = b'{"text": "a"}\n\n{"text": "bb\\n"}\r\n{"text": "last"}'
    (tmp_path / "a.jsonl").write_bytes(content)
    for size in range(1, len(content) + 2):
        units = divide(str(tmp_path / "a.jsonl"), "text", Sizes(bytes=size))
        assert units[0].start == 0
        assert units[-1].stop == len(content)
        assert all(one.stop == other.start for one, other in itertools.pairwise(units))
        assert all(content[unit.start - 1 : unit.start] in (b"", b"\n") for unit in units)


KILLED = """
import sys, mmencode
from mmencode.scale import Sizes, embed

def say(report):
    print(report.name, flush=True)

embed(sys.argv[1], sys.argv[2], "text", sizes=Sizes(bytes=300), advance=say)
"""


@pytest.mark.slow
def test_a_run_that_is_killed_at_any_moment_loses_and_doubles_nothing(space, tmp_path):
    rows = [{"key": f"k{n}", "text": f"a sentence of some length, {n}"} for n in range(200)]
    rows[17]["text"] = ""
    source = write_lines(tmp_path / "a.jsonl", rows)
    out = tmp_path / "out"
    for moment in (0, 1, 3, 7):
        command = [sys.executable, "-c", KILLED, str(source), str(out)]
        with started(command, stdout=subprocess.PIPE, env=os.environ) as process:
            for _ in range(moment):
                read_line(process)
            time.sleep(0.01 * moment)
    embed(str(source), str(out), "text", space=space, sizes=Sizes(bytes=300))
    assert set(vectors_of(out)) == {f"k{n}" for n in range(200)} - {"k17"}
    assert [failure["key"] for failure in failures_of(out)] == ["k17"]


def test_an_output_can_move(space, tmp_path):
    source = write_lines(tmp_path / "a.jsonl", [{"text": "one"}])
    embed(str(source), str(tmp_path / "out"), "text", space=space)
    shutil.move(tmp_path / "out", tmp_path / "moved")
    assert embed(str(source), str(tmp_path / "moved"), "text", space=space).done == 1


def test_addresses_of_fsspec_are_read_and_written(space, tmp_path):
    import fsspec

    memory = fsspec.filesystem("memory")
    folder = photographs(tmp_path / "photos", 3)
    for path in folder.iterdir():
        memory.pipe_file(f"/bucket/photos/{path.name}", path.read_bytes())
    report = embed("memory://bucket/photos", "memory://bucket/out", "image", space=space)
    assert (report.vectors, report.failures) == (3, 0)
    assert embed("memory://bucket/photos", "memory://bucket/out", "image", space=space).done == report.units
    names = memory.ls("/bucket/out/vectors", detail=False)
    (tmp_path / "part.parquet").write_bytes(memory.cat_file(names[0]))
    part = Embeddings.load(tmp_path / "part.parquet")
    assert part.space == space.id
    memory.rm("/bucket", recursive=True)


def test_sources_of_a_modality_without_files_must_be_tables(space, tmp_path):
    (tmp_path / "notes.md").write_text("a note")
    with pytest.raises(InputError, match="stands in tables"):
        embed(str(tmp_path / "notes.md"), str(tmp_path / "out"), "text", space=space)
