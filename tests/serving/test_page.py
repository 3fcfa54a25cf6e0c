"""The page's routes give a client the rows of the index, by the server's keys and limits, no more."""

from __future__ import annotations

import base64
import subprocess
import sys
import time

import httpx
import numpy as np
import processes
import pytest
from page_media import jpeg, make_index, wav
from sent_items import uri
from servers import run_server
from typer.testing import CliRunner

import mmencode
from mmencode.cli import app
from mmencode.errors import SpaceMismatchError
from mmencode.inputs import Limits
from mmencode.serving.page_files import read_page
from mmencode.serving.page_routes import Page
from mmencode.serving.parts import cut_item
from mmencode.serving.shelf import Shelf
from mmencode.testing import fake_multi_specs

pytest.importorskip("lancedb")
KEY = "a-key-that-is-long-enough"


@pytest.fixture(scope="module")
def path(tmp_path_factory, default_space):
    return make_index(tmp_path_factory.mktemp("page"), default_space)


@pytest.fixture(scope="module")
def index(path, default_space):
    with mmencode.Index.open(path, space=default_space) as found:
        yield found


@pytest.fixture(scope="module")
def client(default_space, index):
    with run_server(default_space, page=Page(Shelf(index, Limits()))) as served, served.client() as http:
        yield http


def ask(client, name, status=200, **content):
    answer = client.post(f"/ui/{name}", json=content)
    assert answer.status_code == status, answer.text
    return answer.json() if status == 200 else answer.json()["error"]["message"]


def sent(vector):
    rows = np.atleast_2d(np.float32(vector))
    return {
        "numbers": base64.b64encode(rows.tobytes()).decode(),
        "rows": rows.shape[0],
        "width": rows.shape[1],
    }


def read(found):
    return np.frombuffer(base64.b64decode(found["numbers"]), np.float32).reshape(
        found["rows"], found["width"]
    )


def test_files_of_the_page_come_with_a_policy_that_lets_nothing_else_in(client):
    for path in read_page():
        answer = client.get(path)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/ui/../page_desk.py").status_code == 404
    assert client.get("/ui/page.py").status_code == 404


def test_files_of_the_page_name_no_other_server():
    for path, file in read_page().items():
        words = file.content.decode().replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in words, path
        assert "https:" not in words, path


def test_server_without_the_page_has_none_of_its_routes(served):
    with served.client() as http:
        assert http.get("/").status_code == 405  # to which a protocol sends items
        assert http.post("/ui/embed", json={}).status_code == 404


def test_item_is_encoded_as_the_library_encodes_it(client, default_space):
    found = read(ask(client, "embed", modality="image", item=uri(jpeg("coffee"), "image/jpeg")))
    assert found == pytest.approx(default_space.encode("image", [jpeg("coffee")]).vectors, abs=1e-5)
    words = read(ask(client, "embed", modality="text", item="a cat"))
    assert words == pytest.approx(default_space.encode("text", ["a cat"], role="query").vectors, abs=1e-5)


def test_row_has_the_vector_that_the_index_has(client, index):
    key = index.rows().embeddings.keys[0]
    assert np.array_equal(read(ask(client, "embed", key=key)), index.rows().embeddings.vectors[:1])


def test_previews_are_of_rows_alone(client, path, tmp_path):
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(jpeg("chelsea"))
    for key in (str(secret), "/etc/passwd", "", "' OR '1' = '1", f"{path}/card.json"):
        assert "the index has no row of this key" in ask(client, "previews", 422, keys=[key])
        assert "the index has no row of this key" in ask(client, "embed", 422, key=key) if key else True
        target = {"key": "a cat that looks at you"}
        if key:
            assert "no row of this key" in ask(client, "parts", 422, key=key, target=target)


def test_paths_are_no_items(client, path):
    for item in (str(path), "file:///etc/passwd", "http://127.0.0.1/x.png"):
        said = ask(client, "embed", 422, modality="image", item=item)
        assert item not in said
        said = ask(
            client, "parts", 422, modality="image", item=item, target={"key": "a cat that looks at you"}
        )
        assert item not in said


@pytest.mark.parametrize(
    "vector",
    [
        sent(np.ones(3)),
        sent(np.ones(384)),
        sent(np.full(384, np.nan)),
        {**sent(np.eye(384)[0]), "rows": 2},
        {**sent(np.eye(384)[0]), "numbers": "??"},
        {**sent(np.eye(384)[0]), "rows": 10**9},
    ],
)
def test_vectors_of_no_such_space_are_refused(client, vector):
    assert "isn't one of this space" in ask(client, "neighbours", 422, vector=vector, modality="text")


def test_search_has_its_limits(client):
    vector = sent(np.eye(384)[0])
    assert ask(client, "neighbours", vector=vector, modality="text", k=100)["searched"] == 7
    assert "100" in ask(client, "neighbours", 422, vector=vector, modality="text", k=101)
    assert ask(client, "neighbours", 400, vector=vector, modality="smell")
    assert ask(client, "neighbours", 400, vector=vector, modality="text", among=["smell"])
    assert ask(client, "neighbours", 422)
    assert "100" in ask(client, "previews", 422, keys=["a"] * 101)


def test_labels_that_cannot_be_told_apart_are_an_error_without_their_words(client):
    items = [{"modality": "text", "vector": sent(np.eye(384)[0])}]
    said = ask(client, "labels", 422, labels=["zebra", "zebra"], items=items)
    assert "zebra" not in said
    assert len(ask(client, "labels", labels=["cat", "dog"], items=items)["items"][0]["labels"]) == 2


def test_parts_lose_what_the_library_says(client, default_space):
    target = default_space.encode("text", ["a kitten"], role="query")
    found = ask(
        client,
        "parts",
        modality="text",
        item="the old cat",
        target={"modality": "text", "vector": sent(target.vectors)},
    )
    texts = default_space.encode("text", ["the old cat", "old cat", "the cat", "the old "], role="query")
    scores = mmencode.similarity(texts, target)[:, 0]
    assert found["names"] == ["the", "old", "cat"]
    assert found["score"] == pytest.approx(float(scores[0]), abs=1e-5)
    assert found["drops"] == pytest.approx([float(scores[0] - one) for one in scores[1:]], abs=1e-5)


def test_key_is_needed_for_all_but_the_files(default_space, index):
    with run_server(default_space, page=Page(Shelf(index, Limits())), keys=(KEY,)) as served:
        with served.client() as http:
            assert http.get("/").status_code == 200
            assert http.get("/ui/page.js").status_code == 200
            assert http.get("/ui/about").status_code == 401
            for name in ("embed", "neighbours", "previews", "labels", "parts", "map"):
                assert http.post(f"/ui/{name}", json={}).status_code == 401
        with served.client(headers={"Authorization": f"Bearer {KEY}"}) as http:
            assert http.get("/ui/about").json()["index"]["rows"] == {"audio": 2, "image": 4, "text": 1}


def test_other_sites_cannot_ask(client):
    answer = client.post("/ui/map", content="{}", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415
    assert client.get("/ui/about", headers={"Host": "evil.example"}).status_code == 421
    assert (
        "access-control-allow-origin"
        not in client.get("/ui/about", headers={"Origin": "http://evil.example"}).headers
    )


def test_map_of_too_many_rows_is_refused(client, monkeypatch):
    monkeypatch.setattr("mmencode.serving.page_desk.POINTS", 3)
    assert "`mmencode map`" in ask(client, "map", 422, centred=False)


@pytest.fixture
def many(tmp_path):
    """An index whose rows have many vectors each, and a client of a server with its page."""
    with (
        mmencode.Space("fake-multi", fake_multi_specs()) as space,
        mmencode.Index.create(tmp_path / "many.index", space) as index,
    ):
        index.add("text", ["a cat on a mat", "rain in the street"])
        with run_server(space, page=Page(Shelf(index, Limits()))) as served, served.client() as http:
            yield index, http


def test_space_with_many_vectors_is_searched_and_explained(many):
    index, http = many
    vector = ask(http, "embed", modality="text", item="a cat")
    found = ask(http, "neighbours", vector=vector, modality="text")
    (hits,) = index.search("text", ["a cat"])
    assert [row["key"] for row in found["rows"]] == [hit.key for hit in hits]
    scores = [row["score"] * vector["rows"] for row in found["rows"]]
    assert scores == pytest.approx([hit.score for hit in hits], abs=1e-5)
    parts = ask(http, "parts", modality="text", item="a cat", target={"key": hits[0].key})
    assert len(parts["drops"]) == 2
    items = [{"modality": "text", "vector": vector}]
    assert "have many" in ask(http, "labels", 422, labels=["a", "b"], items=items)


def test_pictures_are_cut_into_fields_that_cover_them_once():
    cut = cut_item("image", jpeg("chelsea"), Limits())
    whole = np.asarray(cut.whole)
    changed = [(np.asarray(each) != whole).any(axis=2) for each in cut.without]
    assert len(changed) == len(cut.names) == cut.shape[0] * cut.shape[1]
    assert max(np.sum(changed, axis=0).ravel()) == 1
    assert np.mean(np.sum(changed, axis=0)) > 0.97  # a pixel of the mean colour stays as it was


def test_recordings_are_cut_into_pieces_that_cover_them_once():
    cut = cut_item("audio", wav(440, 1.0), Limits())
    whole = cut.whole.samples
    silent = [(each.samples == 0) & (whole != 0) for each in cut.without]
    assert len(silent) == 10
    assert np.array_equal(np.sum(silent, axis=0), whole != 0)


@pytest.mark.parametrize(("modality", "item"), [("text", "cat"), ("audio", wav(440, 0.05))])
def test_items_of_one_part_are_refused(modality, item):
    with pytest.raises(mmencode.errors.InputError, match="a single part"):
        cut_item(modality, item, Limits())


def test_command_serves_the_page_of_an_index_with_its_own_space(path):
    line = [sys.executable, "-m", "mmencode.cli", "serve", "--ui", "--index", str(path), "--port", "0"]
    with processes.started(line, stdout=subprocess.PIPE, text=True) as process:
        url = processes.read_line(process).split()[0]
        deadline = time.monotonic() + 120
        while (answer := httpx.get(f"{url}/ui/about", timeout=60, trust_env=False)).status_code == 503:
            assert time.monotonic() < deadline, f"the server isn't ready: {answer.text}"
            time.sleep(0.1)
        process.terminate()
        process.wait(120)
    assert answer.json()["index"] == {"name": "things.index", "rows": {"audio": 2, "image": 4, "text": 1}}
    assert process.returncode == 0


def test_index_without_the_page_is_wrong_usage(path):
    done = CliRunner().invoke(app, ["serve", "--index", str(path)])
    assert done.exit_code == 2
    assert "--ui" in done.output


def test_index_of_another_space_is_refused(path):
    with mmencode.Space("fake-multi", fake_multi_specs()) as other, pytest.raises(SpaceMismatchError):
        mmencode.Index.open(path, space=other)
