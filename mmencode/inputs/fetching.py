"""URLs of allowed hosts are fetched within limits, from addresses that were checked; no others ever are."""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from io import BytesIO
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from .. import _version
from ..errors import InputError
from .addresses import is_allowed, parse_address, parse_networks
from .limits import Limits

Resolve = Callable[..., Sequence[tuple[Any, ...]]]

_LONGEST = 2048  # characters of a URL
_PIECE = 2**16
_PORTS = {"http": 80, "https": 443}
_REDIRECTS = (301, 302, 303, 307, 308)
_ODD = re.compile(r"[\s\\\x00-\x20\x7f]")
_HOST = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_.-]{0,252})(:[0-9]{1,5})?|\[[0-9a-f:.]{2,45}\](:[0-9]{1,5})?")
_SOURCE = "a URL"


def is_url(text: str) -> bool:
    """Whether a text begins as a URL of the web does, in letters of any case."""
    return text[:8].lower().startswith(("http://", "https://"))


class Fetcher:
    """Fetches URLs of `hosts`, each checked with every redirect; one may be used from several threads.

    hosts      "images.example.org", "*.example.org" for all below it, "example.org:8080" for another port
               than the scheme's
    networks   addresses that are allowed besides public ones: "10.1.0.0/16". A host whose name leads to any
               other one isn't asked
    wait       seconds for everything, redirects included
    redirects  the most that are followed

    A name is resolved once for each hop, and the connection goes to the address that was checked, so that no
    second answer of a name server can lead elsewhere. Proxies of the environment aren't used, and neither
    cookies nor keys are sent. ValueError for what is no host or network.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        *,
        networks: Sequence[str] = (),
        wait: float = 10.0,
        redirects: int = 3,
        resolve: Resolve = socket.getaddrinfo,
    ) -> None:
        self._hosts = tuple(host.lower() for host in hosts)
        for host in self._hosts:
            if not _HOST.fullmatch(host):
                raise ValueError(f"{host!r} is no host: write images.example.org or *.example.org")
        self._networks = parse_networks(networks)
        self._wait, self._redirects, self._resolve = wait, redirects, resolve
        self._tls = ssl.create_default_context()
        self._tls.sslsocket_class = _TimedTLS

    def fetch(self, url: str, limits: Limits) -> bytes:
        """Fetch the bytes that a URL leads to, at most `limits.bytes`.

        Raises InputError, which holds nothing of the URL, for one that isn't allowed, or can't be fetched.
        """
        end = time.monotonic() + self._wait
        secure = False
        for _ in range(self._redirects + 1):
            place = self._check(url, secure)
            secure = place.scheme == "https"
            try:
                found = self._ask(place, end, limits)
            except InputError:
                raise
            except (OSError, HTTPException, ValueError) as cause:
                raise _failure(late=time.monotonic() >= end) from cause
            if isinstance(found, bytes):
                return found
            url = urljoin(url, found.location)
        raise _refusal(f"the URL redirects more than {self._redirects} times")

    def _check(self, url: str, secure: bool) -> _Place:
        """Take a URL apart; InputError unless its host is allowed."""
        if len(url) > _LONGEST or _ODD.search(url) or not url.isascii():
            raise _refusal("the URL is longer than 2048 characters, or has characters that none has")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise _refusal("the URL isn't valid") from None
        scheme, host = parts.scheme.lower(), (parts.hostname or "").rstrip(".")
        if scheme not in _PORTS or not host or "@" in parts.netloc:
            raise _refusal("only URLs of http and https are fetched, without a user's name in them")
        if secure and scheme != "https":
            raise _refusal("the URL redirects from https to http")
        place = _Place(scheme, host, port or _PORTS[scheme], parts)
        if not any(place.is_of(allowed) for allowed in self._hosts):
            raise _refusal("the URL's host isn't one that this server fetches from")
        return place

    def _ask(self, place: _Place, end: float, limits: Limits) -> bytes | _Elsewhere:
        link = self._connect(place, end)
        try:
            connection = HTTPConnection(place.host, place.port)
            connection.sock = link
            headers = {
                "Host": place.authority,
                "Accept": "*/*",
                "Accept-Encoding": "identity",
                "Connection": "close",
                "User-Agent": f"mmencode/{_version.__version__}",
            }
            connection.request("GET", place.target, headers=headers)
            with connection.getresponse() as response:
                if response.status in _REDIRECTS and (location := response.headers.get("Location")):
                    return _Elsewhere(location)
                return _read(response, limits)
        finally:
            link.close()

    def _connect(self, place: _Place, end: float) -> socket.socket:
        """Connect to a host by an address that was checked; InputError where any of its own isn't allowed."""
        infos = self._resolve(place.host, place.port, type=socket.SOCK_STREAM)
        if not infos:
            raise _failure()
        for info in infos:
            if not is_allowed(parse_address(info[4][0]), self._networks):
                raise _refusal("the URL's host has an address in a private network")
        failure: OSError | None = None
        for family, kind, protocol, _, address in infos:
            link = _Timed(family, kind, protocol)
            link.end = end
            try:
                link.settimeout(_seconds_to(end))
                link.connect(address)
                if place.scheme == "http":
                    return link
                tls = self._tls.wrap_socket(link, server_hostname=place.host)
                assert isinstance(tls, _TimedTLS)
                tls.end = end
                return tls
            except OSError as cause:
                failure = cause
                link.close()
        raise _failure(late=time.monotonic() >= end) from failure


@dataclass(frozen=True, slots=True)
class _Place:
    """The parts of a URL that was checked."""

    scheme: str
    host: str
    port: int
    parts: SplitResult

    @property
    def authority(self) -> str:
        """The host as it stands in a request, with its port where that isn't the scheme's."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def target(self) -> str:
        """The path and the query, as the first line of a request has them."""
        return (self.parts.path or "/") + (f"?{self.parts.query}" if self.parts.query else "")

    def is_of(self, allowed: str) -> bool:
        """Whether an entry of the list of hosts allows this one."""
        if not allowed.startswith("*."):
            return allowed == self.authority
        return self.authority.endswith(allowed[1:]) and self.authority != allowed[1:]


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """The place that a redirect leads to, as the host wrote it."""

    location: str


class _Timed(socket.socket):
    """A socket whose reads together end at a time, so that a host can't send byte by byte for ever."""

    end: float

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        """Receive bytes while there is time."""
        self.settimeout(_seconds_to(self.end))
        return super().recv_into(*arguments, **options)


class _TimedTLS(ssl.SSLSocket):
    """A socket of TLS whose reads together end at a time."""

    end: float

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        """Receive bytes while there is time."""
        self.settimeout(_seconds_to(self.end))
        return super().recv_into(*arguments, **options)


def _seconds_to(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time for the URL is over")
    return left


def _read(response: HTTPResponse, limits: Limits) -> bytes:
    if response.status != 200:
        raise _refusal(f"the URL's host answered {response.status}", fault="access")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise _refusal("the URL's host sent compressed bytes that weren't asked for")
    if (response.length or 0) > limits.bytes:
        raise _size_error(limits)
    content = BytesIO()
    while piece := response.read(_PIECE):
        if content.tell() + len(piece) > limits.bytes:
            raise _size_error(limits)
        content.write(piece)
    if response.length:
        raise _failure()
    if not content.tell():
        raise _refusal("the URL leads to nothing: 0 bytes", fault="access")
    return content.getvalue()


def _refusal(fact: str, fault: Any = "content") -> InputError:
    remedy = "send the bytes themselves, as a data: URI with base64"
    return InputError(fact, source=_SOURCE, remedy=remedy, fault=fault)


def _size_error(limits: Limits) -> InputError:
    fact = f"the URL leads to more than {limits.bytes} bytes"
    return InputError(fact, source=_SOURCE, remedy="send less", fault="limit")


def _failure(*, late: bool = False) -> InputError:
    fact = "the URL couldn't be fetched in time" if late else "the URL couldn't be fetched"
    return InputError(
        fact,
        source=_SOURCE,
        remedy="try again, or send the bytes themselves, as a data: URI with base64",
        fault="time" if late else "access",
    )
