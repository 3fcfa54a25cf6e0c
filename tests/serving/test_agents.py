"""Agents search an index by the official client of the Model Context Protocol, in a process of its own."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys

import numpy as np
import processes
import pytest
import soundfile
from distributions import Site, hook, spec
from PIL import Image
from skimage import data

import mmencode

mcp = pytest.importorskip("mcp")
pytest.importorskip("lancedb")
from anyio.from_thread import start_blocking_portal  # noqa: E402

PICTURES = ("chelsea", "coffee", "rocket")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    top = tmp_path_factory.mktemp("photos")
    for name in PICTURES:
        Image.fromarray(getattr(data, name)()).save(top / f"{name}.jpg")
    soundfile.write(top / "tone.wav", np.sin(np.arange(16000) / 5), 16000)
    return top


@pytest.fixture(scope="module")
def path(photos, tmp_path_factory):
    """An index of three pictures, a recording and a text; the pictures have years."""
    path = tmp_path_factory.mktemp("indexes") / "photos.index"
    years = [{"year": year} for year in (1999, 2005, 2020)]
    with mmencode.load("default") as space, mmencode.Index.create(path, space) as index:
        index.add("image", [photos / f"{name}.jpg" for name in PICTURES], metadata=years)
        index.add("audio", [photos / "tone.wav"])
        index.add("text", ["a cat that looks at you"])
        index.build_full_text("key")
    return path


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """A folder that no agent may read, with a picture."""
    top = tmp_path_factory.mktemp("outside")
    Image.fromarray(data.astronaut()).save(top / "secret.jpg")
    return top


@pytest.fixture(scope="module")
def allowed(tmp_path_factory, outside):
    """A folder that agents may read, with a picture, and a link that leads out of it."""
    top = tmp_path_factory.mktemp("allowed")
    Image.fromarray(data.chelsea()).save(top / "mine.png")
    (top / "link.jpg").symlink_to(outside / "secret.jpg")
    return top


@pytest.fixture(scope="module")
def client(path, allowed):
    """A client, connected to a server in another process; its calls are answered in this thread."""
    given = mcp.StdioServerParameters(
        command=sys.executable,
        args=["-m", "mmencode.cli", "mcp", str(path), "--folder", str(allowed), "--limit", "bytes=2000000"],
        env={"PYTHONPATH": ":".join(entry for entry in sys.path if entry), "HF_HUB_OFFLINE": "1"},
    )
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(
            mcp.Client(mcp.stdio_client(given), read_timeout_seconds=60)
        ) as connected,
    ):
        yield Caller(portal, connected)


class Caller:
    def __init__(self, portal, client):
        self.portal = portal
        self.client = client

    def tools(self):
        return self.portal.call(self.client.list_tools).tools

    def call(self, name, **arguments):
        """The structured result and the pictures of a call that succeeds."""
        answer = self.portal.call(self.client.call_tool, name, arguments)
        assert not answer.is_error, answer.content
        first, *pictures = answer.content
        assert json.loads(first.text) == answer.structured_content
        return answer.structured_content, pictures

    def fail(self, name, **arguments):
        """The words of a call that fails."""
        answer = self.portal.call(self.client.call_tool, name, arguments)
        assert answer.is_error
        return answer.content[0].text


def keys(found):
    return [match["key"].rpartition("/")[2] for match in found["matches"]]


def uri(picture, kind="image/png"):
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "PNG")
    return f"data:{kind};base64,{base64.b64encode(content.getvalue()).decode()}"


def test_tools_say_that_they_only_read_and_have_schemas_for_what_they_give(client):
    tools = {tool.name: tool for tool in client.tools()}
    assert set(tools) == {"describe_index", "search_by_text", "search_by_example", "classify", "show"}
    for tool in tools.values():
        assert tool.annotations.read_only_hint is True
        assert tool.output_schema["type"] == "object"
        assert tool.description.endswith(".") or "\n" in tool.description


def test_index_is_described_with_its_space_columns_and_folders(client, path, allowed):
    found, _ = client.call("describe_index")
    with mmencode.Index.open(path) as index:
        assert found["space"] == index.card.id
        assert found["dim"] == index.card.dim
    assert found["rows"] == {"audio": 1, "image": 3, "text": 1}
    assert found["columns"] == ["year"]
    assert found["full_text"] == ["key"]
    assert found["folders"] == [str(allowed)]


def test_search_by_text_gives_what_the_library_gives(client, path):
    found, pictures = client.call("search_by_text", query="a kitten", k=3, among=["image"])
    assert keys(found)[0] == "chelsea.jpg"
    assert pictures == []
    with mmencode.Index.open(path) as index:
        (hits,) = index.search("text", ["a kitten"], 3, among=["image"])
    assert [match["key"] for match in found["matches"]] == [hit.key for hit in hits]
    assert [match["score"] for match in found["matches"]] == pytest.approx(
        [hit.score for hit in hits], abs=1e-6
    )
    assert [match["metadata"]["year"] for match in found["matches"]] == [hit.metadata["year"] for hit in hits]


def test_hybrid_search_gives_both_ranks_and_plain_search_none(client, path):
    found, _ = client.call(
        "search_by_text", query="a rocket that looks", k=4, hybrid=True, among=["text", "image"]
    )
    with mmencode.Index.open(path) as index:
        (hits,) = index.search_hybrid(["a rocket that looks"], 4, among=["text", "image"])
    names = ("key", "vector_rank", "text_rank", "fused")
    assert [[match[name] for name in names] for match in found["matches"]] == [
        [getattr(hit, name) for name in names] for hit in hits
    ]
    assert {match["text_rank"] for match in found["matches"]} == {None, 1, 2}
    plain, _ = client.call("search_by_text", query="a rocket that looks", k=1)
    assert [plain["matches"][0][name] for name in names[1:]] == [None] * 3
    assert "isn't understood" in client.fail("search_by_text", query="a", hybrid=True, where="smell = 1")


def test_condition_leaves_out_rows(client):
    found, _ = client.call("search_by_text", query="a kitten", where="year > 2000 AND modality = 'image'")
    assert sorted(keys(found)) == ["coffee.jpg", "rocket.jpg"]


def test_previews_are_small_pictures_that_matches_name(client):
    found, pictures = client.call("search_by_text", query="a rocket launch", k=5, previews=True)
    seen = [match for match in found["matches"] if match["preview"] is not None]
    assert [match["modality"] for match in seen] == ["image"] * 3
    assert [match["preview"] for match in seen] == [0, 1, 2]
    for picture in pictures:
        assert max(Image.open(io.BytesIO(base64.b64decode(picture.data))).size) == 256


def test_row_of_the_index_is_an_example_and_no_match_of_its_own(client, photos):
    found, _ = client.call("search_by_example", key=str(photos / "chelsea.jpg"), k=10)
    assert len(found["matches"]) == 4
    assert "chelsea.jpg" not in keys(found)


def test_file_below_an_allowed_folder_and_bytes_are_examples(client, allowed):
    by_file, _ = client.call("search_by_example", file=str(allowed / "mine.png"), modality="image", k=1)
    by_bytes, _ = client.call("search_by_example", data_uri=uri(data.chelsea()), k=1)
    assert keys(by_file) == keys(by_bytes) == ["chelsea.jpg"]


@pytest.mark.parametrize("name", ["secret.jpg", "absent.jpg", "../allowed/link.jpg", "\0"])
def test_other_files_are_refused_alike_whether_they_are_there_or_not(client, outside, allowed, name):
    said = client.fail("search_by_example", file=str(outside / name), modality="image")
    other = client.fail("search_by_example", file=str(allowed / "link.jpg"), modality="image")
    assert said == other
    assert "it is no file below a folder that the owner of this server allows" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"key": "no such key"}, "the index has no row of this key"),
        ({}, "pass exactly one of key, file, data_uri"),
        ({"key": "a", "file": "b"}, "pass exactly one of key, file, data_uri"),
        ({"data_uri": "http://example.org/a.png"}, "it is no data: URI with base64"),
        ({"data_uri": "data:image/png;base64,AAA"}, "its base64 isn't valid"),
        ({"data_uri": "data:image/png;base64,iVBO Rw0K"}, "its base64 isn't valid"),
        ({"data_uri": "data:image/png;base64,AAAA"}, "remedy:"),
        ({"data_uri": "data:image/png;base64," + "A" * 2_700_000}, "it has more than 2000000 bytes"),
        ({"data_uri": "data:smell/rose;base64,AAAA"}, "its modality isn't known here"),
    ],
)
def test_bad_examples_are_errors_in_words(client, arguments, words):
    said = client.fail("search_by_example", **arguments)
    assert words in said
    assert len(said) < 600


def test_condition_that_is_not_understood_and_unknown_modalities_are_errors_in_words(client):
    assert "smell" in client.fail("search_by_text", query="a cat", where="smell = 1")
    assert "smell" in client.fail("search_by_text", query="a cat", among=["smell"])
    assert "less than or equal to 100" in client.fail("search_by_text", query="a cat", k=1000)


def test_items_of_all_kinds_are_classified_and_a_bad_one_has_its_error(client, photos, path):
    items = [
        {"key": str(photos / "rocket.jpg")},
        {"data_uri": "data:image/png;base64,AAAA"},
        {"data_uri": uri(data.coffee())},
        {"text": "a kitten that sleeps"},
    ]
    found, _ = client.call("classify", labels=["cat", "coffee", "rocket"], items=items, k=2)
    rocket, bad, coffee, kitten = found["items"]
    assert [one["labels"][0]["label"] for one in (rocket, coffee, kitten)] == ["rocket", "coffee", "cat"]
    assert [one["item"] for one in found["items"]] == [0, 1, 2, 3]
    assert len(rocket["labels"]) == 2
    assert bad["labels"] == []
    assert "item 1" in bad["error"]
    with mmencode.load("default") as space:
        expected = space.classifier(["cat", "coffee", "rocket"]).classify("image", [photos / "rocket.jpg"])
    assert rocket["labels"][0]["score"] == pytest.approx(float(expected.scores.max()), abs=1e-5)


def test_rows_are_shown_by_their_keys(client, photos):
    wanted = [str(photos / "coffee.jpg"), "a cat that looks at you"]
    found, pictures = client.call("show", keys=wanted)
    assert sorted(row["key"] for row in found["rows"]) == sorted(wanted)
    assert len(pictures) == 1
    assert "no row of this key" in client.fail("show", keys=["/etc/passwd"])


NOISE = """
import os, threading, time
print("noise of an import")
os.write(1, b"noise of C\\n")
def talk():
    while True:
        print("noise of a thread", flush=True)
        os.write(1, b"noise of C in a thread\\n")
        time.sleep(0.01)
threading.Thread(target=talk, daemon=True).start()
"""


def test_nothing_but_messages_reaches_standard_output_whatever_plugins_print(path, tmp_path, monkeypatch):
    site = Site(tmp_path / "site")
    site.add("noisy", NOISE + hook(spec("noisy/text")))
    client = {"protocolVersion": "2025-06-18", "capabilities": {}}
    client["clientInfo"] = {"name": "test", "version": "1"}
    call = {"name": "search_by_text", "arguments": {"query": "a cat"}}
    requests = [
        {"method": "initialize", "id": 1, "params": client},
        {"method": "notifications/initialized"},
        {"method": "tools/call", "id": 2, "params": call},
    ]
    monkeypatch.setenv("PYTHONPATH", ":".join([str(site.folder), *filter(None, sys.path)]))
    with (
        (tmp_path / "said").open("wb") as said,
        processes.started(
            [sys.executable, "-m", "mmencode.cli", "mcp", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
        ) as process,
    ):
        for request in requests:
            process.stdin.write(json.dumps({"jsonrpc": "2.0", **request}).encode() + b"\n")
        process.stdin.flush()
        lines = [processes.read_line(process), processes.read_line(process)]
        process.stdin.close()
        process.wait(120)
        lines += process.stdout.readlines()
    assert process.returncode == 0
    answers = [json.loads(line) for line in lines]
    assert [answer["id"] for answer in answers] == [1, 2]
    assert answers[1]["result"]["structuredContent"]["matches"]
    said = (tmp_path / "said").read_text()
    assert "noise of a thread" in said
    assert "noise of C in a thread" in said


def test_command_needs_the_sdk_and_says_how_to_install_it(tmp_path, path):
    (tmp_path / "mcp").mkdir()
    (tmp_path / "mcp" / "__init__.py").write_text("raise ModuleNotFoundError('no mcp', name='mcp')")
    done = subprocess.run(
        [sys.executable, "-m", "mmencode.cli", "mcp", str(path)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={"PYTHONPATH": ":".join([str(tmp_path), *filter(None, sys.path)]), "PATH": ""},
        timeout=300,
    )
    assert done.returncode == 1
    assert "pip install 'mmencode[mcp]'" in done.stderr
    assert done.stdout == ""
