"""Lance datasets are sources, by fragment, and outputs, which have the rows of all parts once."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from mmencode import Embeddings
from mmencode.errors import InputError, MissingPackageError
from mmencode.scale import Output, Sizes, embed
from mmencode.scale.gathering import Gathering

WORDS = [f"sentence number {number}" for number in range(12)]


@pytest.fixture
def lance():
    return pytest.importorskip("lance", reason="lance: .ci/run hosts installs it")


def write_dataset(lance, place, words, mode="create", **columns):
    table = pa.table({"text": words, **columns})
    return lance.write_dataset(table, str(place), mode=mode, max_rows_per_file=5)


def rows_of(lance, output):
    table = lance.dataset(str(output / "vectors.lance")).to_table()
    return dict(zip(table["key"].to_pylist(), table["vector"].to_pylist(), strict=True)), table


@pytest.mark.hosts
def test_a_dataset_is_embedded_fragment_by_fragment(lance, space, tmp_path):
    write_dataset(lance, tmp_path / "a.lance", WORDS, other=[[1]] * 12)
    report = embed(str(tmp_path / "a.lance"), str(tmp_path / "out"), "text", space=space)
    assert (report.units, report.vectors, report.failures) == (3, 12, 0)
    parts = [Embeddings.load(path) for path in (tmp_path / "out" / "vectors").iterdir()]
    found = {key: vector for part in parts for key, vector in zip(part.keys, part.vectors, strict=True)}
    expected = space.encode("text", WORDS).vectors
    for place in range(12):
        np.testing.assert_allclose(found[f"a.lance#{place // 5}.{place % 5}"], expected[place], atol=1e-5)


@pytest.mark.hosts
def test_rows_that_are_appended_or_deleted_cost_no_other_fragment(lance, space, tmp_path):
    dataset = write_dataset(lance, tmp_path / "a.lance", WORDS, key=[f"k{place}" for place in range(12)])
    embed(str(tmp_path / "a.lance"), str(tmp_path / "out"), "text", space=space)
    dataset.delete("key = 'k1'")
    write_dataset(lance, tmp_path / "a.lance", ["one more"], "append", key=["new"])
    report = embed(str(tmp_path / "a.lance"), str(tmp_path / "out"), "text", space=space, prune=True)
    assert (report.units, report.done, report.vectors, len(report.stale)) == (4, 2, 5, 1)
    keys = [key for _, keys in Output(str(tmp_path / "out")).read_keys() for key in keys]
    assert sorted(keys) == sorted([f"k{place}" for place in range(12) if place != 1] + ["new"])


@pytest.mark.hosts
def test_a_fragment_that_changes_meanwhile_is_no_part(lance, space, tmp_path, monkeypatch):
    dataset = write_dataset(lance, tmp_path / "a.lance", WORDS[:3])
    from mmencode.scale import encoding

    check = encoding.require_unchanged

    def change_and_check(unit):
        dataset.delete("text = 'sentence number 0'")
        check(unit)

    monkeypatch.setattr(encoding, "require_unchanged", change_and_check)
    report = embed(str(tmp_path / "a.lance"), str(tmp_path / "out"), "text", space=space)
    assert "changed while" in report.failed[0].error
    assert Output(str(tmp_path / "out")).names() == set()


@pytest.mark.hosts
@pytest.mark.parametrize(
    ("table", "message"),
    [({"caption": ["a"]}, "no column 'text'"), ({"text": [5]}, "holds int64"), ({"text": []}, "no rows")],
)
def test_a_dataset_without_items_is_refused_before_anything(lance, space, tmp_path, table, message):
    schema = None if any(table.values()) else pa.schema([pa.field("text", pa.string())])
    lance.write_dataset(pa.table(table, schema=schema), str(tmp_path / "a.lance"))
    with pytest.raises(InputError, match=message):
        embed(str(tmp_path / "a.lance"), str(tmp_path / "out"), "text", space=space)
    assert not (tmp_path / "out").exists()


@pytest.mark.hosts
def test_what_is_no_dataset_is_refused(lance, space, tmp_path):
    (tmp_path / "a.lance").mkdir()
    for name in ("a.lance", "missing.lance"):
        with pytest.raises(InputError, match=r"can't be read.*not found"):
            embed(str(tmp_path / name), str(tmp_path / "out"), "text", space=space)


def test_without_pylance_nothing_is_encoded_or_written(space, tmp_path, monkeypatch, write_lines):
    source = write_lines(tmp_path / "a.jsonl", [{"text": "one"}])
    monkeypatch.setitem(sys.modules, "lance", None)
    with pytest.raises(MissingPackageError, match="need pylance"):
        embed(str(source), str(tmp_path / "out"), "text", space=space, to="lance")
    with pytest.raises(MissingPackageError, match="need pylance"):
        embed(str(tmp_path / "a.lance"), str(tmp_path / "out"), "text", space=space)
    assert not (tmp_path / "out").exists()


def test_another_format_is_refused(space, tmp_path):
    with pytest.raises(ValueError, match='make it "parquet" or "lance"'):
        embed(str(tmp_path), str(tmp_path / "out"), "text", space=space, to="csv")


@pytest.mark.hosts
def test_rows_are_gathered_in_one_commit_and_follow_the_parts(lance, space, tmp_path, write_lines):
    rows = [{"key": f"k{place}", "text": word} for place, word in enumerate(WORDS)]
    source, out = write_lines(tmp_path / "a.jsonl", rows), tmp_path / "out"
    asked = {"space": space, "sizes": Sizes(bytes=100), "to": "lance"}
    embed(str(source), str(out), "text", **asked)
    found, table = rows_of(lance, out)
    assert sorted(found) == sorted(row["key"] for row in rows)
    np.testing.assert_allclose(
        [found[row["key"]] for row in rows], space.encode("text", WORDS).vectors, atol=1e-5
    )
    facts = table.schema.metadata
    assert facts[b"space"].decode() == space.id
    version = lance.dataset(str(out / "vectors.lance")).version
    assert version == 2  # one commit that made it, and one with all rows
    embed(str(source), str(out), "text", **asked)
    assert lance.dataset(str(out / "vectors.lance")).version == version
    write_lines(source, rows[:-1])
    embed(str(source), str(out), "text", prune=True, **asked)
    found, table = rows_of(lance, out)
    assert sorted(found) == sorted(row["key"] for row in rows[:-1])
    assert set(table["part"].to_pylist()) == Output(str(out)).names()
    numbers = [each.fragment_id for each in lance.dataset(str(out / "vectors.lance")).get_fragments()]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.hosts
def test_a_part_that_is_tried_again_takes_the_place_of_its_rows(lance, space, tmp_path, write_lines):
    from PIL import Image

    for name in ("a.png", "late.png"):
        Image.new("RGB", (30, 30), "red").save(tmp_path / name)
    (tmp_path / "late.png").rename(tmp_path / "elsewhere.png")
    source = write_lines(
        tmp_path / "a.jsonl", [{"key": name, "image": f"{name}.png"} for name in ("a", "late")]
    )
    asked = {"space": space, "to": "lance"}
    embed(str(source), str(tmp_path / "out"), "image", **asked)
    assert list(rows_of(lance, tmp_path / "out")[0]) == ["a"]
    (tmp_path / "elsewhere.png").rename(tmp_path / "late.png")
    embed(str(source), str(tmp_path / "out"), "image", retry=True, **asked)
    assert rows_of(lance, tmp_path / "out")[1]["key"].to_pylist() == ["a", "late"]
    numbers = [
        each.fragment_id for each in lance.dataset(str(tmp_path / "out" / "vectors.lance")).get_fragments()
    ]
    assert numbers == [1]  # the number of a fragment that is gone isn't given again


@pytest.mark.hosts
def test_runs_that_end_at_once_add_no_key_twice(lance, space, tmp_path, write_lines):
    rows = [{"key": f"k{place}", "text": word} for place, word in enumerate(WORDS)]
    embed(
        str(write_lines(tmp_path / "a.jsonl", rows)),
        str(tmp_path / "out"),
        "text",
        space=space,
        sizes=Sizes(bytes=100),
    )
    together = threading.Barrier(4)
    errors = []

    def gather():
        gathering = Gathering(Output(str(tmp_path / "out")))
        together.wait(60)
        try:
            gathering.gather()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=gather) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert errors == []
    assert Counter(rows_of(lance, tmp_path / "out")[1]["key"].to_pylist()) == Counter(
        row["key"] for row in rows
    )


KILLED = """
import os, sys
import mmencode.scale.gathering as gathering
from mmencode.scale import Output

at = sys.argv[2]
lance = gathering.import_lance()
if at == "written":
    lance.LanceDataset.commit = lambda *given, **named: os._exit(9)
if at == "committed":
    commit = lance.LanceDataset.commit
    lance.LanceDataset.commit = lambda *given, **named: (commit(*given, **named), os._exit(9))
if at == "created":
    lance.fragment.write_fragments = lambda *given, **named: os._exit(9)
gathering.Gathering(Output(sys.argv[1])).gather()
"""


@pytest.mark.hosts
@pytest.mark.parametrize("moment", ["created", "written", "committed"])
def test_a_run_that_is_killed_while_it_gathers_loses_and_doubles_nothing(
    lance, space, tmp_path, write_lines, moment
):
    rows = [{"key": f"k{place}", "text": word} for place, word in enumerate(WORDS)]
    source, out = write_lines(tmp_path / "a.jsonl", rows), tmp_path / "out"
    asked = {"space": space, "sizes": Sizes(bytes=100)}
    embed(str(source), str(out), "text", **asked)
    ended = subprocess.run([sys.executable, "-c", KILLED, str(out), moment], timeout=240, check=False)
    assert ended.returncode == 9
    embed(str(source), str(out), "text", to="lance", **asked)
    assert Counter(rows_of(lance, out)[1]["key"].to_pylist()) == Counter(row["key"] for row in rows)
