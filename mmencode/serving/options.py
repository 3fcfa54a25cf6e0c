"""Settings of a server: who may ask, how much at once, and which URLs it fetches."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass, field

from ..errors import MmencodeError

SHORTEST = 16  # characters of a key
_KEY = re.compile(r"[\x21-\x7e]+")  # what fits into a header


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerOptions:
    """The settings of one server, the same for all spaces that it serves.

    keys          of which a request must have one, `Authorization: Bearer KEY`; () asks for none, and
                  answers only requests that name this machine: localhost, 127.0.0.1 or [::1]
    open_paths    which need no key
    body          bytes of one request's body: 64 MiB
    bodies        bytes of the bodies of all requests at once: 512 MiB
    body_wait     seconds in which a body must arrive: 30
    wait          seconds in which a request is answered: 60
    items         of one request: 2048
    allow_urls    hosts that URLs may name, as `Fetcher` has them; () fetches nothing
    allow_networks  networks besides the public internet that such hosts may be in
    fetch_wait    seconds in which a URL is fetched: 10

    Raises ValueError for a key that is short or has characters that no header takes.
    """

    keys: tuple[str, ...] = field(default=(), repr=False)
    open_paths: tuple[str, ...] = ("/health", "/ready")
    body: int = 2**26
    bodies: int = 2**29
    body_wait: float = 30.0
    wait: float = 60.0
    items: int = 2048
    allow_urls: tuple[str, ...] = ()
    allow_networks: tuple[str, ...] = ()
    fetch_wait: float = 10.0

    def __post_init__(self) -> None:
        for place, key in enumerate(self.keys, 1):
            if len(key) < SHORTEST or not _KEY.fullmatch(key):
                raise ValueError(
                    f"key {place} is shorter than {SHORTEST} characters, or has others than letters, digits "
                    "and signs of ASCII: python -c 'import secrets; print(secrets.token_urlsafe())' makes one"
                )
        for name in ("body", "bodies", "body_wait", "wait", "items", "fetch_wait"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}: make it positive")


def require_safe_host(host: str, keys: tuple[str, ...]) -> None:
    """Raise MmencodeError for an address that others can reach while no key is asked for."""
    if not keys and not is_loopback(host):
        raise MmencodeError(
            f"without a key only this machine may ask, and {host!r} can be reached from others",
            remedy="give a key: --key-file FILE or the environment's MMENCODE_KEY; or leave --host out",
        )


def is_loopback(host: str) -> bool:
    """Whether all addresses that a host's name has are this machine's own."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # no name of a host
        return False
    addresses = {str(info[4][0]).partition("%")[0] for info in found}
    return bool(addresses) and all(ipaddress.ip_address(address).is_loopback for address in addresses)
