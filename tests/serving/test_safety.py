"""A server answers whom it should, opens no path, fetches no URL, and keeps its limits."""

from __future__ import annotations

import base64
import json
import socket
import struct
import time

import httpx
import pytest
from sent_items import png, uri
from servers import run_server

from mmencode.errors import MmencodeError
from mmencode.serving.options import ServerOptions, is_loopback, require_safe_host
from mmencode.serving.running import bind

KEY, OTHER = "a-key-of-thirty-two-characters-0", "another-key-of-many-characters-1"


@pytest.fixture(scope="module")
def locked(small_space):
    with run_server(small_space, keys=(KEY, OTHER)) as found:
        yield found


@pytest.fixture(scope="module")
def tight(small_space):
    """A server with low limits."""
    with run_server(small_space, body=200_000, body_wait=1.0, items=10) as found:
        yield found


def post(client, body=None, **options):
    return client.post("/v1/embeddings", **({"json": {"input": "cat"} if body is None else body} | options))


@pytest.mark.parametrize("key", [KEY, OTHER])
@pytest.mark.parametrize("header", ["Authorization", "X-Api-Key", "Api-Key"])
def test_any_of_the_keys_lets_a_request_in(locked, key, header):
    value = f"Bearer {key}" if header == "Authorization" else key
    with locked.client() as client:
        assert post(client, headers={header: value}).status_code == 200


@pytest.mark.parametrize(
    "value", [None, "", "Bearer", f"Bearer {KEY[:-1]}", f"Bearer {KEY}x", f"Basic {KEY}", KEY]
)
def test_a_request_without_a_key_is_refused(locked, value):
    with locked.client() as client:
        answer = post(client, headers={} if value is None else {"Authorization": value})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert KEY not in answer.text


@pytest.mark.parametrize("path", ["/metrics", "/v1/models", "/openapi.json", "/nowhere", "/health/"])
def test_every_path_but_the_state_asks_for_the_key(locked, path):
    with locked.client() as client:
        assert client.get(path).status_code == 401


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_the_state_needs_no_key(locked, path):
    with locked.client() as client:
        assert client.get(path).status_code == 200


def test_a_body_isnt_read_before_the_key_is_known(locked):
    """The answer comes although the body never does."""
    with socket.create_connection(address(locked), timeout=5) as link:
        link.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        assert link.recv(100).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize(
    "host", ["evil.test", "127.0.0.1.evil.test", "localhost.evil.test", "evil.test:80", ""]
)
def test_without_keys_only_requests_that_name_this_machine_are_answered(served, host):
    """A page of another site, whose name was rebound to 127.0.0.1, gets nothing."""
    with served.client() as client:
        answer = post(client, headers={"Host": host})
    assert (answer.status_code, answer.json()["error"]["code"]) == (421, "misdirected")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000"])
def test_the_names_of_this_machine_are_known(served, host):
    with served.client() as client:
        assert post(client, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "no such host"])
def test_an_address_that_others_reach_needs_a_key(host):
    with pytest.raises(MmencodeError, match="without a key only this machine"):
        require_safe_host(host, ())
    require_safe_host(host, (KEY,))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.1.2.3"])
def test_loopback_is_known(host):
    if host == "::1" and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    assert is_loopback(host)


@pytest.mark.parametrize(
    "key", ["", "too-short", "a key with spaces in it, long enough", "ключ-ключ-ключ-ключ"]
)
def test_a_key_that_is_weak_or_fits_no_header_is_refused(key):
    with pytest.raises(ValueError, match="key 1") as caught:
        ServerOptions(keys=(key,))
    assert not key or key not in str(caught.value)


def test_options_show_no_keys():
    assert KEY not in repr(ServerOptions(keys=(KEY,)))


@pytest.mark.parametrize("modality", ["image", "audio"])
@pytest.mark.parametrize("kind", ["path", "relative", "file", "home", "null"])
def test_no_path_is_opened(http, tmp_path, monkeypatch, modality, kind):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "picture.png").write_bytes(png())
    path = str(tmp_path / "picture.png")
    given = {"path": path, "relative": "picture.png", "file": f"file://{path}", "home": "~/x", "null": "\0"}
    answer = post(http, {"input": [given[kind]], "modality": modality})
    assert answer.status_code == 422
    assert "opens no path" in answer.json()["error"]["message"]


@pytest.mark.parametrize("shape", ["object", "part", "message"])
def test_no_path_is_opened_in_any_shape(http, tmp_path, shape):
    (tmp_path / "picture.png").write_bytes(png())
    path = str(tmp_path / "picture.png")
    part = {"type": "image_url", "image_url": {"url": path}}
    body = {
        "object": {"input": [{"image": path}]},
        "part": {"input": [part]},
        "message": {"messages": [{"role": "user", "content": [part]}]},
    }[shape]
    assert post(http, body).status_code == 422


def test_a_url_isnt_fetched_unless_it_is_allowed(http):
    answer = post(http, {"input": ["http://127.0.0.1:1/secret.png"], "modality": "image"})
    assert answer.status_code == 422
    assert "fetches none" in answer.json()["error"]["message"]
    assert "secret" not in answer.text


def test_an_allowed_url_is_fetched(small_space, tmp_path):
    import functools
    import http.server
    import threading

    (tmp_path / "picture.png").write_bytes(png())
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as files:
        threading.Thread(target=files.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{files.server_port}"
        allowed = {"allow_urls": (host,), "allow_networks": ("127.0.0.0/8",)}
        with run_server(small_space, **allowed) as served, served.client() as client:
            found = post(client, {"input": [f"http://{host}/picture.png"], "modality": "image"})
            missing = post(client, {"input": [f"http://{host}/nothing.png"], "modality": "image"})
        with run_server(small_space, allow_urls=(host,)) as served, served.client() as client:
            private = post(client, {"input": [f"http://{host}/picture.png"], "modality": "image"})
        files.shutdown()
    assert found.json()["data"][0]["embedding"] == small_space.encode("image", [png()]).vectors[0].tolist()
    assert missing.status_code == 422
    assert "private network" in private.json()["error"]["message"]


def test_a_text_that_looks_like_a_url_or_a_path_is_a_text(http, served):
    for text in ("http://example.org/x.png", "/etc/passwd", "data:image/png;base64,AAAA"):
        found = post(http, {"input": text}).json()["data"][0]["embedding"]
        assert found == served.space.encode("text", [text]).vectors[0].tolist()


def address(served):
    host, port = served.url.removeprefix("http://").split(":")
    return host, int(port)


def test_a_body_that_is_too_large_is_refused(tight):
    with tight.client() as client:
        answer = post(client, {"input": "x" * 200_000})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


def test_a_body_that_doesnt_say_its_size_is_refused_once_it_is_too_large(tight):
    with tight.client() as client:
        answer = client.post(
            "/v1/embeddings",
            content=(b"x" * 1000 for _ in range(300)),
            headers={"Content-Type": "application/json"},
        )
    assert answer.status_code == 413


def test_a_body_that_comes_too_slowly_is_given_up(tight):
    begun = time.monotonic()
    with socket.create_connection(address(tight), timeout=10) as link:
        link.sendall(
            b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\n\r\n{"
        )
        assert link.recv(100).startswith(b"HTTP/1.1 408")
    assert time.monotonic() - begun < 5


def test_too_many_items_are_refused(tight):
    with tight.client() as client:
        answer = post(client, {"input": ["x"] * 11})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_many_items")


def test_bodies_of_all_requests_have_a_limit_together(small_space):
    with run_server(small_space, body=100_000, bodies=150_000, body_wait=5) as served:
        links = [socket.create_connection(address(served), timeout=10) for _ in range(2)]
        for link in links:
            link.sendall(
                b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: 90000\r\n\r\n" + b" " * 80_000
            )
        answers = []
        for link in links:
            link.settimeout(1.5)
            try:
                answers.append(link.recv(1000))
            except TimeoutError:
                answers.append(b"")
        for link in links:
            link.close()
        assert any(answer.startswith(b"HTTP/1.1 429") and b"retry-after: 1" in answer for answer in answers)
        with served.client() as client:  # the bytes of those that left are given back
            assert post(client, {"input": "x" * 90_000}).status_code == 200


@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "x"]
)
def test_another_content_type_is_refused(http, kind):
    headers = {} if kind is None else {"Content-Type": kind}
    answer = http.post("/v1/embeddings", content=b'{"input": "cat"}', headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "content_type")


def test_a_compressed_body_is_refused(http):
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = http.post("/v1/embeddings", content=b"\x1f\x8b", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "content_encoding")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense secret",
        b'{"input": "cat"} secret',
        b'{"input": NaN}',
        b'{"input": Infinity}',
        b'{"input": "\xff\xfe"}',
        b'{"input": "\\ud800"}',
        b'{"secret": ',
        b"[" * 100_000,
        b'{"input":' * 10_000,
        b'{"input": ' + b"9" * 100_000 + b"}",
        b'{"input": [1e999]}',
        "\ufeff{}".encode(),
        '{"input": "cat"}'.encode("utf-16"),
        b"\0",
    ],
)
def test_a_body_that_is_no_json_is_an_error_that_echoes_nothing(http, body):
    answer = http.post("/v1/embeddings", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["error"]["message"]
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    "item",
    [
        "data:image/png;base64,",
        "data:image/png,secret",
        "data:image/png;base64,secret*secret",
        "data:audio/wav;base64,QUJD",
        "secret",
        "",
    ],
)
def test_a_bad_data_uri_is_an_error_that_echoes_nothing(http, item):
    answer = post(http, {"input": [item], "modality": "image"})
    assert answer.status_code == 422
    assert answer.json()["error"]["items"][0]["index"] == 0
    assert "secret" not in answer.text


def test_a_decompression_bomb_is_an_error_of_the_item(http):
    """An honest header of 20 000 by 20 000 pixels, and next to nothing behind it."""
    bomb = base64.b64encode(_png_of(20_000, 20_000)).decode()
    answer = post(http, {"input": [f"data:image/png;base64,{bomb}"], "modality": "image"})
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "item_limit"


def _png_of(width, height):
    import zlib

    def chunk(name, content):
        crc = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("secret", ["Kx7secretKx7"])
def test_what_a_file_holds_isnt_echoed(http, secret):
    """Its kind may be said, but nothing that its author wrote into it."""
    for content in (
        secret.encode(),
        f"<html><title>{secret}</title>".encode(),
        b"RIFF\x10\0\0\0" + secret[:4].encode() + secret.encode(),
        b"\x89PNG\r\n\x1a\n" + secret.encode() * 9,
    ):
        for modality, media in (("image", "image/png"), ("audio", "audio/wav")):
            answer = post(http, {"input": [uri(content, media)], "modality": modality})
            assert answer.status_code == 422, answer.text
            assert secret[:4] not in answer.text, answer.text


def test_unknown_paths_and_methods_are_errors_in_the_protocols_shape(http):
    missing, wrong = http.get("/secret"), http.get("/v1/embeddings")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
    assert "secret" not in missing.text


def test_a_request_has_an_id_that_a_client_may_choose(http):
    chosen = post(http, headers={"X-Request-Id": "my-id-1"}).headers["x-request-id"]
    made = post(http, headers={"X-Request-Id": "no id\twith spaces"}).headers["x-request-id"]
    assert chosen == "my-id-1"
    assert len(made) == 32


def test_a_client_that_leaves_hurts_nobody(served):
    for _ in range(20):
        link = socket.create_connection(address(served), timeout=5)
        content = json.dumps({"input": ["a cat " * 50] * 20}).encode()
        link.sendall(
            b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % len(content) + content
        )
        link.close()
    with served.client() as client:
        assert post(client).status_code == 200


def test_a_client_that_leaves_in_the_middle_of_its_body_hurts_nobody(served):
    for _ in range(20):
        link = socket.create_connection(address(served), timeout=5)
        link.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        link.close()
    with served.client() as client:
        assert post(client).status_code == 200


def test_before_a_space_is_loaded_requests_are_told_to_come_later(small_space, monkeypatch):
    from mmencode.serving.service import Service

    started = []

    async def start(self, *modalities):
        started.append(self)

    monkeypatch.setattr(Service, "start", start)
    monkeypatch.setattr(Service, "is_ready", lambda self, modality="": False)
    with run_server(small_space, ready=False) as served, served.client() as client:
        deadline = time.monotonic() + 60
        while not started:
            assert time.monotonic() < deadline, "the server never started the service"
            time.sleep(0.01)
        answer, ready = post(client), client.get("/ready")
        health = client.get("/health")
    assert (answer.status_code, ready.status_code) == (503, 503)
    assert int(answer.headers["retry-after"]) >= 1
    assert health.headers["x-request-id"]


def test_a_path_of_odd_bytes_is_no_error_of_the_server(served):
    with socket.create_connection(address(served), timeout=5) as link:
        link.sendall(b"GET /%ff%00%2e%2e/\xff HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert link.recv(100).split(b" ")[1] in (b"400", b"404")


def test_answers_arent_held_back_by_the_socket(served):
    """asyncio sets TCP_NODELAY only where a socket says its protocol; without it each answer takes 40 ms."""
    with bind("127.0.0.1", 0) as bound:
        assert bound.proto == socket.IPPROTO_TCP


def test_httpx_speaks_to_the_app_without_a_socket(small_space):
    """What tests of applications do, through ASGI."""
    import asyncio

    from mmencode.serving.app import make_app
    from mmencode.serving.service import Service, Services

    loaded = []

    async def ask():
        services = Services({small_space.name: Service(small_space)})
        app = make_app(services, on_ready=lambda: loaded.append(services.default.is_ready("image")))
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                while (await client.get("/ready")).status_code != 200:
                    await asyncio.sleep(0.01)
                return await client.post("/v1/embeddings", json={"input": "cat"})

    assert asyncio.run(asyncio.wait_for(ask(), 120)).status_code == 200
    assert loaded == [True]
