"""URLs are fetched from allowed hosts at public addresses only, within limits of size and time."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from ipaddress import ip_address

import pytest

from mmencode.errors import InputError
from mmencode.inputs import Limits
from mmencode.inputs.addresses import is_allowed, is_public, parse_networks
from mmencode.inputs.fetching import Fetcher, is_url

LIMITS = Limits(bytes=100_000)
LOOPBACK = ("127.0.0.0/8",)
FOUND = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@contextmanager
def answering(*answers, pause=0.0):
    """A server that gives each connection the next answer, in pieces with pauses; requests are kept."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(0.1)
    asked, ended = [], threading.Event()

    def serve():
        for answer in answers:
            while not ended.is_set():
                try:
                    connection, _ = listening.accept()
                except TimeoutError:
                    continue
                break
            if ended.is_set():
                return
            with connection:
                connection.settimeout(2)
                try:
                    asked.append(connection.recv(65536))
                    for piece in [answer] if isinstance(answer, bytes) else answer:
                        connection.sendall(piece)
                        if ended.wait(pause):
                            return
                except OSError:
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1], asked
    finally:
        ended.set()
        thread.join(5)
        listening.close()


def names(**addresses):
    """A name server with these names, which counts what it was asked."""

    def resolve(host, port, type=0):
        resolve.asked.append(host)
        found = addresses[host.replace(".", "_")]
        found = found.pop(0) if isinstance(found, list) else found
        return [
            (socket.AF_INET6 if ":" in each else socket.AF_INET, socket.SOCK_STREAM, 0, "", (each, port))
            for each in found.split()
        ]

    resolve.asked = []
    return resolve


def fetcher(*hosts, networks=LOOPBACK, **options):
    return Fetcher(hosts, networks=networks, **{"wait": 3.0, **options})


def refusal(call):
    with pytest.raises(InputError) as caught:
        call()
    return caught.value


def test_what_an_allowed_host_has_is_fetched():
    with answering(FOUND) as (port, asked):
        host = f"photos.test:{port}"
        assert (
            fetcher(host, resolve=names(photos_test="127.0.0.1")).fetch(f"http://{host}/a%20b?c=d", LIMITS)
            == b"hello"
        )
    (request,) = asked
    assert request.startswith(b"GET /a%20b?c=d HTTP/1.1\r\n")
    assert f"Host: {host}\r\n".encode() in request
    assert b"identity" in request


def test_a_host_that_isnt_allowed_isnt_even_looked_up():
    resolve = names()
    error = refusal(lambda: fetcher("photos.test", resolve=resolve).fetch("http://evil.test/x", LIMITS))
    assert "isn't one that this server fetches from" in error.fact
    assert resolve.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "http://photos.test@evil.test/",
        "http://evil.test#@photos.test/",
        "http://evil.test\\@photos.test/",
        "http://photos.test.evil.test/",
        "http://xphotos.test/",
        "http://photos.test:8080/",
        "https://photos.test:80/",
        "http://user:word@photos.test/",
        "http://photos.test:x/",
        "http://photos.test:99999/",
        "http://[::1/",
        "http:///path",
        "http://photos.test/\r\nHost: evil",
        "http://photos.test/ x",
        "http://phötos.test/",
        "ftp://photos.test/",
        "file:///etc/passwd",
        "http://photos.test/" + "a" * 3000,
    ],
)
def test_a_url_that_only_looks_allowed_is_refused_before_anything_is_asked(url):
    resolve = names()
    error = refusal(lambda: fetcher("photos.test", resolve=resolve).fetch(url, LIMITS))
    assert resolve.asked == []
    assert "evil" not in str(error)


def test_all_below_a_host_may_be_allowed_without_the_host_itself():
    each = fetcher("*.photos.test", resolve=names())
    assert "isn't one" in refusal(lambda: each.fetch("http://photos.test/", LIMITS)).fact
    assert "isn't one" in refusal(lambda: each.fetch("http://aphotos.test/", LIMITS)).fact
    with answering(FOUND) as (port, _):
        wild = fetcher(f"*.photos.test:{port}", resolve=names(a_photos_test="127.0.0.1"))
        assert wild.fetch(f"http://a.photos.test:{port}/", LIMITS) == b"hello"


def test_an_address_in_a_private_network_is_refused():
    each = fetcher("photos.test", networks=(), resolve=names(photos_test="127.0.0.1"))
    assert "private network" in refusal(lambda: each.fetch("http://photos.test/", LIMITS)).fact


def test_one_private_address_among_public_ones_is_refused():
    each = fetcher("photos.test", networks=(), resolve=names(photos_test="93.184.216.34 10.0.0.1"))
    assert "private network" in refusal(lambda: each.fetch("http://photos.test/", LIMITS)).fact


def test_a_private_address_mapped_into_ipv6_is_refused():
    each = fetcher("photos.test", networks=(), resolve=names(photos_test="::ffff:127.0.0.1"))
    assert "private network" in refusal(lambda: each.fetch("http://photos.test/", LIMITS)).fact


def test_a_name_that_changes_its_address_is_resolved_only_once():
    """The connection goes to the address that was checked, not to another answer for the name."""
    with answering(FOUND) as (port, _):
        resolve = names(photos_test=["127.0.0.1", "10.0.0.1"])
        assert (
            fetcher(f"photos.test:{port}", resolve=resolve).fetch(f"http://photos.test:{port}/", LIMITS)
            == b"hello"
        )
    assert resolve.asked == ["photos.test"]


def redirect(url, status=302):
    return f"HTTP/1.1 {status} Found\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n".encode()


def test_a_redirect_to_an_allowed_host_is_followed():
    with answering(redirect("/other"), FOUND) as (port, asked):
        host = f"photos.test:{port}"
        assert (
            fetcher(host, resolve=names(photos_test="127.0.0.1")).fetch(f"http://{host}/", LIMITS) == b"hello"
        )
    assert asked[1].startswith(b"GET /other ")


@pytest.mark.parametrize(
    "to",
    ["http://127.0.0.1/", "http://[::ffff:127.0.0.1]/", "http://evil.test/", "file:///etc/passwd", "//x/"],
)
def test_a_redirect_to_another_host_is_refused(to):
    with answering(redirect(to)) as (port, _):
        host = f"photos.test:{port}"
        error = refusal(
            lambda: fetcher(host, resolve=names(photos_test="127.0.0.1")).fetch(f"http://{host}/", LIMITS)
        )
    assert error.fault == "content"
    assert "evil" not in str(error)


def test_a_redirect_to_an_allowed_host_at_a_private_address_is_refused():
    with answering(redirect("http://inner.test/")) as (port, _):
        resolve = names(photos_test="127.0.0.1", inner_test="10.0.0.1")
        each = fetcher(f"photos.test:{port}", "inner.test", resolve=resolve)
        assert "private network" in refusal(lambda: each.fetch(f"http://photos.test:{port}/", LIMITS)).fact


def test_a_host_that_redirects_for_ever_is_given_up():
    with answering(*[redirect("/")] * 9) as (port, asked):
        host = f"photos.test:{port}"
        each = fetcher(host, resolve=names(photos_test="127.0.0.1"), redirects=2)
        assert "more than 2 times" in refusal(lambda: each.fetch(f"http://{host}/", LIMITS)).fact
    assert len(asked) == 3


def fetch_from(*answers, pause=0.0, limits=LIMITS, **options):
    with answering(*answers, pause=pause) as (port, _):
        host = f"photos.test:{port}"
        return fetcher(host, resolve=names(photos_test="127.0.0.1"), **options).fetch(
            f"http://{host}/", limits
        )


def test_a_body_that_says_it_is_too_big_is_refused():
    big = b"HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n"
    assert refusal(lambda: fetch_from(big)).fault == "limit"


def test_a_body_that_is_bigger_than_it_says_nothing_about_is_refused():
    endless = (b"HTTP/1.1 200 OK\r\n\r\n", *[bytes(50_000)] * 9)
    assert refusal(lambda: fetch_from(endless)).fault == "limit"


def test_a_host_that_sends_byte_by_byte_is_given_up_in_time():
    slow = (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", *[b"x"] * 1000)
    begun = time.monotonic()
    assert refusal(lambda: fetch_from(slow, pause=0.05, wait=0.5)).fault == "time"
    assert time.monotonic() - begun < 3


def test_a_host_whose_headers_come_byte_by_byte_is_given_up_in_time():
    begun = time.monotonic()
    assert refusal(lambda: fetch_from([b"H", *[b"T"] * 1000], pause=0.05, wait=0.5)).fault == "time"
    assert time.monotonic() - begun < 3


def test_a_host_that_says_nothing_is_given_up_in_time():
    begun = time.monotonic()
    assert refusal(lambda: fetch_from([b"", b""], pause=5, wait=0.5)).fault == "time"
    assert time.monotonic() - begun < 3


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000,
    ],
)
def test_a_broken_answer_is_an_error_of_the_item(answer):
    assert refusal(lambda: fetch_from(answer)).fact == "the URL couldn't be fetched"


def test_an_answer_other_than_ok_is_an_error():
    assert "answered 404" in refusal(lambda: fetch_from(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")).fact


def test_compressed_bytes_that_might_be_a_bomb_are_refused():
    packed = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello"
    assert "compressed" in refusal(lambda: fetch_from(packed)).fact


def test_an_empty_body_is_refused():
    assert "0 bytes" in refusal(lambda: fetch_from(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")).fact


def test_a_host_that_nobody_knows_is_an_error():
    def resolve(*arguments, **options):
        raise socket.gaierror("no such host")

    assert refusal(
        lambda: fetcher("photos.test", resolve=resolve).fetch("http://photos.test/", LIMITS)
    ).fact == ("the URL couldn't be fetched")


def test_plain_http_in_place_of_tls_is_an_error():
    with answering(b"hello, no TLS here") as (port, _):
        host = f"photos.test:{port}"
        each = fetcher(host, resolve=names(photos_test="127.0.0.1"))
        assert refusal(lambda: each.fetch(f"https://{host}/", LIMITS)).fact == "the URL couldn't be fetched"


@pytest.mark.parametrize(
    "host", ["", "http://a.test", "a.test/path", "*", "a b.test", "*.*.test", "a@b.test"]
)
def test_what_is_no_host_cant_be_allowed(host):
    with pytest.raises(ValueError, match="no host"):
        Fetcher([host])


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("64:ff9b::5db8:d822", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::127.0.0.1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b:1::1", False),
        ("2002:7f00:1::", False),
        ("2001:0:0:0:0:0:0:1", False),
        ("fe80::1", False),
        ("fec0::1", False),
        ("fc00::1", False),
        ("ff02::1", False),
        ("2001:db8::1", False),
    ],
)
def test_public_addresses_are_told_from_private_ones(address, public):
    assert is_public(ip_address(address)) is public


def test_an_allowed_network_holds_for_mapped_addresses_too():
    networks = parse_networks(("10.0.0.0/8",))
    assert is_allowed(ip_address("::ffff:10.0.0.1"), networks)
    assert not is_allowed(ip_address("::ffff:127.0.0.1"), networks)


@pytest.mark.parametrize(
    ("text", "is_one"), [("http://x", True), ("HTTPS://x", True), ("/etc/passwd", False), ("ftp://x", False)]
)
def test_a_url_of_the_web_is_told_by_its_scheme(text, is_one):
    assert is_url(text) is is_one
