"""Sources and outputs on object storage: a server on loopback answers as S3 does, and fails when told."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from objects import connect_environment, make_bucket, serve
from PIL import Image

from mmencode import Embeddings, Index
from mmencode.errors import InputError, StoreError
from mmencode.scale import Job, Output, OutputConflictError, Sizes, build_index, divide, embed, encode_unit

pytestmark = pytest.mark.hosts
WORDS = [f"sentence number {number}" for number in range(12)]


@pytest.fixture
def objects(monkeypatch):
    found = serve()
    connect_environment(monkeypatch, found)
    return found


@pytest.fixture
def bucket(objects):
    """The address of an empty bucket, and its files."""
    name, files = make_bucket()
    return f"s3://{name}", files


def lines_of(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.fixture
def captions(bucket):
    """Twelve texts as JSON lines in a bucket."""
    address, files = bucket
    rows = [{"key": f"k{place}", "text": word} for place, word in enumerate(WORDS)]
    files.pipe_file(f"{address}/a.jsonl", lines_of(rows))
    return address, files


def keys_of(output):
    return Counter(key for _, keys in Output(output).read_keys() for key in keys)


ALL = Counter(f"k{place}" for place in range(12))


def test_files_tables_and_archives_are_embedded_from_one_bucket_into_another(space, bucket, tmp_path):
    address, files = bucket
    paths = []
    for number in range(5):
        pixels = np.random.default_rng(number).integers(0, 255, (24, 24, 3), np.uint8)
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(pixels).save(paths[-1])
        files.put_file(str(paths[-1]), f"{address}/photos/{number}.png")
    rows = [{"key": path.name, "image": f"photos/../photos/{path.name}"} for path in paths]
    files.pipe_file(f"{address}/a.jsonl", lines_of(rows))
    table = pa.table({"key": [path.name for path in paths], "image": [path.read_bytes() for path in paths]})
    pq.write_table(table, tmp_path / "a.parquet")
    files.put_file(str(tmp_path / "a.parquet"), f"{address}/a.parquet")
    expected = space.encode("image", paths).vectors
    for source in ("photos", "photos/*.png", "a.jsonl", "a.parquet"):
        out = f"{address}/out-{len(source)}"
        report = embed(f"{address}/{source}", out, "image", space=space)
        assert (source, report.vectors, report.failures, report.failed) == (source, 5, 0, ())
        again = embed(f"{address}/{source}", out, "image", space=space)
        assert (again.done, again.vectors, again.stale) == (report.units, 0, ())
        (name,) = Output(out).names()
        part = Output(out).load_part(name)
        assert (part.space, sorted(part.keys)) == (space.id, sorted(path.name for path in paths))
        places = [int(key.partition(".")[0]) for key in part.keys]
        np.testing.assert_allclose(part.vectors, expected[places], atol=1e-5)


@pytest.mark.slow
def test_the_command_embeds_and_builds_from_s3_to_s3(captions, tmp_path):
    address, _ = captions
    command = [sys.executable, "-m", "mmencode.cli"]
    asked = [f"{address}/a.jsonl", "-m", "text", "--output", f"{address}/out", "--json"]
    found = subprocess.run([*command, "embed", *asked], capture_output=True, timeout=300, check=True)
    assert json.loads(found.stdout)["vectors"] == 12
    assert keys_of(f"{address}/out") == ALL
    asked = ["index", "build", str(tmp_path / "built"), f"{address}/out", "--json"]
    found = subprocess.run([*command, *asked], capture_output=True, timeout=300, check=True)
    assert json.loads(found.stdout)["rows"] == 12


def test_a_changed_object_is_another_part_and_one_that_changes_meanwhile_is_none(space, captions):
    address, files = captions
    job = Job(space.id, "text")
    (unit,) = divide(f"{address}/a.jsonl", "text", Sizes())
    files.pipe_file(f"{address}/a.jsonl", lines_of([{"key": "new", "text": "another"}]))
    output = Output(f"{address}/out")
    assert "changed while" in encode_unit(space, unit, job, output).error
    assert output.names() == set()
    assert embed(f"{address}/a.jsonl", f"{address}/out", "text", space=space).vectors == 1
    assert keys_of(f"{address}/out") == Counter(["new"])


def test_a_storage_that_is_busy_for_a_moment_costs_nothing(space, objects, captions):
    address, _ = captions
    asked = {"space": space, "sizes": Sizes(bytes=100)}
    with (
        objects.failing(503, "GET", "a.jsonl", 1) as read,
        objects.failing(503, "PUT", "vectors/", 1) as written,
    ):
        report = embed(f"{address}/a.jsonl", f"{address}/out", "text", **asked)
    assert (read.seen, written.seen, report.vectors) == (1, 1, 12)
    assert keys_of(f"{address}/out") == ALL


def test_a_storage_that_stays_busy_ends_the_run_and_the_next_goes_on(space, objects, captions):
    address, _ = captions
    asked = {"space": space, "sizes": Sizes(bytes=100)}
    told = r"output can't be written: .*(?i:slow)"
    with objects.failing(503, "PUT", "vectors/"), pytest.raises(StoreError, match=told):
        embed(f"{address}/a.jsonl", f"{address}/out", "text", **asked)
    assert keys_of(f"{address}/out") == Counter()
    assert embed(f"{address}/a.jsonl", f"{address}/out", "text", **asked).vectors == 12
    assert keys_of(f"{address}/out") == ALL


def test_a_source_that_cannot_be_listed_or_read_is_one_sentence(space, objects, captions):
    address, _ = captions
    for source in (
        f"{address}/missing.jsonl",
        "s3://no-such-bucket-anywhere/a.jsonl",
        f"{address}/none/*.jsonl",
    ):
        with pytest.raises(InputError) as caught:
            embed(source, f"{address}/out", "text", space=space)
        assert caught.value.fault == "access"
    with objects.failing(503, "GET", ""), pytest.raises(InputError, match="can't be read"):
        embed(f"{address}/photos", f"{address}/out", "image", space=space)
    assert Output(f"{address}/out").read_job() is None


def test_missing_credentials_are_one_sentence_before_anything(space, captions, monkeypatch, tmp_path):
    import s3fs

    address, _ = captions
    shutil.copy(__file__, tmp_path / "a.txt")
    (tmp_path / "a.jsonl").write_text('{"text": "one"}')
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(InputError, match=r"(?i)credentials"):
        embed(f"{address}/a.jsonl", str(tmp_path / "out"), "text", space=space)
    with pytest.raises(StoreError, match=r"(?i)credentials"):
        embed(str(tmp_path / "a.jsonl"), f"{address}/out", "text", space=space)
    assert not (tmp_path / "out").exists()


def test_a_right_that_is_missing_is_one_sentence(space, objects, captions):
    address, _ = captions
    with objects.failing(403, "PUT", "job.json"), pytest.raises(StoreError, match="output can't be written"):
        embed(f"{address}/a.jsonl", f"{address}/out", "text", space=space)


def test_of_two_jobs_that_claim_an_output_at_once_one_is_refused(space, captions, monkeypatch):
    from mmencode.scale.storage import Remote

    address, _ = captions
    Output(f"{address}/out").claim(Job("other@123", "text"), space.card)
    read = Remote.read
    seen = []

    def read_late(storage, path):
        seen.append(path)
        return None if len(seen) == 1 else read(storage, path)  # as before the other one wrote it

    monkeypatch.setattr(Remote, "read", read_late)
    with pytest.raises(OutputConflictError, match="space is 'other@123'"):
        embed(f"{address}/a.jsonl", f"{address}/out", "text", space=space)
    monkeypatch.undo()


def test_the_answer_412_means_that_another_run_was_sooner(objects, bucket):
    import boto3

    from mmencode.scale.storage import storage_of

    address, _ = bucket
    place, storage = f"{address}/out/job.json", storage_of(address)
    name = address.removeprefix("s3://")

    def be_sooner():
        boto3.client("s3").put_object(Bucket=name, Key="out/job.json", Body=b"another's")

    with objects.failing(412, "PUT", "job.json", 1, before=be_sooner) as fault:
        storage.create(place, b"mine")
    assert fault.seen == 1
    assert storage.read(place) == b"another's"
    storage.remove(place)
    with objects.failing(412, "PUT", "job.json"), pytest.raises(StoreError, match="PreconditionFailed"):
        storage.create(place, b"mine")


def test_objects_whose_names_would_clash_are_told_apart_or_refused(space, bucket):
    address, files = bucket
    content = Path(__file__).read_bytes()
    for name in ("a//b.png", "a/b.png"):
        files.pipe_file(f"{address}/photos/{name}", content)
    report = embed(f"{address}/photos", f"{address}/out", "image", space=space)
    found = {failure.key for failure in Output(f"{address}/out").read_failures()}
    assert (report.failures, found) == (2, {"a//b.png", "a/b.png"})


KILLED = """
import os, sys
from mmencode.scale import Sizes, embed

def end(report):
    if report.vectors and end.left == 0:
        os._exit(9)
    end.left -= 1

end.left = int(sys.argv[3])
embed(sys.argv[1], sys.argv[2], "text", sizes=Sizes(bytes=100), to="lance", advance=end)
"""


@pytest.mark.slow
def test_a_run_that_is_killed_is_ended_by_another_with_each_key_once(space, captions):
    lance = pytest.importorskip("lance", reason="lance: .ci/run hosts installs it")
    address, _ = captions
    for moment in (0, 1):
        command = [sys.executable, "-c", KILLED, f"{address}/a.jsonl", f"{address}/out", str(moment)]
        assert subprocess.run(command, timeout=300, check=False).returncode == 9
    asked = {"space": space, "sizes": Sizes(bytes=100), "to": "lance"}
    report = embed(f"{address}/a.jsonl", f"{address}/out", "text", **asked)
    assert 0 < report.done < report.units
    embed(f"{address}/a.jsonl", f"{address}/out", "text", **asked)
    assert keys_of(f"{address}/out") == ALL
    dataset = lance.dataset(f"{address}/out/vectors.lance", storage_options={"allow_http": "true"})
    assert Counter(dataset.to_table(columns=["key"])["key"].to_pylist()) == ALL
    assert dataset.version == 2


def test_a_lance_dataset_in_a_bucket_is_a_source(space, bucket):
    lance = pytest.importorskip("lance", reason="lance: .ci/run hosts installs it")
    address, _ = bucket
    table = pa.table({"key": [f"k{place}" for place in range(12)], "text": WORDS})
    options = {"allow_http": "true"}
    lance.write_dataset(table, f"{address}/a.lance", max_rows_per_file=5, storage_options=options)
    report = embed(f"{address}/a.lance", f"{address}/out", "text", space=space)
    assert (report.units, report.vectors) == (3, 12)
    assert keys_of(f"{address}/out") == ALL


def test_an_index_is_built_in_a_bucket(space, captions):
    address, _ = captions
    embed(f"{address}/a.jsonl", f"{address}/out", "text", space=space, sizes=Sizes(bytes=100))
    assert build_index(f"{address}/out", f"{address}/built.index", space=space).rows == 12
    with Index.open(f"{address}/built.index", space=space) as index:
        (hits,) = index.search("text", [WORDS[3]], k=1)
        assert hits[0].key == "k3"
    with pytest.raises(FileExistsError):
        build_index(f"{address}/out", f"{address}/built.index", space=space)


def test_parts_of_a_bucket_are_embeddings(space, captions, tmp_path):
    address, files = captions
    embed(f"{address}/a.jsonl", f"{address}/out", "text", space=space)
    (name,) = files.ls(f"{address}/out/vectors")
    files.get_file(name, str(tmp_path / "part.parquet"))
    found = Embeddings.load(tmp_path / "part.parquet")
    assert (found.space, found.keys) == (space.id, tuple(f"k{place}" for place in range(12)))
